#include "checkpoint/writer.h"

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static json_t *tensor_json(const mc_source *source, int64_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < mc_source_rank(source); i++)
        shape = mc_json_append(shape, json_integer(mc_source_shape(source)[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", mc_dtype_name(mc_source_dtype(source)),
                     "shape", shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)(begin + mc_source_bytes(source)));
}

/*
 * Checks that the file can hold the name: it is UTF-8, as JSON requires, and not the name of the
 * metadata.
 */
static mc_status check_name(const char *name, mc_error *error)
{
    if (mc_utf8_valid(name, strlen(name)) < strlen(name))
        return mc_fail_at(error, MC_UNSUPPORTED, NULL, name, -1, "expected a tensor name in UTF-8");
    if (strcmp(name, "__metadata__") == 0)
        return mc_fail_at(error, MC_UNSUPPORTED, NULL, name, -1,
                          "safetensors has no room for a tensor of this name");
    return MC_OK;
}

static mc_status header_json(const mc_tensors *t, const mc_shard *shard, json_t **out,
                             mc_error *error)
{
    /* transformers rejects files whose metadata lacks a format. */
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t at = 0;
    for (size_t i = shard->first; header && i < shard->first + shard->count; i++) {
        mc_status status = check_name(t->names[i], error);
        if (status == MC_OK && json_object_get(header, t->names[i]))
            status = mc_fail_at(error, MC_USAGE, NULL, t->names[i], -1,
                                "expected one tensor of this name, found two");
        if (status != MC_OK) {
            json_decref(header);
            return status;
        }
        header = mc_json_put(header, t->names[i], tensor_json(t->sources[i], at));
        at += mc_source_bytes(t->sources[i]);
    }
    *out = header;
    return header ? MC_OK : mc_fail_memory(error);
}

/* Length, JSON, and blanks up to a multiple of 8, so that the tensors are aligned. */
static mc_status make_header(const mc_tensors *t, mc_shard *shard, mc_error *error)
{
    json_t *json = NULL;
    MC_TRY(header_json(t, shard, &json, error));
    char *const text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!text)
        return mc_fail_memory(error);
    const size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    shard->header = mc_alloc(8 + padded);
    if (shard->header) {
        for (int i = 0; i < 8; i++)
            shard->header[i] = (char)(unsigned char)(padded >> (8 * i));
        memset(shard->header + 8, ' ', padded);
        memcpy(shard->header + 8, text, length);
        shard->header_size = 8 + padded;
    }
    free(text);
    return shard->header ? MC_OK : mc_fail_memory(error);
}

/* Cuts the tensors into shards, and notes where each begins. */
static mc_status cut(const mc_tensors *t, int64_t shard_size, mc_layout *out, mc_error *error)
{
    size_t capacity = 0;
    out->slot_count = t->count;
    out->slots = mc_alloc_zero(t->count, sizeof *out->slots);
    if (!out->slots)
        return mc_fail_memory(error);
    /* A model without tensors still gets one file. */
    for (size_t i = 0; i < t->count || out->count == 0; i++) {
        mc_shard *last = out->count ? &out->shards[out->count - 1] : NULL;
        const int64_t bytes = i < t->count ? mc_source_bytes(t->sources[i]) : 0;
        /* `shard_size - last->bytes`, since a sum could overflow: shard_size may be INT64_MAX. */
        if (!last || (last->bytes > 0 && bytes > shard_size - last->bytes)) {
            if (!MC_GROW(out->shards, out->count, capacity))
                return mc_fail_memory(error);
            last = &out->shards[out->count++];
            *last = (mc_shard){.first = i, .start = out->bytes};
        }
        if (i < t->count)
            out->slots[i].start = out->bytes;
        last->count += i < t->count;
        last->bytes += bytes;
        out->bytes += bytes;
    }
    return MC_OK;
}

static const char *stem_of(const mc_tensors *t)
{
    return t->stem ? t->stem : "model";
}

static mc_status name_shards(const mc_tensors *t, mc_layout *out, mc_error *error)
{
    for (size_t i = 0; i < out->count; i++) {
        out->shards[i].name = out->count == 1 ? mc_format("%s.safetensors", stem_of(t))
                                              : mc_format("%s-%05zu-of-%05zu.safetensors",
                                                          stem_of(t), i + 1, out->count);
        if (!out->shards[i].name)
            return mc_fail_memory(error);
    }
    return MC_OK;
}

/* The keys and the names of the shards are those of transformers, whose loader reads the index. */
static mc_status make_index(const mc_tensors *t, mc_layout *out, mc_error *error)
{
    json_t *map = json_object();
    for (size_t s = 0; s < out->count; s++)
        for (size_t i = out->shards[s].first; i < out->shards[s].first + out->shards[s].count; i++)
            map = mc_json_put(map, t->names[i], json_string(out->shards[s].name));
    json_t *const index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                                    (json_int_t)out->bytes, "weight_map", map);
    out->index_name = mc_format("%s.safetensors.index.json", stem_of(t));
    out->index = index ? json_dumps(index, JSON_INDENT(2)) : NULL;
    json_decref(index);
    return out->index && out->index_name ? MC_OK : mc_fail_memory(error);
}

/*
 * After the headers, whose size the offsets in the files depend on. Tensors follow each other
 * without gaps.
 */
static void place(mc_layout *out)
{
    for (size_t s = 0; s < out->count; s++) {
        const mc_shard *const shard = &out->shards[s];
        for (size_t i = shard->first; i < shard->first + shard->count; i++)
            out->slots[i].offset = (int64_t)shard->header_size + out->slots[i].start - shard->start;
    }
}

static mc_status lay_out(const mc_tensors *t, int64_t shard_size, mc_layout *out, mc_error *error)
{
    MC_TRY(cut(t, shard_size, out, error));
    MC_TRY(name_shards(t, out, error));
    for (size_t i = 0; i < out->count; i++)
        MC_TRY(make_header(t, &out->shards[i], error));
    place(out);
    return out->count > 1 ? make_index(t, out, error) : MC_OK;
}

/* Wide elements first: every tensor is then aligned to its elements without padding. */
static int rank(mc_dtype dtype)
{
    return -mc_dtype_bits(dtype);
}

const mc_writer mc_writer_safetensors = {.name = "safetensors", .rank = rank, .lay_out = lay_out};

/* PEFT and diffusers read adapters from a single file. */
static mc_status lay_out_one(const mc_tensors *t, const char *name, mc_layout *out, mc_error *error)
{
    MC_TRY(lay_out(t, INT64_MAX, out, error));
    mc_free(out->shards[0].name);
    out->shards[0].name = mc_strdup(name);
    return out->shards[0].name ? MC_OK : mc_fail_memory(error);
}

static mc_status lay_out_adapter(const mc_tensors *t, int64_t shard_size, mc_layout *out,
                                 mc_error *error)
{
    (void)shard_size;
    return lay_out_one(t, "adapter_model.safetensors", out, error);
}

static mc_status lay_out_lora(const mc_tensors *t, int64_t shard_size, mc_layout *out,
                              mc_error *error)
{
    (void)shard_size;
    return lay_out_one(t, "pytorch_lora_weights.safetensors", out, error);
}

const mc_writer mc_writer_adapter = {
    .name = "safetensors", .rank = rank, .lay_out = lay_out_adapter};
const mc_writer mc_writer_lora = {.name = "safetensors", .rank = rank, .lay_out = lay_out_lora};

#include "checkpoint/safetensors_file.h"

#include "base/draft.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* The limit of the header is that of the format's reference implementation. */
enum { LENGTH_BYTES = 8, HEADER_LIMIT = 100000000, CHUNK = 1 << 20 };

/* ---- writing --------------------------------------------------------------------------------- */

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
 * Length, JSON, and blanks up to a multiple of 8, so that the data is aligned. In new memory; NULL:
 * no memory.
 */
static char *make_header(const mc_state_dict *dict, const json_t *metadata, size_t *size)
{
    json_t *header = mc_json_put(json_object(), "__metadata__", json_deep_copy(metadata));
    int64_t at = 0;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        header = mc_json_put(header, mc_state_dict_name(dict, i), tensor_json(source, at));
        at += mc_source_bytes(source);
    }
    char *const text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    const size_t length = text ? strlen(text) : 0, padded = (length + 7) / 8 * 8;
    char *const bytes = text ? mc_alloc(LENGTH_BYTES + padded) : NULL;
    if (bytes) {
        for (int i = 0; i < LENGTH_BYTES; i++)
            bytes[i] = (char)(unsigned char)(padded >> (8 * i));
        memset(bytes + LENGTH_BYTES, ' ', padded);
        memcpy(bytes + LENGTH_BYTES, text, length);
        *size = LENGTH_BYTES + padded;
    }
    free(text);
    return bytes;
}

/* In pieces: a computed tensor is never in memory as a whole. */
static mc_status write_tensor(int fd, const char *path, const mc_source *source, char *buffer,
                              int64_t offset, mc_error *error)
{
    for (int64_t done = 0; done < mc_source_bytes(source); done += CHUNK) {
        const int64_t left = mc_source_bytes(source) - done, taken = left < CHUNK ? left : CHUNK;
        MC_TRY(mc_source_read_raw(source, done, taken, buffer, error));
        MC_TRY(mc_write_all(fd, path, buffer, (size_t)taken, offset + done, error));
    }
    return MC_OK;
}

mc_status mc_safetensors_write(int fd, const char *path, const mc_state_dict *dict,
                               const json_t *metadata, mc_error *error)
{
    size_t size = 0;
    char *const header = make_header(dict, metadata, &size), *const buffer = mc_alloc(CHUNK);
    mc_status status = header && buffer ? mc_write_all(fd, path, header, size, 0, error)
                                        : mc_fail_memory(error);
    int64_t offset = (int64_t)size;
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        status = mc_in_tensor(error, mc_state_dict_name(dict, i),
                              write_tensor(fd, path, source, buffer, offset, error));
        offset += mc_source_bytes(source);
    }
    mc_free(header);
    mc_free(buffer);
    return status;
}

mc_status mc_safetensors_save(const char *path, const mc_state_dict *dict, const json_t *metadata,
                              mc_error *error)
{
    mc_draft draft;
    MC_TRY(mc_draft_open(path, &draft, error));
    return mc_draft_close(&draft, mc_safetensors_write(draft.fd, path, dict, metadata, error),
                          error);
}

/* ---- reading --------------------------------------------------------------------------------- */

static mc_status read_header(const mc_file *file, json_t **out, mc_error *error)
{
    unsigned char bytes[LENGTH_BYTES];
    uint64_t length = 0;
    MC_TRY(mc_file_read(file, 0, bytes, sizeof bytes, error));
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > HEADER_LIMIT || (int64_t)length > mc_file_size(file) - LENGTH_BYTES)
        return mc_fail(error, MC_FORMAT, "expected a safetensors header, found none");
    char *const text = mc_alloc((size_t)length + 1);
    mc_status status = text ? mc_file_read(file, LENGTH_BYTES, text, (size_t)length, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_json_parse_unique(text, (size_t)length, out, error);
    mc_free(text);
    return status;
}

mc_status mc_safetensors_metadata(const char *path, json_t **out, mc_error *error)
{
    mc_file *file = NULL;
    json_t *header = NULL;
    MC_TRY(mc_file_open(path, &file, error));
    const mc_status status = mc_in_file(error, path, read_header(file, &header, error));
    mc_file_unref(file);
    MC_TRY(status);
    json_t *const found = json_object_get(header, "__metadata__");
    *out = json_is_object(found) ? json_incref(found) : json_object();
    json_decref(header);
    return *out ? MC_OK : mc_fail_memory(error);
}

mc_status mc_safetensors_metadata_json(const json_t *metadata, const char *name, json_t **out,
                                       mc_error *error)
{
    const char *const text = json_string_value(json_object_get(metadata, name));
    return text ? mc_json_parse(text, strlen(text), out, error)
                : mc_fail(error, MC_FORMAT, "expected metadata '%s'", name);
}

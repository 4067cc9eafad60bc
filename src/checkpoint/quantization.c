#include "checkpoint/quantization.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/fp8.h"

#include <string.h>

/*
 * The values of quant_method in config.json whose weights can be FP8 with separate scales: only
 * those can be read. compressed-tensors is a family of formats; its `format` distinguishes them.
 */
static const char *const fp8_methods[] = {"fp8", "fbgemm_fp8", "compressed-tensors"};
static const char *const fp8_formats[] = {"float-quantized", "naive-quantized"};

/* Endings of tensor names that only packed formats have. */
static const struct {
    const char *ending, *format;
} packed[] = {
    {".qweight", "GPTQ or AWQ"},
    {".weight_packed", "compressed-tensors"},
    {".quant_state.bitsandbytes__nf4", "bitsandbytes (4 bit)"},
    {".quant_state.bitsandbytes__fp4", "bitsandbytes (4 bit)"},
    {".SCB", "bitsandbytes (8 bit)"},
    {".W_q", "HQQ"},
    {".q_weight", "EXL2"},
    {".trellis", "EXL3"},
    {".codebooks", "AQLM"},
    {".weight._data", "quanto"},
    {"_blocks", "MXFP4"},
};

/*
 * A scale has the name of its FP8 tensor with one of these endings, or with its last part replaced
 * by one of these names.
 */
static const char *const scale_endings[] = {"_scale_inv", "_scale"};
static const char *const scale_names[] = {"scale_weight", "scale"};

/* Scales of activations, which only a quantised model uses. */
static const char *const activation_names[] = {"input_scale", "activation_scale", "output_scale",
                                               "scale_input"};

typedef struct resolution {
    mc_state_dict *dict;
    mc_dtype dtype; /* of the products */
    int64_t block[2];
    bool declared;      /* whether the configuration declares FP8 */
    char **scales;      /* names of the scales that were applied */
    size_t count, room; /* of scales */
} resolution;

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; text && i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

#define IS_ONE_OF(text_, list_) is_one_of((text_), (list_), sizeof(list_) / sizeof *(list_))

/* ---- formats that are rejected ---- */

static const json_t *quantization_of(const json_t *config)
{
    /* Models with several kinds of input nest the configuration of the text model. */
    const json_t *const own = json_object_get(config, "quantization_config");
    return own ? own
               : json_object_get(json_object_get(config, "text_config"), "quantization_config");
}

/* compressed-tensors has a format for all, or one per group of layers. */
static mc_status check_formats(const json_t *quantization, mc_error *error)
{
    const char *const format = json_string_value(json_object_get(quantization, "format"));
    const char *key;
    json_t *group;
    const char *found = format && !IS_ONE_OF(format, fp8_formats) ? format : NULL;
    json_object_foreach(json_object_get(quantization, "config_groups"), key, group)
    {
        /*
         * The groups describe the weights themselves, which decides whatever the name of the format
         * is.
         */
        const json_t *const weights = json_object_get(group, "weights");
        const char *const type = json_string_value(json_object_get(weights, "type"));
        if (type && strcmp(type, "float") != 0)
            found = found ? found : type;
        else if (type && json_integer_value(json_object_get(weights, "num_bits")) != 8)
            found = found ? found : "float of another size than 8 bits";
    }
    return found ? mc_fail(error, MC_UNSUPPORTED,
                           "expected weights that are not quantised, or FP8 with scales; found "
                           "compressed-tensors (%s): dequantise the model first",
                           found)
                 : MC_OK;
}

static mc_status check_config(const json_t *quantization, mc_error *error)
{
    const char *const method = json_string_value(json_object_get(quantization, "quant_method"));
    if (!json_is_object(quantization))
        return MC_OK;
    if (IS_ONE_OF(method, fp8_methods))
        return check_formats(quantization, error);
    const bool old_bitsandbytes = json_is_true(json_object_get(quantization, "load_in_8bit")) ||
                                  json_is_true(json_object_get(quantization, "load_in_4bit"));
    return mc_fail(error, MC_UNSUPPORTED,
                   "expected weights that are not quantised, or FP8 with scales; config.json has "
                   "quantization_config with quant_method '%s': dequantise the model first",
                   method             ? method
                   : old_bitsandbytes ? "bitsandbytes"
                                      : "(none)");
}

static mc_status check_names(const mc_state_dict *dict, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        const mc_dtype dtype = mc_source_dtype(mc_state_dict_source(dict, i));
        /*
         * "_blocks" also ends names of ordinary tensors: only bytes under it are a packed format.
         */
        for (size_t j = 0; j < sizeof packed / sizeof *packed; j++)
            if (mc_ends_with(name, packed[j].ending) &&
                (packed[j].ending[0] == '.' || dtype == MC_U8))
                return mc_fail_at(error, MC_UNSUPPORTED, NULL, name, -1,
                                  "expected weights that are not quantised, or FP8 with scales; "
                                  "found %s: dequantise the model first",
                                  packed[j].format);
    }
    return MC_OK;
}

/* ---- FP8 ---- */

static bool is_fp8(mc_dtype dtype)
{
    return dtype == MC_F8_E4M3 || dtype == MC_F8_E5M2;
}

/* The length of a name up to and with its last dot. */
static size_t stem_of(const char *name)
{
    const char *const dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) + 1 : 0;
}

/* If the dict has a tensor of `length` bytes of `stem` and `ending`, *name is its name. */
static mc_status try_name(const mc_state_dict *dict, const char *stem, size_t length,
                          const char *ending, char **name, mc_error *error)
{
    if (*name)
        return MC_OK;
    char *const made = mc_format("%.*s%s", (int)length, stem, ending);
    if (!made)
        return mc_fail_memory(error);
    if (mc_state_dict_find(dict, made))
        *name = made;
    else
        mc_free(made);
    return MC_OK;
}

/* *name stays NULL if the tensor has no scale. */
static mc_status find_scale(const mc_state_dict *dict, const char *weight, char **name,
                            mc_error *error)
{
    for (size_t i = 0; i < sizeof scale_endings / sizeof *scale_endings; i++)
        MC_TRY(try_name(dict, weight, strlen(weight), scale_endings[i], name, error));
    for (size_t i = 0; i < sizeof scale_names / sizeof *scale_names; i++)
        MC_TRY(try_name(dict, weight, stem_of(weight), scale_names[i], name, error));
    return MC_OK;
}

/* Takes over the name of the scale. */
static mc_status apply_scale(resolution *r, const char *weight, char *scale, mc_error *error)
{
    mc_source *product = NULL;
    if (!MC_GROW(r->scales, r->count, r->room)) {
        mc_free(scale);
        return mc_fail_memory(error);
    }
    /* Owned by the list from here on, whatever fails. */
    r->scales[r->count++] = scale;
    /*
     * The scale stays in the dict until all weights were visited: removing it would shift the
     * indices.
     */
    MC_TRY(mc_fp8_source(mc_state_dict_find(r->dict, weight), mc_state_dict_find(r->dict, scale),
                         r->block, r->dtype, &product, error));
    const mc_status status = mc_state_dict_set(r->dict, weight, product, error);
    mc_source_unref(product);
    return status;
}

static mc_status convert(resolution *r, size_t index, mc_error *error)
{
    const char *const name = mc_state_dict_name(r->dict, index);
    char *scale = NULL;
    if (!is_fp8(mc_source_dtype(mc_state_dict_source(r->dict, index))))
        return MC_OK;
    MC_TRY(find_scale(r->dict, name, &scale, error));
    if (scale)
        return mc_in_tensor(error, name, apply_scale(r, name, scale, error));
    /* Unless the configuration declares FP8 as quantisation, it is a dtype like any other. */
    return r->declared ? mc_fail_at(error, MC_FORMAT, NULL, name, -1,
                                    "expected a scale named '%s_scale_inv' or '%s_scale' beside "
                                    "the FP8 tensor, found none",
                                    name, name)
                       : MC_OK;
}

static bool is_not_of_activations(const char *name, const mc_source *source, void *user)
{
    (void)source, (void)user;
    return !IS_ONE_OF(name + stem_of(name), activation_names);
}

/*
 * Rejects a scale that belongs to no FP8 tensor: the weight beside it is packed, or the scale was
 * applied already. "_scale" may also be the name of an ordinary parameter beside a float tensor.
 */
static mc_status check_left(const mc_state_dict *dict, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        for (size_t j = 0; j < sizeof scale_endings / sizeof *scale_endings; j++) {
            char *weight = NULL;
            if (!mc_ends_with(name, scale_endings[j]))
                continue;
            MC_TRY(
                try_name(dict, name, strlen(name) - strlen(scale_endings[j]), "", &weight, error));
            const mc_source *const source = weight ? mc_state_dict_find(dict, weight) : NULL;
            mc_free(weight);
            if (source && (j == 0 || mc_dtype_kind_of(mc_source_dtype(source)) != MC_KIND_FLOAT))
                return mc_fail_at(error, MC_UNSUPPORTED, NULL, name, -1,
                                  "expected the scale of an FP8 tensor, found one of %s",
                                  mc_dtype_name(mc_source_dtype(source)));
        }
    }
    return MC_OK;
}

static mc_status convert_all(resolution *r, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(r->dict); i++)
        MC_TRY(convert(r, i, error));
    if (r->count > 0) {
        MC_TRY(mc_state_dict_remove(r->dict, (const char *const *)r->scales, r->count, error));
        /* Without FP8 weights, tensors of such names may be ordinary parameters. */
        MC_TRY(mc_state_dict_filter(r->dict, is_not_of_activations, NULL, error));
    }
    return check_left(r->dict, error);
}

/* ---- the configuration ---- */

static mc_dtype dtype_of(const json_t *config)
{
    static const char *const keys[] = {"dtype", "torch_dtype"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        mc_dtype dtype;
        const char *const name = json_string_value(json_object_get(config, keys[i]));
        if (name && mc_dtype_parse(name, &dtype) && (dtype == MC_F32 || dtype == MC_F16))
            return dtype;
    }
    return MC_BF16;
}

static resolution begin(mc_state_dict *dict, const json_t *config, const json_t *quantization)
{
    resolution r = {.dict = dict, .dtype = dtype_of(config)};
    const json_t *const block = json_object_get(quantization, "weight_block_size");
    r.declared = json_is_object(quantization);
    for (size_t i = 0; i < 2; i++)
        r.block[i] = json_integer_value(json_array_get(block, i));
    return r;
}

static mc_status finish(const resolution *r, mc_checkpoint *checkpoint, json_t *config,
                        mc_error *error)
{
    if (r->count == 0 && !r->declared)
        return MC_OK;
    /* The output is not quantised: transformers must not look for scales in it. */
    checkpoint->dequantized = true;
    json_object_del(config, "quantization_config");
    json_object_del(json_object_get(config, "text_config"), "quantization_config");
    if (r->count == 0)
        return mc_notes_add(&checkpoint->notes, error,
                            "%s: no tensor is FP8 as config.json declares; quantization_config is "
                            "left out",
                            checkpoint->folder);
    return mc_notes_add(&checkpoint->notes, error,
                        "%s: %zu FP8 tensors are dequantised with their scales, as %s",
                        checkpoint->folder, r->count, mc_dtype_torch_name(r->dtype));
}

mc_status mc_quantization_resolve(mc_checkpoint *checkpoint, json_t *config, mc_error *error)
{
    const json_t *const quantization = quantization_of(config);
    MC_TRY(check_config(quantization, error));
    MC_TRY(check_names(checkpoint->dict, error));
    resolution r = begin(checkpoint->dict, config, quantization);
    mc_status status = convert_all(&r, error);
    if (status == MC_OK)
        status = finish(&r, checkpoint, config, error);
    for (size_t i = 0; i < r.count; i++)
        mc_free(r.scales[i]);
    mc_free(r.scales);
    return status;
}

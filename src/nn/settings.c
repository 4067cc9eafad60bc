#include "nn/settings.h"

#include <string.h>

/* Limits of settings: generous, and their products fit in 63 bits. */
enum { MOST_BLOCKS = 4096, MOST_WIDTH = 1 << 20, MOST_ROWS = 1 << 28 };

/* As in transformers, null means the default. */
static const json_t *setting(const json_t *config, const char *name)
{
    const json_t *const value = name ? json_object_get(config, name) : NULL;
    return json_is_null(value) ? NULL : value;
}

static mc_status read_integer(const json_t *config, const char *file, const char *name, int least,
                              int most, int *out, mc_error *error)
{
    const json_t *const value = setting(config, name);
    if (!value)
        return MC_OK;
    if (!json_is_integer(value))
        return mc_fail_at(error, MC_FORMAT, file, NULL, -1, "%s: expected an integer", name);
    const json_int_t found = json_integer_value(value);
    if (found < least || found > most)
        return mc_fail_at(error, MC_FORMAT, file, NULL, -1,
                          "%s: expected %d to %d, found %" JSON_INTEGER_FORMAT, name, least, most,
                          found);
    *out = (int)found;
    return MC_OK;
}

static mc_status read_epsilon(const json_t *config, const char *file, const char *name, float *out,
                              mc_error *error)
{
    const json_t *const value = setting(config, name);
    if (!value)
        return MC_OK;
    const double found = json_number_value(value);
    if (!json_is_number(value) || !(found >= 0 && found <= 1))
        return mc_fail_at(error, MC_FORMAT, file, NULL, -1, "%s: expected a number from 0 to 1",
                          name);
    *out = (float)found;
    return MC_OK;
}

/* The names of transformers. Several name the same function, computed in another way. */
static mc_status read_activation(const json_t *config, const char *file, const char *name,
                                 mc_activation *out, mc_error *error)
{
    static const struct {
        const char *name;
        mc_activation activation;
    } known[] = {{"gelu", MC_ACTIVATION_GELU},
                 {"gelu_python", MC_ACTIVATION_GELU},
                 {"gelu_new", MC_ACTIVATION_GELU_TANH},
                 {"gelu_fast", MC_ACTIVATION_GELU_TANH},
                 {"gelu_accurate", MC_ACTIVATION_GELU_TANH},
                 {"gelu_pytorch_tanh", MC_ACTIVATION_GELU_TANH},
                 {"gelu_python_tanh", MC_ACTIVATION_GELU_TANH},
                 {"quick_gelu", MC_ACTIVATION_QUICK_GELU},
                 {"silu", MC_ACTIVATION_SILU},
                 {"swish", MC_ACTIVATION_SILU},
                 {"relu", MC_ACTIVATION_RELU},
                 {"tanh", MC_ACTIVATION_TANH},
                 {"sigmoid", MC_ACTIVATION_SIGMOID},
                 {"linear", MC_ACTIVATION_LINEAR}};
    const json_t *const value = setting(config, name);
    if (!value)
        return MC_OK;
    const char *const found = json_string_value(value);
    for (size_t i = 0; found && i < sizeof known / sizeof *known; i++)
        if (strcmp(found, known[i].name) == 0) {
            *out = known[i].activation;
            return MC_OK;
        }
    return mc_fail_at(
        error, MC_UNSUPPORTED, file, NULL, -1,
        "%s: expected gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, silu, relu, "
        "tanh, sigmoid or linear, found %s",
        name, found ? found : "something that is not a string");
}

/* As in transformers, id2label takes precedence over num_labels. */
static mc_status read_labels(const json_t *config, const char *file, int *out, mc_error *error)
{
    const json_t *const labels = setting(config, "id2label");
    if (!labels)
        return read_integer(config, file, "num_labels", 1, MOST_WIDTH, out, error);
    const size_t count = json_object_size(labels);
    if (!json_is_object(labels) || count == 0 || count > MOST_WIDTH)
        return mc_fail_at(error, MC_FORMAT, file, NULL, -1,
                          "id2label: expected an object with a name for each label");
    *out = (int)count;
    return MC_OK;
}

static mc_status check(const json_t *config, const char *file, const mc_setting_names *names,
                       const mc_nn_settings *s, mc_error *error)
{
    /* Each of these would compute something that is not this model, without any other error. */
    if (s->hidden % s->heads != 0)
        return mc_fail_at(error, MC_FORMAT, file, NULL, -1,
                          "%s: expected a divisor of %s (%d), found %d", names->heads,
                          names->hidden, s->hidden, s->heads);
    const char *const kind = json_string_value(json_object_get(config, "position_embedding_type"));
    if (kind && strcmp(kind, "absolute") != 0)
        return mc_fail_at(error, MC_UNSUPPORTED, file, NULL, -1,
                          "position_embedding_type: expected absolute, found %s", kind);
    if (json_is_true(json_object_get(config, "is_decoder")))
        return mc_fail_at(error, MC_UNSUPPORTED, file, NULL, -1,
                          "is_decoder: expected an encoder, found true");
    return MC_OK;
}

mc_status mc_nn_settings_read(const json_t *config, const char *file, const mc_setting_names *names,
                              mc_nn_settings *out, mc_error *error)
{
    *out = names->defaults;
    const struct {
        const char *name;
        int least, most, *value;
    } integers[] = {
        {names->hidden, 1, MOST_WIDTH, &out->hidden},
        {names->blocks, 1, MOST_BLOCKS, &out->blocks},
        {names->heads, 1, MOST_WIDTH, &out->heads},
        {names->inner, 1, MOST_WIDTH, &out->inner},
        {names->types, 1, 256, &out->types}, /* types are stored as bytes */
        {"vocab_size", 1, MOST_ROWS, &out->vocabulary},
        {"max_position_embeddings", 1, MOST_ROWS, &out->positions},
        {"pad_token_id", -1, MOST_ROWS, &out->padding},
    };
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        MC_TRY(read_integer(config, file, integers[i].name, integers[i].least, integers[i].most,
                            integers[i].value, error));
    MC_TRY(read_epsilon(config, file, names->epsilon, &out->epsilon, error));
    MC_TRY(read_activation(config, file, names->activation, &out->activation, error));
    MC_TRY(read_labels(config, file, &out->labels, error));
    return check(config, file, names, out, error);
}

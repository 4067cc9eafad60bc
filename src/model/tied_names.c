#include "model/tied_names.h"

#include "checkpoint/tied.h"
#include "model/parts.h"

#include <string.h>

/* Classes whose models have a tensor under a name that files omit. */
static const struct {
    const char *class, *name;
    bool head; /* an output head, whose embedding mc_tied_partner finds; else the embedding again */
} tied[] = {
    {"CausalLM", "lm_head.weight", true},
    {"LMHeadModel", "lm_head.weight", true},
    {"ForConditionalGeneration", "lm_head.weight", true},
    {"ForMaskedLM", "cls.predictions.decoder.weight", true},
    {"T5", "encoder.embed_tokens.weight", false},
    {"T5", "decoder.embed_tokens.weight", false},
};

static const char *class_of(const json_t *config)
{
    return json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
}

/* Whether `head`, which the dict lacks, would be tied to the tensor `name`. */
static bool is_partner(const json_t *config, const mc_state_dict *dict, const char *head,
                       const char *name)
{
    const char *const type = json_string_value(json_object_get(config, "model_type"));
    const char *const partner = mc_tied_partner(type, dict, head);
    return partner && strcmp(partner, name) == 0;
}

size_t mc_tied_names(const json_t *config, const mc_state_dict *dict, const char *name,
                     const char *out[MC_TIED_NAMES])
{
    const char *const class = class_of(config);
    const char *const type = json_string_value(json_object_get(config, "model_type"));
    size_t count = 0;
    if (!class || mc_tied_is_off(config) || mc_part_of(type, name).role != MC_PART_INPUT_EMBEDDING)
        return 0;
    for (size_t i = 0; i < sizeof tied / sizeof *tied && count < MC_TIED_NAMES; i++)
        if (strstr(class, tied[i].class) && !mc_state_dict_find(dict, tied[i].name) &&
            (!tied[i].head || is_partner(config, dict, tied[i].name, name)))
            out[count++] = tied[i].name;
    return count;
}

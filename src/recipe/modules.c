#include "recipe/modules.h"

#include <string.h>

typedef enum kind { TEXT, PROJECTOR, VISION, AUDIO, ENCODER, DECODER } kind;

/*
 * Words that decide what a tensor belongs to. The first row whose word is a component of the name
 * wins, so projectors come before the towers that some of them lie in.
 */
static const struct {
    const char *word;
    kind kind;
} words[] = {
    {"multi_modal_projector", PROJECTOR},
    {"mm_projector", PROJECTOR},
    {"connector", PROJECTOR},
    {"merger", PROJECTOR},
    {"deepstack_merger_list", PROJECTOR},
    {"vision_tower", VISION},
    {"vision_model", VISION},
    {"vision_encoder", VISION},
    {"visual", VISION},
    {"audio_tower", AUDIO},
    {"audio_encoder", AUDIO},
    {"encoder", ENCODER},
    {"decoder", DECODER},
};

static bool has_component(const char *name, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = name; at; at = strchr(at, '.')) {
        at += *at == '.';
        if (strncmp(at, word, length) == 0 && (at[length] == '.' || at[length] == '\0'))
            return true;
    }
    return false;
}

static kind kind_of(const char *tensor)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (has_component(tensor, words[i].word))
            return words[i].kind;
    return TEXT;
}

static bool is_modal(kind k)
{
    return k == PROJECTOR || k == VISION || k == AUDIO;
}

mc_modules mc_modules_of(const mc_state_dict *dict)
{
    bool found[DECODER + 1] = {false}, text = false;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const kind k = kind_of(mc_state_dict_name(dict, i));
        found[k] = true;
        text |= !is_modal(k);
    }
    const bool multimodal = text && (found[PROJECTOR] || found[VISION] || found[AUDIO]);
    return (mc_modules){.multimodal = multimodal,
                        .encoder_decoder = !multimodal && found[ENCODER] && found[DECODER]};
}

static bool starts_with_module(const char *tensor, const char *module)
{
    const size_t length = strlen(module);
    return strncmp(tensor, module, length) == 0 && tensor[length] == '.';
}

bool mc_module_has(mc_modules model, const char *module, const char *tensor)
{
    static const struct {
        const char *name;
        kind kind;
        bool multimodal;
    } modules[] = {
        {"vision_tower", VISION, true}, {"vision_model", VISION, true},
        {"audio_tower", AUDIO, true},   {"multi_modal_projector", PROJECTOR, true},
        {"encoder", ENCODER, false},    {"decoder", DECODER, false},
        {"shared", TEXT, false},
    };
    const kind k = kind_of(tensor);
    if (model.multimodal && strcmp(module, "text_decoder") == 0)
        return !is_modal(k);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (strcmp(module, modules[i].name) == 0 &&
            (modules[i].multimodal ? model.multimodal : model.encoder_decoder))
            return k == modules[i].kind;
    return starts_with_module(tensor, module);
}

const char *mc_module_usual(mc_modules model, const char *module)
{
    static const char *const names[] = {
        [TEXT] = "text_decoder",   [PROJECTOR] = "multi_modal_projector",
        [VISION] = "vision_tower", [AUDIO] = "audio_tower",
        [ENCODER] = "encoder",     [DECODER] = "decoder"};
    const kind k = kind_of(module);
    if (model.multimodal)
        return k == ENCODER || k == DECODER ? names[TEXT] : names[k];
    if (model.encoder_decoder)
        return k == ENCODER || k == DECODER ? names[k] : "shared";
    return "default";
}

const char *mc_modules_text(mc_modules model)
{
    return model.multimodal ? "text_decoder, vision_tower, audio_tower or multi_modal_projector"
           : model.encoder_decoder ? "encoder, decoder or shared"
                                   : "default";
}

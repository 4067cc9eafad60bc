/*
 * Modules: the parts of a model that have blocks of their own, such as the vision tower of a
 * multimodal model or the encoder of an encoder-decoder. A recipe merges them separately by
 * `modules`. Names of tensors decide which modules a model has and what belongs to them:
 *
 *     multimodal        text_decoder, vision_tower (or vision_model), audio_tower,
 *                       multi_modal_projector
 *     encoder-decoder   encoder, decoder, shared
 *     any               default: whatever the recipe's other modules leave;
 *                       PREFIX: tensors whose names begin with "PREFIX."
 */
#ifndef MC_RECIPE_MODULES_H
#define MC_RECIPE_MODULES_H

#include <mergecraft/state_dict.h>

#include <stdbool.h>

typedef struct mc_modules {
    bool multimodal, encoder_decoder;
} mc_modules;

/* What kind of model the tensors make up. */
mc_modules mc_modules_of(const mc_state_dict *dict);

/* Whether the tensor belongs to the module. False for "default": see above. */
bool mc_module_has(mc_modules kind, const char *module, const char *tensor);

/*
 * The same module by its usual name: "vision_tower" of the prefix "vision_tower.encoder". "default"
 * of a model that has but one. Static.
 */
const char *mc_module_usual(mc_modules kind, const char *module);

/* "text_decoder, vision_tower, …": the modules of such a model, for errors. Static. */
const char *mc_modules_text(mc_modules kind);

#endif

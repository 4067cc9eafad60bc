/*
 * Compares configurations and tokenizers of models, not only shapes: the mean of models that
 * compute differently looks plausible and is wrong. Every difference is reported, or MC_MISMATCH
 * under strict.
 */
#ifndef MC_MERGE_AGREEMENT_H
#define MC_MERGE_AGREEMENT_H

#include <mergecraft/merge.h>

/*
 * Compares the labels with the last model's: a head whose rows stand for other labels must not be
 * averaged.
 */
mc_status mc_agree_on_labels(const mc_model *const *models, size_t count, bool strict,
                             mc_report *report, mc_error *error);

/*
 * Compares config.json with that of `last`, key by key: numbers of heads, rope, activations, model
 * type, … Keys about training, loading or generation are left out, and keys that only one of the
 * two has. `stacks`: also numbers of blocks, as the result is a stack of the models' blocks.
 */
mc_status mc_agree_on_configs(const mc_model *const *models, size_t count, const mc_model *last,
                              bool stacks, bool strict, mc_report *report, mc_error *error);

/* Compares the tokens and their ids with those of `last` if both have files that list them. */
mc_status mc_agree_on_tokens(const mc_model *const *models, size_t count, const mc_model *last,
                             bool strict, mc_report *report, mc_error *error);

#endif

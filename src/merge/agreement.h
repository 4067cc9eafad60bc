/*
 * Whether models agree on what their configurations and tokenizers say, and not only on shapes: a
 * mean of models that compute differently is a plausible model and a wrong one. Every difference is
 * reported, or MC_MISMATCH under strict.
 */
#ifndef MC_MERGE_AGREEMENT_H
#define MC_MERGE_AGREEMENT_H

#include <mergecraft/merge.h>

/* A head whose rows mean other labels than the last model's is averaged into nonsense. */
mc_status mc_agree_on_labels(const mc_model *const *models, size_t count, bool strict,
                             mc_report *report, mc_error *error);

/*
 * Compares config.json with that of `last`, key by key: numbers of heads, rope, activations, model
 * type, … Keys that say how a model was trained, is loaded or generates text are left out, and
 * those that only one of the two has.
 */
mc_status mc_agree_on_configs(const mc_model *const *models, size_t count, const mc_model *last,
                              bool strict, mc_report *report, mc_error *error);

/* Compares the tokens and their ids with those of `last`, where both have a vocabulary in files. */
mc_status mc_agree_on_tokens(const mc_model *const *models, size_t count, const mc_model *last,
                             bool strict, mc_report *report, mc_error *error);

#endif

/* Checks models whose vocabularies differ if the user did not choose how to merge them. */
#ifndef MC_MERGE_VOCABULARY_CHECK_H
#define MC_MERGE_VOCABULARY_CHECK_H

#include "merge/outputs.h"
#include "merge/tokenizer_files.h"

/*
 * Compares the vocabularies of the models where no choice was made. `outputs` are not resolved yet;
 * mc_input.model is the model's index, except that of base inputs, unless `base` is `count`. Tokens
 * with other ids, or tables of different sizes, are an error if the result has vocabulary rows of
 * several models, or of others than `donor`, whose tokenizer it gets; tokens that only some models
 * have in tables of equal size are reported, and an error if `strict`.
 *
 * Errors: MC_MISMATCH, with MC_HINT_TOKENIZER
 */
mc_status mc_vocabulary_check(const mc_tokenizer_owner *models, size_t count, size_t base,
                              size_t donor, const mc_outputs *outputs, bool strict,
                              mc_report *report, mc_error *error);

#endif

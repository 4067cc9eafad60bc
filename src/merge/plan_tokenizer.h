/*
 * The tokenizer and chat template of a plan of one method, from the texts in its input. Recipes
 * describe them in YAML (recipe/tokenizer.h).
 */
#ifndef MC_MERGE_PLAN_TOKENIZER_H
#define MC_MERGE_PLAN_TOKENIZER_H

#include "merge/align.h"
#include "merge/plan.h"
#include "merge/token_map.h"

/* The texts of a plan's input, resolved to models and tokens. Zero-initialise. */
typedef struct mc_plan_tokenizer {
    mc_token_map *map;          /* NULL: tensors are merged as they are */
    mc_tokenizer_owner *owners; /* models, then the base */
    size_t count;
    mc_token_rule *rules;
    char **texts; /* of rules */
    size_t donor;
} mc_plan_tokenizer;

/*
 * Reads the tokenizers if the input chooses one. Free *out with mc_plan_tokenizer_free, also after
 * a failure.
 *
 * Errors: MC_USAGE  a source that is not a model, tokens without a tokenizer, …
 *         and those of mc_token_map_new
 */
mc_status mc_plan_tokenizer_new(const mc_plan *plan, const mc_plan_input *input,
                                mc_plan_tokenizer *out, mc_error *error);
void mc_plan_tokenizer_free(mc_plan_tokenizer *tokenizer);

/* Gives aligned tensors with a vocabulary axis the rows of the result. */
mc_status mc_plan_tokenizer_align(const mc_plan_tokenizer *tokenizer, mc_alignment *aligned,
                                  mc_error *error);

/* Without a choice, checks that the vocabularies of rows that are merged do not differ. */
mc_status mc_plan_tokenizer_check(const mc_plan_tokenizer *tokenizer, const mc_plan *plan,
                                  mc_error *error);

/* Changes the plan's outfit: tokenizer files, chat template. */
mc_status mc_plan_tokenizer_dress(const mc_plan_tokenizer *tokenizer, const mc_plan_input *input,
                                  mc_plan *plan, mc_error *error);

#endif

/*
 * Transplanting a vocabulary: a model gets the tokenizer of another one, the donor. Rows of tokens
 * that both have are copied, and those of the donor's other tokens are approximated.
 *
 *     mc_transplant_plan    the model and the donor → a plan, which runs as that of a merge does
 *                           (merge.h): mc_plan_run, mc_plan_state_dict, mc_plan_json, …
 *
 * Thread-safety: as for the plans of merges.
 */
#ifndef MERGECRAFT_TRANSPLANT_H
#define MERGECRAFT_TRANSPLANT_H

#include <mergecraft/merge.h>

MC_BEGIN_DECLS

/* What to transplant. Everything is borrowed; the models must stay open until the plan is freed. */
typedef struct mc_transplant_input {
    const mc_model *model, *donor;
    /*
     * How rows of tokens that the model lacks are approximated:
     *
     *     omp      orthogonal matching pursuit (Pati et al. 1993): the token's row in the donor as
     *              a combination of `neighbours` rows of common tokens, and the same combination
     *              of the model's rows. The default (NULL).
     *     common   the mean of the `neighbours` nearest common tokens, weighted by the inverse of
     *              their distances in the donor
     *     subword  the mean of the rows of the tokens that the model's own tokenizer makes of the
     *              token's text
     *     mean     the mean of all rows
     *     zero     zeros
     */
    const char *method;
    int64_t neighbours; /* of omp and common; 0: 64 */
    int threads;        /* that approximate; 0: all CPUs. The result does not depend on it. */
    bool strict;        /* treat warnings as errors */
    void *reserved[4];  /* must be zero */
} mc_transplant_input;

/*
 * Matches the vocabularies and plans the result. Rows are approximated when they are first read;
 * the rows of common tokens in both models, as float32, are in memory meanwhile.
 *
 * Errors: MC_USAGE        the method does not exist
 *         MC_MISMATCH     no common tokens, or fewer than neighbours; the donor lacks a tensor
 *         MC_UNSUPPORTED  no file lists a vocabulary; subword with a tokenizer that cannot be run;
 *                         omp and common without LAPACK
 *         MC_FORMAT       a tokenizer file is malformed
 */
MC_API mc_status mc_transplant_plan(const mc_transplant_input *input, mc_plan **out,
                                    mc_error *error);

MC_END_DECLS

#endif

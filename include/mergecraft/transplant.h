/*
 * Transplanting a vocabulary: gives a model the tokenizer of another one, the donor. Rows of tokens
 * that both have are copied from the model; rows of the donor's other tokens are approximated.
 *
 *     mc_transplant_plan    the model and the donor → a plan, which runs like that of a merge
 *                           (merge.h): mc_plan_run, mc_plan_state_dict, mc_plan_json, …
 *
 * Thread-safety: as for the plans of merge.h.
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
    int threads;        /* for approximating; 0: all CPUs. Does not change the result. */
    bool strict;        /* treat warnings as errors */
    void *reserved[4];  /* must be zero */
} mc_transplant_input;

/*
 * Matches the vocabularies and plans the result. Rows are approximated when they are first read.
 * For omp and common, this holds the rows of common tokens of both models in memory as float32;
 * for omp and many new tokens also a byte per pair of common tokens, at most 8 GB and a quarter of
 * the machine's memory.
 * Free the plan with mc_plan_free.
 *
 * Errors: MC_USAGE        the method does not exist, or `neighbours` is out of range
 *         MC_MISMATCH     no common tokens, or fewer than `neighbours`; the donor lacks a tensor;
 *                         a warning under `strict`
 *         MC_UNSUPPORTED  no file lists a vocabulary; no tensor has one row per token; subword with
 *                         a tokenizer that mergecraft cannot run; omp and common without LAPACK
 *         MC_FORMAT       a tokenizer file is malformed
 */
MC_API mc_status mc_transplant_plan(const mc_transplant_input *input, mc_plan **out,
                                    mc_error *error);

MC_END_DECLS

#endif

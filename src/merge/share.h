/*
 * Cuts the output of a merge into one contiguous share per process, so that all have about as many
 * bytes to read and to write. A tensor is cut where its method can compute a part alone; one that
 * has to be computed as a whole goes to one process.
 *
 * The shares follow from the arguments alone: every process computes the same.
 */
#ifndef MC_MERGE_SHARE_H
#define MC_MERGE_SHARE_H

#include "merge/spans.h"
#include "tensor/source.h"

typedef struct mc_share {
    mc_spans spans;
    double cost;         /* bytes to read, once per pass, and to write */
    int64_t read, write; /* bytes of inputs, once, and of the output */
} mc_share;

typedef struct mc_shares {
    mc_share *of; /* one per process */
    int count;
    size_t *cut; /* tensors that several processes compute parts of, in order */
    size_t cut_count, cut_capacity;
} mc_shares;

/*
 * `missing`: what is to be computed of the stream of these tensors' bytes. Zero-initialise *out;
 * call mc_shares_free also after a failure.
 */
mc_status mc_shares_new(mc_source *const *tensors, size_t count, const mc_spans *missing,
                        int processes, mc_shares *out, mc_error *error);
void mc_shares_free(mc_shares *shares);

/* The process whose share has this byte of the stream; −1 if it is in none. */
int mc_shares_owner(const mc_shares *shares, int64_t position);

#endif

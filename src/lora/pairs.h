/*
 * Pairs of factors, A and B of one module, that are computed together when one of them is read.
 *
 *     NOTHING ──▶ BUSY ──▶ READY ──▶ NOTHING    (when both factors were read)
 *
 * A thread that needs a pair which another thread is computing computes one of the next pairs
 * meanwhile. So threads that read factors in order, as the executor does, work side by side. With a
 * memory bound, a thread waits until its pair fits, and drops pairs that are READY but not in use:
 * whoever needs them computes them again, with the same values.
 */
#ifndef MC_LORA_PAIRS_H
#define MC_LORA_PAIRS_H

#include "base/error.h"
#include "tensor/source.h"

typedef struct mc_pairs mc_pairs;

/* The numbers of elements of the factors, and the bytes that computing them takes beside them. */
typedef struct mc_pair_size {
    int64_t a, b, work;
} mc_pair_size;

/* The bytes of a pair while it is computed. */
int64_t mc_pair_bytes(const mc_pair_size *size);

/* Computes both factors of pair `index`, the same values whenever it is called. */
typedef mc_status mc_pair_compute(void *user, size_t index, double *a, double *b, mc_error *error);

/*
 * `memory` bounds the bytes of all pairs that are computed or kept (0: no bound), and must suffice
 * for each pair alone. `user` stays the caller's, and valid as long as any source of the pairs.
 * Sources keep the pairs alive; drop the caller's reference with mc_pairs_unref, which accepts
 * NULL.
 */
mc_status mc_pairs_new(size_t count, const mc_pair_size *sizes, int64_t memory,
                       mc_pair_compute *compute, void *user, mc_pairs **out, mc_error *error);
void mc_pairs_unref(mc_pairs *pairs);

/* A factor of pair `index` as a tensor; the product of `shape` is its number of elements. */
mc_status mc_pairs_source(mc_pairs *pairs, size_t index, bool is_b, mc_dtype dtype, int rank,
                          const int64_t *shape, mc_source **out, mc_error *error);

#endif

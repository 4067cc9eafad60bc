/*
 * A network whose values are kept, so that derivatives of its logits, and statistics of its
 * activations, can be computed. Products are those of linalg/gemm.h, and of BLAS within a head of
 * attention; the encoder of inference (encoder.h) is another path through the same network.
 *
 * Work is done on groups of sequences. The threads of a team share every operation; its items do
 * not depend on their number, so results have the same bits for any number of threads.
 *
 * Memory: values at the borders of transformer blocks are kept for the whole group, and so are
 * those inside of blocks while they fit MC_TRACE_KEPT bytes, except for activations, which are
 * cheap and take a quarter of it. Otherwise one block's values are kept at a time. What is not kept
 * is computed again by the backward pass.
 *
 * Each function exists for float (…_f32) and double (…_f64), where finite differences confirm the
 * derivatives.
 */
#ifndef MC_NN_TRACE_H
#define MC_NN_TRACE_H

#include "base/team.h"
#include "nn/encoder.h"
#include "nn/network.h"

#include <mergecraft/state_dict.h>

#define MC_TRACE_KEPT ((size_t)512 << 20)

/* How a backward pass adds the gradients of a group's sequences to what it is given. */
typedef enum mc_gradient_kind {
    MC_GRADIENT_SUM,    /* their sum */
    MC_GRADIENT_SQUARES /* the sum of the squares of each sequence's gradient */
} mc_gradient_kind;

#define MC_TRACE_OF(S_, REAL_)                                                                     \
    typedef struct mc_trace_##S_ mc_trace_##S_;                                                    \
    mc_status mc_trace_new_##S_(const json_t *config, const char *file, bool whole, int threads,   \
                                mc_trace_##S_ **out, mc_error *error);                             \
    void mc_trace_free_##S_(mc_trace_##S_ *trace);                                                 \
    mc_network *mc_trace_network_##S_(mc_trace_##S_ *trace);                                       \
    int mc_trace_threads_##S_(const mc_trace_##S_ *trace);                                         \
    mc_status mc_trace_load_##S_(mc_trace_##S_ *trace, const mc_state_dict *from,                  \
                                 const volatile int *cancel, mc_error *error);                     \
    mc_status mc_trace_load_block_##S_(mc_trace_##S_ *trace, const mc_state_dict *from, int block, \
                                       mc_error *error);                                           \
    mc_status mc_trace_load_weight_##S_(mc_trace_##S_ *trace, const mc_state_dict *from,           \
                                        size_t index, mc_error *error);                            \
    REAL_ *mc_trace_weight_##S_(mc_trace_##S_ *trace, size_t index);                               \
    mc_status mc_trace_begin_##S_(mc_trace_##S_ *trace, const mc_batch *batch, size_t first,       \
                                  size_t count, bool backward, mc_error *error);                   \
    mc_status mc_trace_forward_##S_(mc_trace_##S_ *trace, REAL_ *const *grams, mc_error *error);   \
    mc_status mc_trace_block_##S_(mc_trace_##S_ *trace, int block, REAL_ *const *grams,            \
                                  mc_error *error);                                                \
    REAL_ *mc_trace_value_##S_(mc_trace_##S_ *trace, int value);                                   \
    mc_status mc_trace_backward_##S_(mc_trace_##S_ *trace, const double *seeds,                    \
                                     mc_gradient_kind kind, REAL_ *const *gradients,               \
                                     mc_error *error);

/*
 * A trace goes through these states; a new group starts over.
 *
 *   new ──▶ load ──▶ begin ──▶ forward ──▶ backward ──┐
 *                      ▲          │            ▲      │ other seeds
 *                      │          │            └──────┤
 *                      └──────────┴───────────────────┘ next group
 *
 * mc_trace_new       builds the network that a config.json describes; `whole` as in
 *                    mc_network_build_plain. MC_UNSUPPORTED also if BLAS is not installed.
 * mc_trace_threads   the threads that compute it.
 * mc_trace_load      reads the weights of a state dict. MC_NOT_FOUND, MC_MISMATCH, MC_FORMAT (NaN,
 *                    infinity), MC_INTERRUPTED.
 * mc_trace_load_block the same for the weights of one block, numbered as for mc_network_first;
 *                    mc_trace_load_weight for weight `index` of the network.
 * mc_trace_weight    weight `index` of the network, as the state dict has it; writable.
 * mc_trace_begin     takes sequences first … first + count − 1 of a batch, whose tokens are
 *                    checked. The batch must stay. `backward`: makes room for gradients, too.
 * mc_trace_forward   computes all values. `grams` (may be NULL): per weight of the network, NULL or
 *                    [in, in] to which the upper triangle of XᵀX of its inputs X is added.
 * mc_trace_block     computes the operations of one block only, numbered as for mc_network_first.
 * mc_trace_value     a value of the group: rows · width numbers, valid until the next group.
 * mc_trace_backward  after mc_trace_forward: adds derivatives of Σ seeds · logits to gradients (per
 *                    weight of the network; NULL: not wanted). seeds[count][labels].
 */
MC_TRACE_OF(f32, float)
MC_TRACE_OF(f64, double)

/* The first token of sequence `index` ≤ count of a group; the tokens of the group. */
static inline size_t mc_trace_start(const mc_batch *batch, size_t first, size_t index)
{
    return batch->starts[first + index] - batch->starts[first];
}

/*
 * Where the next group of about `tokens` tokens ends, which depends on the batch alone. At least
 * one sequence.
 */
size_t mc_trace_group(const mc_batch *batch, size_t first, size_t tokens);

#endif

/* Computes a network on several threads. */
#ifndef MC_NN_RUN_H
#define MC_NN_RUN_H

#include "nn/encoder.h"
#include "nn/weights.h"

/* As mc_encoder_logits, for a batch that has been checked. */
mc_status mc_network_run(const mc_network *network, const mc_weights *weights,
                         const mc_batch *batch, int threads, const mc_watch *watch,
                         mc_scratch *scratch, float *logits, mc_error *error);

#endif

/* Quantised checkpoints: which are read, and which are rejected. */
#ifndef MC_CHECKPOINT_QUANTIZATION_H
#define MC_CHECKPOINT_QUANTIZATION_H

#include "checkpoint/checkpoint.h"

/*
 * FP8 weights become lazy products with their scales (fp8.h), in the configuration's dtype
 * (bfloat16 by default). The scales leave the state dict, quantization_config leaves `config` (NULL
 * if there is none), and a note reports it. Packed formats (GPTQ, AWQ, bitsandbytes, …) are
 * rejected by name: their integers are meaningless without their scales.
 * Errors: MC_UNSUPPORTED  another format, by the configuration or by the tensors
 *         MC_FORMAT       FP8 weights without a scale that fits
 */
mc_status mc_quantization_resolve(mc_checkpoint *checkpoint, json_t *config, mc_error *error);

#endif

/* Quantised checkpoints: which are read, and which are refused. */
#ifndef MC_CHECKPOINT_QUANTIZATION_H
#define MC_CHECKPOINT_QUANTIZATION_H

#include "checkpoint/checkpoint.h"

/*
 * FP8 weights become lazy products with their scales (fp8.h), in the configuration's dtype
 * (bfloat16 by default). The scales leave the state dict, quantization_config leaves `config` (NULL
 * if there is none), and a note reports it. Packed formats (GPTQ, AWQ, bitsandbytes, …) are refused
 * by name: their integers and scales mean nothing one without the other.
 * Errors: MC_UNSUPPORTED  another format, by the configuration or by the tensors
 *         MC_FORMAT       FP8 weights without a scale that fits
 */
mc_status mc_quantization_resolve(mc_checkpoint *checkpoint, json_t *config, mc_error *error);

#endif

/* The names that pickles of torch refer to, and what they mean. */
#ifndef MC_CHECKPOINT_TORCH_GLOBALS_H
#define MC_CHECKPOINT_TORCH_GLOBALS_H

#include "checkpoint/pickle.h"

/* Storages and dtypes have an mc_dtype, or a size in bytes, added. OTHER is any other name. */
enum {
    MC_TORCH_OTHER,
    MC_TORCH_REBUILD_TENSOR,    /* (storage, offset, size, stride) */
    MC_TORCH_REBUILD_TENSOR_V2, /* (…, requires_grad, hooks[, metadata]) */
    MC_TORCH_REBUILD_TENSOR_V3, /* (…, requires_grad, hooks, dtype[, metadata]) */
    MC_TORCH_PARAMETER,         /* (tensor, …) */
    MC_TORCH_FROM_TYPE,         /* (function, type, arguments, state) */
    MC_TORCH_UNREADABLE_TENSOR,
    MC_TORCH_NUMPY_ARRAY,
    MC_TORCH_STORAGE = 100,
    MC_TORCH_STORAGE_OTHER = 200,
    MC_TORCH_DTYPE = 300,
};

extern const mc_global mc_torch_globals[];

#endif

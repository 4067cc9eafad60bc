#define MC_LOW_RANK_TABLE mc_low_rank_scalar
#include "tensor/low_rank_kernels.h"

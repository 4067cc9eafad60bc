#define MC_LOW_RANK_TABLE mc_low_rank_avx2
#include "tensor/low_rank_kernels.h"

#define MC_CONVERT_TABLE mc_convert_avx512
#include "tensor/convert_kernels.h"

#define MC_CONVERT_TABLE mc_convert_avx2
#include "tensor/convert_kernels.h"

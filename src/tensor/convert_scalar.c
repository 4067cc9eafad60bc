#define MC_CONVERT_TABLE mc_convert_scalar
#include "tensor/convert_kernels.h"

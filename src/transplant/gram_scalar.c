#define MC_GRAM_TABLE mc_gram_scalar
#include "transplant/gram_kernels.h"

#define MC_GRAM_TABLE mc_gram_avx512
#include "transplant/gram_kernels.h"

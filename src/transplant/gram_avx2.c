#define MC_GRAM_TABLE mc_gram_avx2
#include "transplant/gram_kernels.h"

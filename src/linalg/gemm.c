#include "linalg/gemm.h"

#include "base/cpu.h"
#include "linalg/gemm_kernels.h"
#include "linalg/sizes.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

/*
 * Rows and columns of the blocks of C that threads take. Both are multiples of a tile's at every
 * CPU level. The panels of one block's columns, DEPTH deep, and one panel of rows fit a core's
 * second cache.
 */
enum { BLOCK_ROWS = 768, BLOCK_COLUMNS = 128, DEPTH = 1024 };
enum { LINE = 64 };
/* Panels of A that a thread packs at a time. */
enum { PANELS = 4 };

static size_t ceiling(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

#define REAL float
#define GEMM(name_) mc_gemm_##name_##_f32
#define TYPE mc_gemm_f32
#define LOCAL(name_) name_##_f32
#include "linalg/gemm_run.h"
#undef REAL
#undef GEMM
#undef TYPE
#undef LOCAL

#define REAL double
#define GEMM(name_) mc_gemm_##name_##_f64
#define TYPE mc_gemm_f64
#define LOCAL(name_) name_##_f64
#include "linalg/gemm_run.h"

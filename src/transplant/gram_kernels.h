/* Compiled once for each CPU level, with MC_GRAM_TABLE as the name of its table. */
#include "transplant/gram_table.h"

#include <stddef.h>

/* Four rows at a time: the sums would otherwise be read and written once per row. */
static void subtract(const int8_t *const rows[4], const float weights[4], float *restrict x)
{
    const int8_t *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const float p = weights[0], q = weights[1], r = weights[2], s = weights[3];
    for (size_t i = 0; i < MC_GRAM_BLOCK; i++)
        x[i] -= p * (float)a[i] + q * (float)b[i] + (r * (float)c[i] + s * (float)d[i]);
}

const mc_gram_table MC_GRAM_TABLE = {.subtract = subtract};

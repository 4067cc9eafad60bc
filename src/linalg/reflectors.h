/*
 * Applying blocks of reflectors: the text for one type. REAL, NAME(name) for its own functions,
 * BLAS(name) for a function of the table, PART for the length of sums.
 *
 * The rounding of a sum grows with its length, most of all if a few terms are large, as here.
 * Therefore float adds up sums of PART products. With 96 instead of 768, the inverse root's error
 * falls from 1.6e-6 to 1.3e-6 of its norm.
 */

/* Copies the upper triangle to the lower one, in squares that fit the first cache. */
static void NAME(mirror)(REAL *a, size_t n)
{
    enum { SIDE = 32 };
    for (size_t row = 0; row < n; row += SIDE)
        for (size_t column = row; column < n; column += SIDE)
            for (size_t i = row; i < least(n, row + SIDE); i++)
                for (size_t j = most(i + 1, column); j < least(n, column + SIDE); j++)
                    a[j * n + i] = a[i * n + j];
}

/* C = alpha · op(A) · op(B) + beta · C by columns. */
static void NAME(multiply)(const mc_lapack *lapack, const char *ta, const char *tb, int m, int n,
                           int k, REAL alpha, const REAL *a, int lda, const REAL *b, int ldb,
                           REAL beta, REAL *c, int ldc)
{
    lapack->BLAS(gemm)(ta, tb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc, 1, 1);
}

/* C [m, n] = Aᵀ B by columns, in parts of the inner dimension. */
static void NAME(multiply_long)(const mc_lapack *lapack, int m, int n, int k, const REAL *a,
                                int lda, const REAL *b, int ldb, REAL *c)
{
    for (int first = 0; first < k; first += PART) {
        const int part = k - first < PART ? k - first : PART;
        NAME(multiply)
        (lapack, "T", "N", m, n, part, 1, a + first, lda, b + first, ldb, first > 0, c, m);
    }
}

/* C [m, n] = S B by columns, in parts; only the lower triangle of S [m, m] is stored. */
static void NAME(multiply_symmetric)(const mc_lapack *lapack, int m, int n, const REAL *s, int lds,
                                     const REAL *b, REAL *c)
{
    const REAL one = 1, zero = 0;
    for (int i = 0; i < m; i += PART) {
        const int rows = m - i < PART ? m - i : PART;
        lapack->BLAS(symm)("L", "L", &rows, &n, &one, s + (size_t)i * (size_t)lds + i, &lds, b + i,
                           &m, &zero, c + i, &m, 1, 1);
    }
    for (int j = 0; j < m; j += PART)
        for (int i = j + PART; i < m; i += PART) {
            const int rows = m - i < PART ? m - i : PART;
            const REAL *const below = s + (size_t)j * (size_t)lds + i;
            NAME(multiply)(lapack, "N", "N", rows, n, PART, 1, below, lds, b + j, m, 1, c + i, m);
            NAME(multiply)(lapack, "T", "N", PART, n, rows, 1, below, lds, b + i, m, 1, c + j, m);
        }
}

/* B = T B, or B Tᵀ if `right`, for an upper triangular T; by columns. */
static void NAME(multiply_triangle)(const mc_lapack *lapack, bool right, int m, int n,
                                    const REAL *t, int ldt, REAL *b)
{
    const REAL one = 1;
    lapack->BLAS(trmm)(right ? "R" : "L", "U", right ? "T" : "N", "N", &m, &n, &one, t, &ldt, b, &m,
                       1, 1, 1, 1);
}

/*
 * A block of reflectors, H = I − V T Vᵀ, for the last m rows of n. `product`: work of n · BLOCK
 * doubles, `small`: of BLOCK².
 */
typedef struct NAME(reflectors) {
    int m, width;
    REAL *v, *t, *product, *small;
} NAME(reflectors);

/* Those from `first` on. They lie below the diagonal of A by columns, and begin with a 1. */
static NAME(reflectors) NAME(gather)(const mc_lapack *lapack, size_t n, size_t first, const REAL *a,
                                     const REAL *tau, REAL *work)
{
    const size_t m = n - 1 - first, width = least(BLOCK, m);
    const NAME(reflectors) h = {(int)m,
                                (int)width,
                                work,
                                work + 2 * BLOCK * n,
                                work + BLOCK * n,
                                work + 2 * BLOCK * n + (size_t)BLOCK * BLOCK};
    for (size_t j = 0; j < width; j++) {
        memset(h.v + j * m, 0, j * sizeof *h.v);
        h.v[j * m + j] = 1;
        memcpy(h.v + j * m + j + 1, a + (first + j) * n + first + j + 2, (m - j - 1) * sizeof *h.v);
    }
    lapack->BLAS(larft)("F", "C", &h.m, &h.width, h.v, &h.m, tau + first, h.t, &h.width, 1, 1);
    return h;
}

/* S = H S, for the [m, columns] elements of S beside its last rows and columns. */
static void NAME(turn_beside)(const mc_lapack *lapack, const NAME(reflectors) * h, int columns,
                              int n, REAL *s)
{
    NAME(multiply_long)(lapack, h->width, columns, h->m, h->v, h->m, s, n, h->product);
    NAME(multiply_triangle)(lapack, false, h->width, columns, h->t, h->width, h->product);
    NAME(multiply)
    (lapack, "N", "N", h->m, columns, h->width, -1, h->v, h->m, h->product, h->width, 1, s, n);
}

/*
 * S = H S Hᵀ, for the last m rows and columns. With Z = S V Tᵀ and X = Z − ½ V T Vᵀ Z that is
 * S − V Xᵀ − X Vᵀ.
 */
static void NAME(turn_corner)(const mc_lapack *lapack, const NAME(reflectors) * h, int n, REAL *s)
{
    const REAL one = 1, minus = -1;
    NAME(multiply_symmetric)(lapack, h->m, h->width, s, n, h->v, h->product);
    NAME(multiply_triangle)(lapack, true, h->m, h->width, h->t, h->width, h->product);
    NAME(multiply_long)(lapack, h->width, h->width, h->m, h->v, h->m, h->product, h->m, h->small);
    NAME(multiply_triangle)(lapack, false, h->width, h->width, h->t, h->width, h->small);
    NAME(multiply)
    (lapack, "N", "N", h->m, h->width, h->width, -.5, h->v, h->m, h->small, h->width, 1, h->product,
     h->m);
    lapack->BLAS(syr2k)("L", "N", &h->m, &h->width, &minus, h->v, &h->m, h->product, &h->m, &one, s,
                        &n, 1, 1);
}

/*
 * S becomes Q S Qᵀ; both have only their lower triangle by columns. Doing both sides at once takes
 * half the operations of one side after the other.
 */
static void NAME(turn_both)(const mc_lapack *lapack, size_t n, const REAL *a, const REAL *tau,
                            REAL *s, REAL *work)
{
    const size_t count = n - 1; /* of reflectors */
    for (size_t end = count; end > 0;) {
        const size_t first = (end - 1) / BLOCK * BLOCK, row = first + 1;
        const NAME(reflectors) h = NAME(gather)(lapack, n, first, a, tau, work);
        NAME(turn_beside)(lapack, &h, (int)row, (int)n, s + row);
        NAME(turn_corner)(lapack, &h, (int)n, s + row * n + row);
        end = first;
    }
}

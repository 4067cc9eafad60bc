/*
 * The functions of BLAS and LAPACK that are used, by their Fortran names: any implementation has
 * them (OpenBLAS, the reference one, MKL). The library is loaded when it is first needed.
 */
#ifndef MC_LINALG_LAPACK_H
#define MC_LINALG_LAPACK_H

#include "base/error.h"

#include <stddef.h>

/*
 * Fortran passes every argument by address, matrices by columns, and the length of each text after
 * all other arguments.
 */
typedef struct mc_lapack {
    void (*sgemm)(const char *ta, const char *tb, const int *m, const int *n, const int *k,
                  const float *alpha, const float *a, const int *lda, const float *b,
                  const int *ldb, const float *beta, float *c, const int *ldc, size_t, size_t);
    void (*gemm)(const char *ta, const char *tb, const int *m, const int *n, const int *k,
                 const double *alpha, const double *a, const int *lda, const double *b,
                 const int *ldb, const double *beta, double *c, const int *ldc, size_t, size_t);
    void (*syrk)(const char *uplo, const char *trans, const int *n, const int *k,
                 const double *alpha, const double *a, const int *lda, const double *beta,
                 double *c, const int *ldc, size_t, size_t);
    void (*symm)(const char *side, const char *uplo, const int *m, const int *n,
                 const double *alpha, const double *a, const int *lda, const double *b,
                 const int *ldb, const double *beta, double *c, const int *ldc, size_t, size_t);
    void (*syr2k)(const char *uplo, const char *trans, const int *n, const int *k,
                  const double *alpha, const double *a, const int *lda, const double *b,
                  const int *ldb, const double *beta, double *c, const int *ldc, size_t, size_t);
    void (*trmm)(const char *side, const char *uplo, const char *trans, const char *diagonal,
                 const int *m, const int *n, const double *alpha, const double *a, const int *lda,
                 double *b, const int *ldb, size_t, size_t, size_t, size_t);
    void (*ssymm)(const char *side, const char *uplo, const int *m, const int *n,
                  const float *alpha, const float *a, const int *lda, const float *b,
                  const int *ldb, const float *beta, float *c, const int *ldc, size_t, size_t);
    void (*ssyr2k)(const char *uplo, const char *trans, const int *n, const int *k,
                   const float *alpha, const float *a, const int *lda, const float *b,
                   const int *ldb, const float *beta, float *c, const int *ldc, size_t, size_t);
    void (*strmm)(const char *side, const char *uplo, const char *trans, const char *diagonal,
                  const int *m, const int *n, const float *alpha, const float *a, const int *lda,
                  float *b, const int *ldb, size_t, size_t, size_t, size_t);
    void (*gesdd)(const char *job, const int *m, const int *n, double *a, const int *lda, double *s,
                  double *u, const int *ldu, double *vt, const int *ldvt, double *work,
                  const int *lwork, int *iwork, int *info, size_t);
    void (*syevd)(const char *job, const char *uplo, const int *n, double *a, const int *lda,
                  double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                  int *info, size_t, size_t);
    void (*sytrd)(const char *uplo, const int *n, double *a, const int *lda, double *d, double *e,
                  double *tau, double *work, const int *lwork, int *info, size_t);
    void (*sterf)(const int *n, double *d, double *e, int *info);
    void (*larft)(const char *direct, const char *storage, const int *n, const int *k,
                  const double *v, const int *ldv, const double *tau, double *t, const int *ldt,
                  size_t, size_t);
    void (*slarft)(const char *direct, const char *storage, const int *n, const int *k,
                   const float *v, const int *ldv, const float *tau, float *t, const int *ldt,
                   size_t, size_t);
    void (*stedc)(const char *job, const int *n, double *d, double *e, double *z, const int *ldz,
                  double *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t);
    void (*gelqf)(const int *m, const int *n, double *a, const int *lda, double *tau, double *work,
                  const int *lwork, int *info);
    void (*orglq)(const int *m, const int *n, const int *k, double *a, const int *lda,
                  const double *tau, double *work, const int *lwork, int *info);
    void (*potrf)(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t);
    void (*pocon)(const char *uplo, const int *n, const double *a, const int *lda,
                  const double *norm, double *condition, double *work, int *iwork, int *info,
                  size_t);
    void (*potrs)(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda,
                  double *b, const int *ldb, int *info, size_t);
    void (*spotrf)(const char *uplo, const int *n, float *a, const int *lda, int *info, size_t);
    void (*spocon)(const char *uplo, const int *n, const float *a, const int *lda,
                   const float *norm, float *condition, float *work, int *iwork, int *info, size_t);
    void (*spotrs)(const char *uplo, const int *n, const int *nrhs, const float *a, const int *lda,
                   float *b, const int *ldb, int *info, size_t);
} mc_lapack;

/*
 * *out: the table, valid for the life of the process. Thread-safe.
 * Errors: MC_UNSUPPORTED  no library is installed, or it lacks a function
 */
mc_status mc_lapack_get(const mc_lapack **out, mc_error *error);

/*
 * What a function of LAPACK returned in `info`, where a positive number means that `what` did not
 * converge.
 * Errors: MC_FORMAT
 */
mc_status mc_lapack_check(int info, const char *what, mc_error *error);

#endif

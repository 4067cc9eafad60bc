#include "linalg/lapack.h"

#include "base/library.h"

#include <assert.h>
#include <pthread.h>

/* Set once by `load` and constant from then on: no lock is needed to read them. */
static mc_lapack table;
static mc_status loaded;
static mc_error failure;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/*
 * Sets OpenBLAS to one thread. A merge computes several tensors at a time, one per worker thread,
 * and further threads below those only wait for each other. One thread also gives the same bits for
 * any number of workers, since sums are then cut in one way only. Another BLAS lacks the function,
 * which is ignored.
 */
static void use_one_thread(const char *const *names)
{
    void (*set_num_threads)(int) = NULL;
    const mc_symbol symbols[] = {{"openblas_set_num_threads", (void **)&set_num_threads}, {0}};
    mc_error ignored = MC_ERROR_NONE;
    if (mc_library_load("OpenBLAS", names, symbols, &ignored) == MC_OK)
        set_num_threads(1);
}

static void load(void)
{
    /* liblapack.so.3 is the LAPACK that the system has chosen; it loads its BLAS. */
    static const char *const names[] = {"libopenblas.so.0", "liblapack.so.3", NULL};
    const mc_symbol symbols[] = {{"sgemm_", (void **)&table.sgemm},
                                 {"dgemm_", (void **)&table.gemm},
                                 {"dsyrk_", (void **)&table.syrk},
                                 {"dsymm_", (void **)&table.symm},
                                 {"dsyr2k_", (void **)&table.syr2k},
                                 {"dtrmm_", (void **)&table.trmm},
                                 {"ssymm_", (void **)&table.ssymm},
                                 {"ssyr2k_", (void **)&table.ssyr2k},
                                 {"strmm_", (void **)&table.strmm},
                                 {"dgesdd_", (void **)&table.gesdd},
                                 {"dsyevd_", (void **)&table.syevd},
                                 {"dsytrd_", (void **)&table.sytrd},
                                 {"dsterf_", (void **)&table.sterf},
                                 {"dlarft_", (void **)&table.larft},
                                 {"slarft_", (void **)&table.slarft},
                                 {"dstedc_", (void **)&table.stedc},
                                 {"dgelqf_", (void **)&table.gelqf},
                                 {"dorglq_", (void **)&table.orglq},
                                 {"dpotrf_", (void **)&table.potrf},
                                 {"dpocon_", (void **)&table.pocon},
                                 {"dpotrs_", (void **)&table.potrs},
                                 {"spotrf_", (void **)&table.spotrf},
                                 {"spocon_", (void **)&table.spocon},
                                 {"spotrs_", (void **)&table.spotrs},
                                 {0}};
    loaded = mc_library_load("LAPACK (Debian: libopenblas0-pthread)", names, symbols, &failure);
    if (loaded == MC_OK)
        use_one_thread(names);
}

mc_status mc_lapack_get(const mc_lapack **out, mc_error *error)
{
    pthread_once(&once, load);
    if (loaded != MC_OK && error)
        *error = failure;
    *out = &table;
    return loaded;
}

mc_status mc_lapack_check(int info, const char *what, mc_error *error)
{
    /* info < 0 numbers the argument that LAPACK rejects. */
    assert(info >= 0 && "an argument of ours is wrong");
    return info == 0 ? MC_OK : mc_fail(error, MC_FORMAT, "the %s did not converge", what);
}

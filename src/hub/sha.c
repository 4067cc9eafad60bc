#include "hub/sha.h"

#include "base/library.h"
#include "base/memory.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>

#define FUNCTIONS(X)                                                                               \
    X(EVP_MD_CTX_new)                                                                              \
    X(EVP_MD_CTX_free)                                                                             \
    X(EVP_DigestInit_ex)                                                                           \
    X(EVP_DigestUpdate)                                                                            \
    X(EVP_DigestFinal_ex)                                                                          \
    X(EVP_sha1)                                                                                    \
    X(EVP_sha256)

static struct {
#define X(name_) __typeof__(name_) *name_;
    FUNCTIONS(X)
#undef X
} crypto;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mc_status loaded;
static mc_error load_error;

static void load(void)
{
#ifdef MC_LINK_CURL
#define X(name_) crypto.name_ = name_;
    FUNCTIONS(X)
#undef X
#else
    static const char *const files[] = {"libcrypto.so.3", "libcrypto.so.1.1", NULL};
    const mc_symbol symbols[] = {
#define X(name_) {#name_, (void **)&crypto.name_},
        FUNCTIONS(X)
#undef X
            {NULL, NULL},
    };
    loaded = mc_library_load("libcrypto, which the Hub needs for checksums,", files, symbols,
                             &load_error);
#endif
}

/*
 * The state of a hash. libcrypto is loaded with the first one: programs without downloads do not
 * need it.
 */
struct mc_sha {
    EVP_MD_CTX *context;
    int bits;
};

mc_status mc_sha_new(int bits, mc_sha **out, mc_error *error)
{
    pthread_once(&once, load);
    if (loaded != MC_OK) {
        if (error)
            *error = load_error;
        return loaded;
    }
    mc_sha *const sha = mc_alloc_zero(1, sizeof *sha);
    if (!sha)
        return mc_fail_memory(error);
    sha->bits = bits;
    sha->context = crypto.EVP_MD_CTX_new();
    const EVP_MD *const kind = bits == 160 ? crypto.EVP_sha1() : crypto.EVP_sha256();
    if (!sha->context || !crypto.EVP_DigestInit_ex(sha->context, kind, NULL)) {
        mc_sha_free(sha);
        return mc_fail(error, MC_UNSUPPORTED, "libcrypto does not provide SHA-%d",
                       bits == 160 ? 1 : bits);
    }
    *out = sha;
    return MC_OK;
}

mc_status mc_sha_add(mc_sha *sha, const void *bytes, size_t size, mc_error *error)
{
    if (!crypto.EVP_DigestUpdate(sha->context, bytes, size))
        return mc_fail(error, MC_UNSUPPORTED, "libcrypto failed to compute a checksum");
    return MC_OK;
}

mc_status mc_sha_finish(mc_sha *sha, char hex[MC_SHA_HEX], mc_error *error)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!crypto.EVP_DigestFinal_ex(sha->context, digest, NULL))
        return mc_fail(error, MC_UNSUPPORTED, "libcrypto failed to compute a checksum");
    for (int i = 0; i < sha->bits / 8; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return MC_OK;
}

void mc_sha_free(mc_sha *sha)
{
    if (sha && sha->context)
        crypto.EVP_MD_CTX_free(sha->context);
    mc_free(sha);
}

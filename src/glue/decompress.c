#include "glue/decompress.h"

#include "base/memory.h"

#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* CompressionCodec of the Parquet format, in its order. */
enum { UNCOMPRESSED, SNAPPY, GZIP, LZO, BROTLI, LZ4, ZSTD, LZ4_RAW, CODECS };

static const char *const codec_names[CODECS] = {"none",   "snappy", "gzip", "LZO",
                                                "Brotli", "LZ4",    "zstd", "LZ4"};

mc_status mc_codec_check(int64_t codec, mc_error *error)
{
    if (codec == UNCOMPRESSED || codec == SNAPPY || codec == GZIP || codec == ZSTD)
        return MC_OK;
    return mc_fail(error, MC_UNSUPPORTED,
                   "compressed with %s (codec %lld): expected snappy, gzip, zstd or none",
                   codec > 0 && codec < CODECS ? codec_names[codec] : "something unknown",
                   (long long)codec);
}

static mc_status fail_data(int64_t codec, size_t expected, mc_error *error)
{
    return mc_fail(error, MC_FORMAT, "malformed %s data, or not the expected %zu bytes",
                   codec_names[codec], expected);
}

static mc_status read_snappy(const unsigned char *bytes, size_t size, unsigned char *out,
                             size_t out_size, mc_error *error)
{
    const char *const from = (const char *)bytes;
    size_t length = 0;
    /* snappy writes as much as the data claim to hold: the length is checked before. */
    if (snappy_uncompressed_length(from, size, &length) != SNAPPY_OK || length != out_size ||
        snappy_uncompress(from, size, (char *)out, &length) != SNAPPY_OK)
        return fail_data(SNAPPY, out_size, error);
    return MC_OK;
}

static voidpf zlib_alloc(voidpf user, uInt count, uInt size)
{
    (void)user;
    return mc_alloc_zero(count, size);
}

static void zlib_free(voidpf user, voidpf memory)
{
    (void)user;
    mc_free(memory);
}

/* gzip allows several members in a row. Sizes fit: a page's header has 31 bits for them. */
static mc_status read_gzip(const unsigned char *bytes, size_t size, unsigned char *out,
                           size_t out_size, mc_error *error)
{
    /* A window of 2^15 bytes; 32: the header decides which of the two it is. */
    enum { ZLIB_OR_GZIP = 15 + 32 };
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    if (inflateInit2(&stream, ZLIB_OR_GZIP) != Z_OK)
        return mc_fail_memory(error);
    stream.next_in = (Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)size;
    stream.next_out = out;
    stream.avail_out = (uInt)out_size;
    int result = inflate(&stream, Z_FINISH);
    while (result == Z_STREAM_END && stream.avail_in > 0 && inflateReset(&stream) == Z_OK)
        result = inflate(&stream, Z_FINISH);
    /* Neither input nor room may be left: the page header stated both sizes. */
    const bool complete = result == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0;
    inflateEnd(&stream);
    return complete                ? MC_OK
           : result == Z_MEM_ERROR ? mc_fail_memory(error)
                                   : fail_data(GZIP, out_size, error);
}

static mc_status read_zstd(const unsigned char *bytes, size_t size, unsigned char *out,
                           size_t out_size, mc_error *error)
{
    const size_t length = ZSTD_decompress(out, out_size, bytes, size);
    if (ZSTD_isError(length) && ZSTD_getErrorCode(length) == ZSTD_error_memory_allocation)
        return mc_fail_memory(error);
    return length == out_size ? MC_OK : fail_data(ZSTD, out_size, error);
}

mc_status mc_decompress(int64_t codec, const unsigned char *bytes, size_t size, unsigned char *out,
                        size_t out_size, mc_error *error)
{
    return (codec == SNAPPY ? read_snappy
            : codec == GZIP ? read_gzip
                            : read_zstd)(bytes, size, out, out_size, error);
}

/* Decompression of Parquet pages by snappy, zlib and zstd. */
#ifndef MC_GLUE_DECOMPRESS_H
#define MC_GLUE_DECOMPRESS_H

#include "base/error.h"

/* MC_OK if the codec (Parquet's CompressionCodec, 0: none) is supported. */
mc_status mc_codec_check(int64_t codec, mc_error *error);

/*
 * Decompresses into exactly `out_size` bytes; MC_FORMAT if there are more or fewer. `codec` has
 * passed mc_codec_check and is not 0. Sizes are below 2^31.
 */
mc_status mc_decompress(int64_t codec, const unsigned char *bytes, size_t size, unsigned char *out,
                        size_t out_size, mc_error *error);

#endif

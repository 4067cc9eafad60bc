/* Decompression of Parquet pages, by the libraries that everybody uses. */
#ifndef MC_GLUE_DECOMPRESS_H
#define MC_GLUE_DECOMPRESS_H

#include "base/error.h"

/* MC_OK if the codec (Parquet's CompressionCodec, 0: none) is one that is read. */
mc_status mc_codec_check(int64_t codec, mc_error *error);

/*
 * Decompresses into exactly `out_size` bytes: anything else is MC_FORMAT. `codec` has passed mc_codec_check and is not 0; sizes
 * are below 2^31.
 */
mc_status mc_decompress(int64_t codec, const unsigned char *bytes, size_t size, unsigned char *out,
                        size_t out_size, mc_error *error);

#endif

/* The element types of tensors: what is computed with, what is only copied. */
#ifndef MERGECRAFT_DTYPE_H
#define MERGECRAFT_DTYPE_H

#include <mergecraft/error.h>

#include <stdbool.h>

/*
 * id (also the name in safetensors), name in torch, bits per element, kind.
 * FLOAT: merged, in float32 (F64: in float64). INTEGER: copied from the last model, never averaged.
 * OPAQUE: copied as bytes, never looked into.
 */
#define MC_DTYPE_MAP(X)                                                                            \
    X(F64, "float64", 64, FLOAT)                                                                   \
    X(F32, "float32", 32, FLOAT)                                                                   \
    X(F16, "float16", 16, FLOAT)                                                                   \
    X(BF16, "bfloat16", 16, FLOAT)                                                                 \
    X(F8_E4M3, "float8_e4m3fn", 8, FLOAT)                                                          \
    X(F8_E5M2, "float8_e5m2", 8, FLOAT)                                                            \
    X(I64, "int64", 64, INTEGER)                                                                   \
    X(I32, "int32", 32, INTEGER)                                                                   \
    X(I16, "int16", 16, INTEGER)                                                                   \
    X(I8, "int8", 8, INTEGER)                                                                      \
    X(U8, "uint8", 8, INTEGER)                                                                     \
    X(BOOL, "bool", 8, INTEGER)                                                                    \
    X(U64, "uint64", 64, OPAQUE)                                                                   \
    X(U32, "uint32", 32, OPAQUE)                                                                   \
    X(U16, "uint16", 16, OPAQUE)                                                                   \
    X(C64, "complex64", 64, OPAQUE)                                                                \
    X(F8_E8M0, "float8_e8m0fnu", 8, OPAQUE)                                                        \
    X(F8_E4M3FNUZ, "float8_e4m3fnuz", 8, OPAQUE)                                                   \
    X(F8_E5M2FNUZ, "float8_e5m2fnuz", 8, OPAQUE)                                                   \
    X(F6_E2M3, "float6_e2m3fn", 6, OPAQUE)                                                         \
    X(F6_E3M2, "float6_e3m2fn", 6, OPAQUE)                                                         \
    X(F4, "float4_e2m1fn_x2", 4, OPAQUE)

typedef enum mc_dtype {
#define X(id_, torch_, bits_, kind_) MC_##id_,
    MC_DTYPE_MAP(X)
#undef X
        MC_DTYPE_COUNT
} mc_dtype;

typedef enum mc_dtype_kind { MC_KIND_FLOAT, MC_KIND_INTEGER, MC_KIND_OPAQUE } mc_dtype_kind;

/* All take a valid mc_dtype, cannot fail, and return static storage. Thread-safe. */
MC_API const char *mc_dtype_name(mc_dtype dtype);       /* "BF16" */
MC_API const char *mc_dtype_torch_name(mc_dtype dtype); /* "bfloat16" */
MC_API int mc_dtype_bits(mc_dtype dtype);
MC_API mc_dtype_kind mc_dtype_kind_of(mc_dtype dtype);

/* Finds a dtype by its safetensors name ("BF16"); false if there is none. Case matters, as in the format. */
MC_API bool mc_dtype_from_name(const char *name, mc_dtype *dtype);

/* Finds a dtype by what people type ("bf16", "bfloat16", "float16", "F16"); false if there is none. */
MC_API bool mc_dtype_parse(const char *text, mc_dtype *dtype);

/*
 * The narrowest float dtype that holds every value of both: f16 with bf16 is f32. Both must be of
 * kind FLOAT.
 */
MC_API mc_dtype mc_dtype_widest(mc_dtype a, mc_dtype b);

/*
 * Converts count elements, each by one correct rounding (to nearest, ties to even); overflow gives infinity, or NaN in F8_E4M3,
 * which has none; NaN stays NaN. `from` is F32 or F64 in mc_dtype_from_*, any FLOAT dtype elsewhere. Buffers must not overlap.
 * The same bits on every CPU.
 */
MC_API void mc_dtype_from_f32(mc_dtype to, void *out, const float *in, size_t count);
MC_API void mc_dtype_from_f64(mc_dtype to, void *out, const double *in, size_t count);
MC_API void mc_dtype_to_f32(mc_dtype from, float *out, const void *in, size_t count);
MC_API void mc_dtype_to_f64(mc_dtype from, double *out, const void *in, size_t count);

#endif

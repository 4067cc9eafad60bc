/*
 * The element types of tensors: their names, their sizes, and how they are treated in a merge.
 * All functions are thread-safe.
 */
#ifndef MERGECRAFT_DTYPE_H
#define MERGECRAFT_DTYPE_H

#include <mergecraft/error.h>

#include <stdbool.h>

MC_BEGIN_DECLS

/*
 * id (also the name in safetensors), name in torch, elements per block, bytes per block, kind.
 * A block is the smallest unit of whole bytes: one element, or several elements of a packed dtype.
 * FLOAT: merged, in float32 (F64: in float64).
 * INTEGER: copied from the last model, never averaged.
 * OPAQUE: copied as bytes, never interpreted.
 */
#define MC_DTYPE_MAP(X)                                                                            \
    X(F64, "float64", 1, 8, FLOAT)                                                                 \
    X(F32, "float32", 1, 4, FLOAT)                                                                 \
    X(F16, "float16", 1, 2, FLOAT)                                                                 \
    X(BF16, "bfloat16", 1, 2, FLOAT)                                                               \
    X(F8_E4M3, "float8_e4m3fn", 1, 1, FLOAT)                                                       \
    X(F8_E5M2, "float8_e5m2", 1, 1, FLOAT)                                                         \
    X(I64, "int64", 1, 8, INTEGER)                                                                 \
    X(I32, "int32", 1, 4, INTEGER)                                                                 \
    X(I16, "int16", 1, 2, INTEGER)                                                                 \
    X(I8, "int8", 1, 1, INTEGER)                                                                   \
    X(U8, "uint8", 1, 1, INTEGER)                                                                  \
    X(BOOL, "bool", 1, 1, INTEGER)                                                                 \
    X(U64, "uint64", 1, 8, OPAQUE)                                                                 \
    X(U32, "uint32", 1, 4, OPAQUE)                                                                 \
    X(U16, "uint16", 1, 2, OPAQUE)                                                                 \
    X(C64, "complex64", 1, 8, OPAQUE)                                                              \
    X(F8_E8M0, "float8_e8m0fnu", 1, 1, OPAQUE)                                                     \
    X(F8_E4M3FNUZ, "float8_e4m3fnuz", 1, 1, OPAQUE)                                                \
    X(F8_E5M2FNUZ, "float8_e5m2fnuz", 1, 1, OPAQUE)                                                \
    X(F6_E2M3, "float6_e2m3fn", 4, 3, OPAQUE)                                                      \
    X(F6_E3M2, "float6_e3m2fn", 4, 3, OPAQUE)                                                      \
    X(F4, "float4_e2m1fn_x2", 2, 1, OPAQUE)

typedef enum mc_dtype {
#define X(id_, torch_, block_, bytes_, kind_) MC_##id_,
    MC_DTYPE_MAP(X)
#undef X
        MC_DTYPE_COUNT
} mc_dtype;

typedef enum mc_dtype_kind { MC_KIND_FLOAT, MC_KIND_INTEGER, MC_KIND_OPAQUE } mc_dtype_kind;

/* These take a valid mc_dtype, cannot fail, and return static storage. */
MC_API const char *mc_dtype_name(mc_dtype dtype);       /* "BF16" */
MC_API const char *mc_dtype_torch_name(mc_dtype dtype); /* "bfloat16" */
MC_API mc_dtype_kind mc_dtype_kind_of(mc_dtype dtype);

/* Returns the bits per element: those of a block divided by its elements, rounded down. */
MC_API int mc_dtype_bits(mc_dtype dtype);

/* Returns the elements per block: 1 unless several elements share a byte. */
MC_API int mc_dtype_block(mc_dtype dtype);

/*
 * Returns the bytes that `count` (>= 0) elements occupy; -1 if they are not a whole number of
 * blocks or their size exceeds 63 bits.
 */
MC_API int64_t mc_dtype_bytes(mc_dtype dtype, int64_t count);

/* Finds a dtype by its safetensors name ("BF16"), case-sensitive; returns false if unknown. */
MC_API bool mc_dtype_from_name(const char *name, mc_dtype *dtype);

/* Finds a dtype by any usual name ("bf16", "bfloat16", "F16"); returns false if unknown. */
MC_API bool mc_dtype_parse(const char *text, mc_dtype *dtype);

/*
 * Returns the narrowest float dtype that holds every value of both; F32 for F16 with BF16. Both
 * must be of kind FLOAT.
 */
MC_API mc_dtype mc_dtype_widest(mc_dtype a, mc_dtype b);

/*
 * Converts count elements with one correct rounding each (to nearest, ties to even). Overflow gives
 * infinity, or NaN in F8_E4M3, which has no infinity. NaN stays NaN. `to` and `from` are of kind
 * FLOAT. Buffers must not overlap. The result is the same bits on every CPU.
 */
MC_API void mc_dtype_from_f32(mc_dtype to, void *out, const float *in, size_t count);
MC_API void mc_dtype_from_f64(mc_dtype to, void *out, const double *in, size_t count);
MC_API void mc_dtype_to_f32(mc_dtype from, float *out, const void *in, size_t count);
MC_API void mc_dtype_to_f64(mc_dtype from, double *out, const void *in, size_t count);

MC_END_DECLS

#endif

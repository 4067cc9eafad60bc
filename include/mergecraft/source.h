/*
 * A tensor source: a tensor that can be read piece by piece, wherever its values come from. A
 * tensor in a checkpoint file is one; so is an array in memory, a − b of two others, or the result
 * of a merge method. Nothing is loaded or computed before a piece is read.
 *
 * A source is immutable and reference-counted. Functions that create one return one reference;
 * mc_source_ref adds one, mc_source_unref drops one. All functions are thread-safe, also on
 * the same source.
 */
#ifndef MERGECRAFT_SOURCE_H
#define MERGECRAFT_SOURCE_H

#include <mergecraft/dtype.h>

MC_BEGIN_DECLS

#define MC_MAX_RANK 16

typedef struct mc_source mc_source;

MC_API mc_source *mc_source_ref(mc_source *source);
/* Accepts NULL. */
MC_API void mc_source_unref(mc_source *source);

MC_API mc_dtype mc_source_dtype(const mc_source *source);
MC_API int mc_source_rank(const mc_source *source);
/* Returns `rank` dimensions, outermost first, valid as long as the source. */
MC_API const int64_t *mc_source_shape(const mc_source *source);
/* Returns the number of elements: the product of the shape, 1 for a scalar. */
MC_API int64_t mc_source_count(const mc_source *source);
/* Returns the size in bytes in the source's own dtype. */
MC_API int64_t mc_source_bytes(const mc_source *source);

/*
 * Read elements first … first + count − 1 in row-major order into out, converted to float32 or
 * float64. The dtype must be of kind FLOAT.
 * Errors: MC_USAGE                   the range is outside the tensor, or the dtype is no float
 *         MC_IO, MC_FORMAT, MC_CHANGED  the file cannot be read, or was modified
 */
MC_API mc_status mc_source_read_f32(const mc_source *source, int64_t first, int64_t count,
                                    float *out, mc_error *error);
MC_API mc_status mc_source_read_f64(const mc_source *source, int64_t first, int64_t count,
                                    double *out, mc_error *error);

/* Reads `size` bytes from byte `first` of the tensor: its own dtype, row-major, little-endian. */
MC_API mc_status mc_source_read_raw(const mc_source *source, int64_t first, int64_t size, void *out,
                                    mc_error *error);

/*
 * Makes a source over memory that the caller keeps, row-major. `release(cookie)` is called when the
 * last reference is dropped, and never if this function fails; it may be NULL.
 * Errors: MC_FORMAT  rank above MC_MAX_RANK, a negative dimension, too many elements
 */
MC_API mc_status mc_source_wrap(mc_dtype dtype, int rank, const int64_t *shape, const void *data,
                                void (*release)(void *cookie), void *cookie, mc_source **out,
                                mc_error *error);

/*
 * Makes a source whose values a function computes when they are read: compute() writes elements
 * first … first + count − 1 to out, as float64 if dtype is F64, else as float32. It must return the
 * same values whenever it is called. The threads that read call it: in a run with one thread
 * (mc_run_options), the thread that called the run, in order. `release` as in mc_source_wrap.
 * Errors: MC_UNSUPPORTED  dtype is not of kind FLOAT
 */
typedef mc_status (*mc_compute)(void *cookie, int64_t first, int64_t count, void *out,
                                mc_error *error);
MC_API mc_status mc_source_compute(mc_dtype dtype, int rank, const int64_t *shape,
                                   mc_compute compute, void (*release)(void *cookie), void *cookie,
                                   mc_source **out, mc_error *error);

/*
 * Returns the bytes of a tensor in memory (mc_source_wrap, mc_state_dict_materialize), row-major
 * and valid as long as the source; NULL if the tensor is in a file or computed.
 */
MC_API const void *mc_source_data(const mc_source *source);

/*
 * Finds where a tensor lies in a file, for callers that map it. `fd` is open for reading and
 * belongs to the library; it and `path` are valid as long as the source. Returns false if the
 * tensor is not in a file, or not row-major there.
 */
typedef struct mc_place {
    const char *path;
    int fd;
    int64_t offset; /* of the first of mc_source_bytes() bytes */
} mc_place;
MC_API bool mc_source_place(const mc_source *source, mc_place *place);

/* Makes a tensor of zeros with the dtype and shape of another. */
MC_API mc_status mc_source_zeros_like(const mc_source *like, mc_source **out, mc_error *error);

typedef enum mc_operator { MC_ADD, MC_SUBTRACT, MC_MULTIPLY, MC_DIVIDE } mc_operator;

/*
 * Lazy arithmetic. The result has the wider dtype of the two and is computed in float32 (float64 if
 * either is F64) when it is read. `number_first`: number − x instead of x − number. Takes its own
 * references.
 * Errors: MC_MISMATCH     shapes differ
 *         MC_UNSUPPORTED  a dtype is not of kind FLOAT
 */
MC_API mc_status mc_source_combine(mc_operator op, mc_source *a, mc_source *b, mc_source **out,
                                   mc_error *error);
MC_API mc_status mc_source_combine_number(mc_operator op, mc_source *a, double number,
                                          bool number_first, mc_source **out, mc_error *error);

MC_END_DECLS

#endif

/*
 * A tensor source: a tensor that can be read piece by piece, wherever its values come from. A tensor in a checkpoint
 * file is one; so is an array in memory, a − b of two others, or what a merge method makes of several. Nothing is
 * loaded or computed before a piece is read.
 *
 * A source is immutable and counted by reference: creating functions give the caller one reference, mc_source_ref adds
 * one, mc_source_unref takes one away. Every function here may be called from several threads at once on the same source.
 */
#ifndef MERGECRAFT_SOURCE_H
#define MERGECRAFT_SOURCE_H

#include <mergecraft/dtype.h>

#define MC_MAX_RANK 16

typedef struct mc_source mc_source;

MC_API mc_source *mc_source_ref(mc_source *source);
/* Accepts NULL. */
MC_API void mc_source_unref(mc_source *source);

MC_API mc_dtype mc_source_dtype(const mc_source *source);
MC_API int mc_source_rank(const mc_source *source);
/* rank dimensions, outermost first; NULL-safe to ignore when rank is 0. Valid as long as the source. */
MC_API const int64_t *mc_source_shape(const mc_source *source);
/* Number of elements: the product of the shape, 1 for a scalar, 0 for an empty tensor. */
MC_API int64_t mc_source_count(const mc_source *source);
/* Size in bytes in the source's own dtype. */
MC_API int64_t mc_source_bytes(const mc_source *source);

/*
 * Reads elements first … first + count − 1 in row-major order, converted to float32 or float64, into out (count
 * elements). The dtype must be of kind FLOAT, the range inside the tensor, else MC_USAGE. Errors of the file come as
 * MC_IO, MC_FORMAT or MC_CHANGED.
 */
MC_API mc_status mc_source_read_f32(const mc_source *source, int64_t first, int64_t count,
                                    float *out, mc_error *error);
MC_API mc_status mc_source_read_f64(const mc_source *source, int64_t first, int64_t count,
                                    double *out, mc_error *error);

/* Reads `size` bytes from byte `first` on of the tensor in its own dtype, row-major, little-endian. */
MC_API mc_status mc_source_read_raw(const mc_source *source, int64_t first, int64_t size, void *out,
                                    mc_error *error);

/*
 * A source over memory that the caller keeps: rank dimensions in shape, data row-major in dtype. `release(cookie)` is
 * called when the last reference is gone (and never if creation fails); it may be NULL. MC_FORMAT for a rank above
 * MC_MAX_RANK, a negative dimension, or more elements than can be.
 */
MC_API mc_status mc_source_wrap(mc_dtype dtype, int rank, const int64_t *shape, const void *data,
                                void (*release)(void *cookie), void *cookie, mc_source **out,
                                mc_error *error);

/*
 * A source whose values a function makes when they are read: compute() writes elements first … first + count − 1 to out (count
 * elements), as float64 if dtype is F64, else as float32; dtype must be of kind FLOAT (MC_UNSUPPORTED). It must give the
 * same values whenever it is asked, and is called by the threads that read: in a run with one thread (mc_run_options), by the thread that
 * called the run, in order. `release(cookie)` as in mc_source_wrap.
 */
typedef mc_status (*mc_compute)(void *cookie, int64_t first, int64_t count, void *out,
                                mc_error *error);
MC_API mc_status mc_source_compute(mc_dtype dtype, int rank, const int64_t *shape,
                                   mc_compute compute, void (*release)(void *cookie), void *cookie,
                                   mc_source **out, mc_error *error);

/*
 * The bytes of a tensor that is in memory (mc_source_wrap, mc_state_dict_materialize), row-major; NULL if it is in a file, or
 * computed. Valid as long as the source.
 */
MC_API const void *mc_source_data(const mc_source *source);

/*
 * Where a tensor lies in a file, for those who want to map it instead of reading it. `fd` is open for reading and belongs to
 * the library; it and `path` are valid as long as the source. False if the tensor is not in a file, or not row-major there.
 */
typedef struct mc_place {
    const char *path;
    int fd;
    int64_t offset; /* of the first of mc_source_bytes() bytes */
} mc_place;
MC_API bool mc_source_place(const mc_source *source, mc_place *place);

/* A tensor of zeros with the dtype and shape of another. */
MC_API mc_status mc_source_zeros_like(const mc_source *like, mc_source **out, mc_error *error);

typedef enum mc_operator { MC_ADD, MC_SUBTRACT, MC_MULTIPLY, MC_DIVIDE } mc_operator;

/*
 * Lazy arithmetic. The result has the wider dtype of the two and is computed in float32 (float64 if either is F64)
 * when read. Shapes must be equal (MC_MISMATCH), dtypes of kind FLOAT (MC_UNSUPPORTED). Takes its own
 * references to the operands. `number_first`: number − x rather than x − number.
 */
MC_API mc_status mc_source_combine(mc_operator op, mc_source *a, mc_source *b, mc_source **out,
                                   mc_error *error);
MC_API mc_status mc_source_combine_number(mc_operator op, mc_source *a, double number,
                                          bool number_first, mc_source **out, mc_error *error);

#endif

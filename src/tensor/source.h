/* The inside of tensor sources, for code that implements new kinds of them. */
#ifndef MC_TENSOR_SOURCE_H
#define MC_TENSOR_SOURCE_H

#include <mergecraft/source.h>

#include "base/error.h"

#include <stdatomic.h>

/*
 * The kind of a source. `self` is the struct that begins with an mc_source. Ranges are checked
 * before these are called.
 */
typedef struct mc_source_class {
    const char *name;
    /*
     * Reads elements in the type that they are computed in (`as`: F64 if `wide`, else F32). NULL:
     * `raw` and a conversion.
     */
    mc_status (*read)(const mc_source *self, int64_t first, int64_t count, mc_dtype as, void *out,
                      mc_error *error);
    /* Bytes in the source's dtype. NULL: by `read` and a conversion. */
    mc_status (*raw)(const mc_source *self, int64_t first, int64_t size, void *out,
                     mc_error *error);
    /* The elements where they lie, if they are in memory as `as` already. NULL: never. */
    const void *(*view)(const mc_source *self, int64_t first, int64_t count, mc_dtype as);
    /* Bytes [first, first + size) of `raw` will be read soon. NULL: nothing to do. */
    void (*read_ahead)(const mc_source *self, int64_t first, int64_t size);
    /* Elements that even a short read computes. NULL: only those that are read. */
    int64_t (*grain)(const mc_source *self);
    /* Where its bytes lie in a file. NULL: in none. */
    bool (*place)(const mc_source *self, mc_place *place);
    /* Fails if an input on disk has changed since it was opened. NULL: there is none. */
    mc_status (*check)(const mc_source *self, mc_error *error);
    /* Frees what the source owns, not the source itself. */
    void (*free)(mc_source *self);
} mc_source_class;

struct mc_source {
    const mc_source_class *class;
    atomic_size_t references;
    mc_dtype dtype;
    int rank;
    int depth;      /* of the tree of computed sources below it; 0 if it is stored */
    bool wide;      /* its values are float64 before they are rounded to its dtype */
    int64_t *shape; /* [rank], behind the struct: most tensors have one or two dimensions */
    int64_t count, bytes;
};

/* The deepest tree of computed sources: reading recurses along it. */
#define MC_SOURCE_MAX_DEPTH 200

/*
 * Allocates `size` bytes (a struct that begins with an mc_source), zero-filled, with one reference.
 * Checks rank and shape: no negative dimension, count and bytes below 2^62, whole blocks.
 */
mc_status mc_source_create(const mc_source_class *class, size_t size, mc_dtype dtype, int rank,
                           const int64_t *shape, mc_source **out, mc_error *error);

/* The product of the dimensions and the bytes of as many elements, with the same checks. */
mc_status mc_shape_count(mc_dtype dtype, int rank, const int64_t *shape, int64_t *count,
                         int64_t *bytes, mc_error *error);

/* Returns the type in which its values are computed, before they are rounded: F32 or F64. */
mc_dtype mc_source_real(const mc_source *source);

mc_status mc_source_read_as(const mc_source *source, int64_t first, int64_t count, mc_dtype as,
                            void *out, mc_error *error);
/* A pointer to the elements if they are in memory as `as`, else NULL. The range must be inside. */
const void *mc_source_view(const mc_source *source, int64_t first, int64_t count, mc_dtype as);
void mc_source_read_ahead(const mc_source *source, int64_t first, int64_t size);
/*
 * Elements that even a short read computes: all of them if a method needs the whole tensor. Reads
 * that begin at multiples of it and are at least as long compute nothing twice.
 */
int64_t mc_source_grain(const mc_source *source);
/* Bytes of a computed source, as the same elements of one of its operands. */
void mc_source_ahead_operand(const mc_source *self, const mc_source *operand, int64_t first,
                             int64_t size);
mc_status mc_source_check(const mc_source *source, mc_error *error);

/* MC_UNSUPPORTED unless arithmetic can be done on it: floats, and not nested too deep. */
mc_status mc_source_check_operand(const mc_source *operand, mc_error *error);

bool mc_source_same_shape(const mc_source *a, const mc_source *b);
/* "[30522, 768]"; buffer of at least 32 bytes. Returns buffer. */
char *mc_shape_text(int rank, const int64_t *shape, char *buffer, size_t size);

#endif

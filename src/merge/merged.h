/*
 * A layer that a method makes, as a tensor source: nothing is computed before it is read. The executor looks inside, to
 * run statistics on all processors; read as any other source, it computes them itself on the first read.
 */
#ifndef MC_MERGE_MERGED_H
#define MC_MERGE_MERGED_H

#include <mergecraft/method.h>

#include "merge/params.h"
#include "tensor/source.h"

#include <pthread.h>

typedef struct mc_merged {
    mc_source source;
    const mc_method *method;  /* compiled for `real` */
    const mc_method *generic; /* as the user named it */
    mc_params *params;
    char *name;
    mc_dtype real; /* F32 or F64: what it is computed in */
    uint64_t random_key;
    /* models, then the base if there is one, then the lists one after the other, each of model_count */
    mc_source **inputs;
    size_t input_count, model_count, list_count;
    bool has_base;

    pthread_mutex_t lock; /* the statistics, for those who read it as a source */
    void *state;
} mc_merged;

/* What a layer is made of. Sources are borrowed; the result takes its own references. */
typedef struct mc_merged_parts {
    const mc_method *method;
    mc_params *params;
    const char *name;
    uint64_t seed;
    mc_source *const *inputs;
    size_t input_count, model_count, list_count;
    bool has_base;
} mc_merged_parts;

/* All inputs have one shape and are floats. The dtype is the widest of the models'. */
mc_status mc_merged_new(const mc_merged_parts *parts, mc_source **out, mc_error *error);

/* The merged layer behind a source (or behind a cast of one); NULL if it is none. */
const mc_merged *mc_merged_of(const mc_source *source);

/* Its statistics; NULL if the method has none. */
const mc_statistics *mc_merged_statistics(const mc_merged *merged);

/* A tile of `apply` has a multiple of so many elements: 1, whole rows of a leaf or more, or all. */
int64_t mc_merged_grain(const mc_merged *merged);

/* Bytes of a workspace for tiles of `count` elements, apart from a few for pointers. */
size_t mc_merged_tile_bytes(const mc_merged *merged, int64_t count);

/* Bytes of scratch that the method wants for such a tile. */
size_t mc_merged_scratch_bytes(const mc_merged *merged, int64_t count);

/* The buffers of one thread: tiles of all inputs, the result, scratch. Zero-initialise; reused from tile to tile. */
typedef struct mc_workspace {
    char *memory;
    size_t size;
    void *pointers;
    size_t pointer_size;
    mc_layer layer; /* the tile that is loaded */
    mc_layer leaf;  /* a part of it */
} mc_workspace;

void mc_workspace_free(mc_workspace *workspace);

/* Makes workspace->memory at least `size` bytes, aligned for vectors; what it held is lost. */
mc_status mc_workspace_reserve(mc_workspace *workspace, size_t size, mc_error *error);

/* Reads elements first … first + count − 1 of all inputs and points workspace->layer to them. `state` may be NULL. */
mc_status mc_workspace_load(mc_workspace *workspace, const mc_merged *merged, int64_t first,
                            int64_t count, void *state, mc_error *error);

/* Makes the loaded tile's result, in layer.out. */
mc_status mc_workspace_apply(mc_workspace *workspace, const mc_merged *merged, mc_error *error);

/* Points workspace->leaf to elements first … first + count − 1 of the loaded tile. */
void mc_workspace_cut(mc_workspace *workspace, const mc_merged *merged, size_t first, size_t count);

/* A layer that describes the whole tensor and has no tiles: what state_size, stride and next get. */
mc_layer mc_merged_whole(const mc_merged *merged, void *state, mc_error *error);

#endif

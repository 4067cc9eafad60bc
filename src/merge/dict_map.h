/* A layer method on the same-named tensors of several state dicts. */
#ifndef MC_MERGE_DICT_MAP_H
#define MC_MERGE_DICT_MAP_H

#include <mergecraft/merge.h>

#include "merge/params.h"

/* What all layers of a map have in common. */
typedef struct mc_map {
    const mc_method *method;
    mc_params *params;
    const mc_merge_input *input;
    /* What the models are called in errors: model_count texts, then the base's. NULL: "model 1" … "base". */
    const char *const *labels;
} mc_map;

/* Checks what a method needs of the input: base, number of models, lists; its scope is not looked at. */
mc_status mc_map_check(const mc_method *method, const mc_merge_input *input, mc_error *error);

/* Writes what the model `index` is called (model_count: the base) into buffer of at least 32 bytes, or gives its label. */
const char *mc_map_label(const mc_map *map, size_t index, char *buffer, size_t size);

/*
 * The layer `name` merged: every model, the base if the method needs one, and every list have it. MC_MISMATCH if shapes or kinds
 * differ. The caller owns *out.
 */
mc_status mc_map_layer(const mc_map *map, const char *name, mc_source **out, mc_error *error);

/* The mean of the models that have the name, without the base: passthrough. */
mc_status mc_map_average(const mc_map *map, const char *name, mc_source **out, mc_error *error);

/* The tensor of the last model that has it. Borrowed; *from: which model. */
mc_source *mc_map_last(const mc_map *map, const char *name, size_t *from);

/* All tensors of this name have one shape and one kind of dtype (the base too if with_base). */
mc_status mc_map_check_shapes(const mc_map *map, const char *name, bool with_base, mc_error *error);

/* Whether every model of every further list has the name. */
bool mc_map_in_all_lists(const mc_map *map, const char *name);

/* Whether one of the models before `index` has the name. */
bool mc_map_seen_before(const mc_map *map, size_t index, const char *name);

#endif

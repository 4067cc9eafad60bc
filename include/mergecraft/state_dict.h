/*
 * A state dict: an ordered map from tensor names to tensor sources. Reading a checkpoint returns
 * one, a merge makes one. Arithmetic on them is lazy, so that `a − b` of two checkpoints of any
 * size allocates no tensor.
 *
 * A state dict owns a reference to each of its sources. Several threads may read it at once, but
 * nobody may change it meanwhile. Indices run from 0 in the order of insertion.
 */
#ifndef MERGECRAFT_STATE_DICT_H
#define MERGECRAFT_STATE_DICT_H

#include <mergecraft/source.h>

MC_BEGIN_DECLS

typedef struct mc_state_dict mc_state_dict;

/* Makes an empty one. Free it with mc_state_dict_free, which accepts NULL. */
MC_API mc_status mc_state_dict_new(mc_state_dict **out, mc_error *error);
MC_API void mc_state_dict_free(mc_state_dict *dict);

MC_API size_t mc_state_dict_count(const mc_state_dict *dict);
/* Returns the name at index < count, valid until the entry is removed. */
MC_API const char *mc_state_dict_name(const mc_state_dict *dict, size_t index);
/* Returns the source at index < count, borrowed: reference it to keep it longer than the dict. */
MC_API mc_source *mc_state_dict_source(const mc_state_dict *dict, size_t index);
/* Returns the source of a name, borrowed, in constant time; NULL if there is none. */
MC_API mc_source *mc_state_dict_find(const mc_state_dict *dict, const char *name);

/* Adds an entry, or replaces the one of that name in place. Takes its own reference. */
MC_API mc_status mc_state_dict_set(mc_state_dict *dict, const char *name, mc_source *source,
                                   mc_error *error);

/* Removes those of the names that exist, in time linear in the size of the dict. */
MC_API mc_status mc_state_dict_remove(mc_state_dict *dict, const char *const *names, size_t count,
                                      mc_error *error);

/* Keeps the entries for which keep() returns true, in order. Changes the dict. */
typedef bool (*mc_state_dict_predicate)(const char *name, const mc_source *source, void *user);
MC_API mc_status mc_state_dict_filter(mc_state_dict *dict, mc_state_dict_predicate keep, void *user,
                                      mc_error *error);

/*
 * Make new dicts that share the sources.
 * Errors: MC_NOT_FOUND  a name of the subset is missing; error->tensor is the first one
 */
MC_API mc_status mc_state_dict_copy(const mc_state_dict *dict, mc_state_dict **out,
                                    mc_error *error);
MC_API mc_status mc_state_dict_subset(const mc_state_dict *dict, const char *const *names,
                                      size_t count, mc_state_dict **out, mc_error *error);
/* The same names, dtypes and shapes, all zeros. */
MC_API mc_status mc_state_dict_zeros_like(const mc_state_dict *dict, mc_state_dict **out,
                                          mc_error *error);

/*
 * Lazy arithmetic, entry by entry in the order of `a`: of two dicts, or of a dict and a number
 * (number − x with `number_first`, else x − number). Tensors that are not floats are taken from `a`
 * unchanged.
 *
 * Of two dicts the result has the names that both have. *left_out is the number of names that only
 * one of them has. If left_out is NULL, such names are an error.
 * Errors: MC_MISMATCH  shapes differ, no name is common, or names differ and left_out is NULL
 */
MC_API mc_status mc_state_dict_combine(mc_operator op, const mc_state_dict *a,
                                       const mc_state_dict *b, size_t *left_out,
                                       mc_state_dict **out, mc_error *error);
MC_API mc_status mc_state_dict_combine_number(mc_operator op, const mc_state_dict *a, double number,
                                              bool number_first, mc_state_dict **out,
                                              mc_error *error);

/*
 * Opens a checkpoint: a single file (safetensors, torch), a shard index, or a folder that holds
 * one. Reads headers only, and no configuration.
 * Errors: MC_NOT_FOUND    no such file, or no weights in the folder
 *         MC_FORMAT       a malformed file
 *         MC_UNSUPPORTED  another format
 *         MC_IO           the file cannot be read
 */
MC_API mc_status mc_state_dict_open(const char *path, mc_state_dict **out, mc_error *error);

MC_END_DECLS

#endif

/*
 * A state dict: an ordered map from tensor names to tensor sources. Reading a checkpoint gives one, a merge
 * gives one; arithmetic on them is lazy, so that `a − b` of two checkpoints of any size allocates no tensor.
 *
 * A state dict owns a reference to each of its sources. It may be read by several threads at once, but must not be
 * changed by one while others use it. Indices run from 0 in the order of insertion.
 */
#ifndef MERGECRAFT_STATE_DICT_H
#define MERGECRAFT_STATE_DICT_H

#include <mergecraft/source.h>

typedef struct mc_state_dict mc_state_dict;

/* An empty one. Free it with mc_state_dict_free, which accepts NULL. */
MC_API mc_status mc_state_dict_new(mc_state_dict **out, mc_error *error);
MC_API void mc_state_dict_free(mc_state_dict *dict);

MC_API size_t mc_state_dict_count(const mc_state_dict *dict);
/* index < count. The name is valid until the entry is removed. */
MC_API const char *mc_state_dict_name(const mc_state_dict *dict, size_t index);
/* index < count. Borrowed: take a reference to keep it longer than the dict. */
MC_API mc_source *mc_state_dict_source(const mc_state_dict *dict, size_t index);
/* The source of that name, borrowed; NULL if there is none. Constant time. */
MC_API mc_source *mc_state_dict_find(const mc_state_dict *dict, const char *name);

/* Adds an entry, or replaces the one of that name in its place. Takes its own reference to the source. */
MC_API mc_status mc_state_dict_set(mc_state_dict *dict, const char *name, mc_source *source,
                                   mc_error *error);

/* Removes the names (those that exist); linear in the size of the dict. */
MC_API mc_status mc_state_dict_remove(mc_state_dict *dict, const char *const *names, size_t count,
                                      mc_error *error);

/* Keeps the entries for which keep() is true, in order. Changes the dict. */
typedef bool (*mc_state_dict_predicate)(const char *name, const mc_source *source, void *user);
MC_API mc_status mc_state_dict_filter(mc_state_dict *dict, mc_state_dict_predicate keep, void *user,
                                      mc_error *error);

/* New dicts; sources are shared, not copied. subset: MC_NOT_FOUND names the first name that is missing. */
MC_API mc_status mc_state_dict_copy(const mc_state_dict *dict, mc_state_dict **out,
                                    mc_error *error);
MC_API mc_status mc_state_dict_subset(const mc_state_dict *dict, const char *const *names,
                                      size_t count, mc_state_dict **out, mc_error *error);
MC_API mc_status mc_state_dict_zeros_like(const mc_state_dict *dict, mc_state_dict **out,
                                          mc_error *error);

/*
 * Lazy arithmetic, entry by entry, in the order of `a`: of two dicts over the names that both have (MC_MISMATCH if
 * shapes differ or no name is common), or of a dict and a number. Tensors that are not floats are taken from
 * `a` unchanged.
 */
MC_API mc_status mc_state_dict_combine(mc_operator op, const mc_state_dict *a,
                                       const mc_state_dict *b, mc_state_dict **out,
                                       mc_error *error);
MC_API mc_status mc_state_dict_combine_number(mc_operator op, const mc_state_dict *a, double number,
                                              bool number_first, mc_state_dict **out,
                                              mc_error *error);

/*
 * Opens a checkpoint: a single file (safetensors, torch zip or old torch), a shard index, or a folder that holds one.
 * Only headers are read. Errors name the file, and tensor, what was expected and found.
 */
MC_API mc_status mc_state_dict_open(const char *path, mc_state_dict **out, mc_error *error);

#endif

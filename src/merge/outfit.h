/*
 * The outfit: everything in a result that is not a tensor. Configuration, tokenizer, labels,
 * generation config, chat template, processors, code and licence files are a value of the plan:
 * made from the last model by default, changed by whoever makes the plan (unions of vocabularies,
 * block stacks), and written when the tensors are.
 */
#ifndef MC_MERGE_OUTFIT_H
#define MC_MERGE_OUTFIT_H

#include <mergecraft/merge.h>

#include "merge/folder.h"

#include <jansson.h>

/* A file of the result: a copy of another one, or bytes. */
typedef struct mc_outfit_file {
    char *name; /* in the result's folder; "1_Pooling/config.json" lies in a folder of its own */
    char *path; /* the file that is copied; NULL: bytes are written */
    char *bytes;
    size_t size;
} mc_outfit_file;

typedef struct mc_outfit {
    json_t *config; /* config.json, without the dtype; NULL: the result has none. May be changed. */
    mc_outfit_file *files; /* in the order of their names when made from a model */
    size_t count, capacity;
} mc_outfit;

/*
 * Fills *out from a model's files. Optional files that cannot be read, such as dangling links, are
 * left out. They and configurations that are not valid are reported, and errors if `strict`.
 * Zero-initialise *out; free it also after a failure.
 */
mc_status mc_outfit_from_model(const mc_model *model, bool strict, mc_outfit *out,
                               mc_report *report, mc_error *error);
void mc_outfit_free(mc_outfit *outfit);

/* Records in the configuration that the head is no longer tied to the embeddings. */
mc_status mc_outfit_untie(mc_outfit *outfit, mc_report *report, mc_error *error);

/*
 * How the names of weight files begin: "diffusion_pytorch_model" for a component of diffusers,
 * which loads no other; NULL: the usual way.
 */
const char *mc_outfit_stem(const mc_outfit *outfit);

/* The file of that name; NULL if there is none. Valid until files are added or removed. */
const mc_outfit_file *mc_outfit_find(const mc_outfit *outfit, const char *name);

/* Adds a file, or replaces the one of that name: a copy of `path`, or a copy of bytes. */
mc_status mc_outfit_copy(mc_outfit *outfit, const char *name, const char *path, mc_error *error);
mc_status mc_outfit_put(mc_outfit *outfit, const char *name, const void *bytes, size_t size,
                        mc_error *error);
void mc_outfit_remove(mc_outfit *outfit, const char *name);

/* The text of a file, read if it is to be copied; NULL and MC_OK if there is none. mc_free it. */
mc_status mc_outfit_text(const mc_outfit *outfit, const char *name, char **out, size_t *size,
                         mc_error *error);

/* Writes config.json, with `dtype` for the tensors unless NULL, and all files. */
mc_status mc_outfit_write(const mc_outfit *outfit, const mc_dtype *dtype, mc_folder *folder,
                          mc_error *error);

#endif

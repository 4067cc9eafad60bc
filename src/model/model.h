/* What the rest of the library needs of an open model beside its public functions. */
#ifndef MC_MODEL_MODEL_H
#define MC_MODEL_MODEL_H

#include <mergecraft/model.h>

#include "checkpoint/checkpoint.h"

#include <jansson.h>

struct mc_model {
    char *name, *folder;
    char *repository, *commit; /* on the Hub; NULL: a local model */
    int64_t missing_bytes;     /* that have to arrive of files of which only the headers are here */
    char *config_text;
    json_t *config; /* NULL if there is none */
    mc_checkpoint checkpoint;
    const char **labels; /* of id2label, by id; text is owned by config */
    size_t label_count;
    json_t *digests;   /* of statistics (statistics.h): of the tensors they belong to; else NULL */
    uint64_t adapters; /* a hash of the adapters' configurations; 0 without adapters */
};

/* "bert": model_type of its configuration; NULL if it has none. */
const char *mc_model_type(const mc_model *model);

/* Returns whether the model was opened as BASE+ADAPTER. */
bool mc_model_has_adapters(const mc_model *model);

/* Opens what is at a path, as a model of another name, together with the processes of comm. */
mc_status mc_model_open_path(const char *name, const char *path, const mc_comm *comm,
                             mc_model **out, mc_error *error);

/* MC_CHANGED if a weight file is not what it was when the model was opened. */
mc_status mc_model_check(const mc_model *model, mc_error *error);

/* The rows of the input embedding; 0: there is none. */
int64_t mc_vocabulary_rows(const mc_state_dict *dict);

/* Writes a number of tokens other than `before` into the configuration, and notes it. */
mc_status mc_model_resize_vocabulary(mc_model *model, int64_t before, mc_error *error);

/*
 * A number that changes when the weight files do: size, time, inode, and the tensors in them.
 */
uint64_t mc_model_fingerprint(const mc_model *model);

/* What the tensor `name` is tied to, if it was read as a tied copy of another one; else NULL. */
mc_source *mc_model_tied(const mc_model *model, const char *name);

#endif

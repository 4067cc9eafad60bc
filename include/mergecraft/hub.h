/*
 * The Hugging Face Hub: models and data sets by their names, ORG/NAME or ORG/NAME@REVISION (a branch, a tag or a commit; "main" unless
 * given), in the cache that all tools share. Where the cache is, which server is asked, the token, whether there may be connections
 * at all: the environment says it, by the variables that huggingface_hub reads (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
 * HF_TOKEN, HF_HUB_OFFLINE …; the manual, mergecraft-download(1), lists them).
 *
 * A file has its name in the cache only when it is complete and its checksum is right. The token is sent to the server of HF_ENDPOINT
 * only. Everything here may be called from several threads, and processes, at once.
 *
 * Errors: MC_USAGE for what is no name, MC_NOT_FOUND for what is not there (or private, or gated, or not in the cache while
 * offline), MC_IO if the server cannot be reached, MC_FORMAT if its answers cannot be understood or a checksum is wrong, MC_NO_SPACE,
 * MC_INTERRUPTED, MC_UNSUPPORTED without libcurl or libcrypto.
 */
#ifndef MERGECRAFT_HUB_H
#define MERGECRAFT_HUB_H

#include <mergecraft/error.h>

#include <stdbool.h>

/* What becomes of one file. */
typedef struct mc_hub_file {
    const char *repository, *path;   /* "ORG/NAME", "model.safetensors" */
    int64_t bytes_done, bytes_total; /* total: −1 while it is not known */
    const char *
        waiting; /* why nothing arrives now, "429, again in 8 s"; NULL: it does, or it is complete */
    bool active; /* being fetched now */
} mc_hub_file;

typedef struct mc_hub_progress {
    int64_t bytes_done, bytes_total; /* of all files that are fetched, as far as sizes are known */
    double seconds;                  /* since the beginning */
    const mc_hub_file *files;        /* valid during the call */
    size_t file_count;
} mc_hub_progress;

/* How to download; NULL, or zero, for the defaults. */
typedef struct mc_hub_options {
    const volatile int *
        cancel; /* stop (MC_INTERRUPTED) once it is not 0; what arrived is kept for the next time. NULL: never */
    /* Called about ten times a second, from the calling thread; NULL: no calls. */
    void (*progress)(const mc_hub_progress *progress, void *user);
    /* Gets a line of text when something was done in another way than asked: the server is out of reach, the cache is used. */
    void (*note)(const char *text, void *user);
    void *user;
} mc_hub_options;

/* A repository, and what is wanted of it. */
typedef struct mc_hub_want {
    const char *name; /* ORG/NAME or ORG/NAME@REVISION; also a NAME without ORG */
    bool dataset;
    /* Paths in it; NULL: of a model what a merge needs (configuration, weights in one format, tokenizer). */
    const char *const *files;
    size_t file_count;
} mc_hub_want;

/* Where it is: FOLDER/PATH for each path. Free with mc_hub_snapshots_free. */
typedef struct mc_hub_snapshot {
    char *name;   /* without the revision */
    char *commit; /* 40 hexadecimal digits */
    char *folder; /* in the cache; not to be written to */
    char **files; /* paths */
    int64_t *sizes;
    size_t file_count;
    int64_t bytes_received; /* what had to be fetched */
} mc_hub_snapshot;

/* Whether text could be the name of a repository: ORG/NAME, with or without @REVISION. */
MC_API bool mc_hub_is_name(const char *text);

/*
 * Downloads what is wanted of several repositories, side by side, as far as it is not in the cache. out[count] is filled on success
 * only. Before large files are fetched it is known that all repositories may be read and that there is room for all of it.
 */
MC_API mc_status mc_hub_download(const mc_hub_want *wants, size_t count,
                                 const mc_hub_options *options, mc_hub_snapshot *out,
                                 mc_error *error);
MC_API void mc_hub_snapshots_free(mc_hub_snapshot *snapshots, size_t count);

/*
 * The path of a data set's file in the cache, downloaded if need be: ("nyu-mll/glue", "rte/validation-00000-of-00001.parquet").
 * `options` may be NULL. *out is the caller's; free it with mc_hub_free.
 */
MC_API mc_status mc_hub_dataset_file(const char *name, const char *path,
                                     const mc_hub_options *options, char **out, mc_error *error);
MC_API void mc_hub_free(char *text); /* accepts NULL */

#endif

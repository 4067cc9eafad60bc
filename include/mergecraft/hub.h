/*
 * The Hugging Face Hub: models and data sets by their names, ORG/NAME or ORG/NAME@REVISION. A
 * revision is a branch, a tag or a commit; the default is "main".
 *
 * Downloads go to the cache that all tools of the Hub share. The environment variables of
 * huggingface_hub apply: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and others
 * (see mergecraft-download(1)). A file appears in the cache under its name only when it is complete
 * and its checksum matches. The token is sent to the server of HF_ENDPOINT and to no other.
 *
 * All functions may be called from several threads, and processes, at once.
 *
 * Errors of every function that uses the network:
 *         MC_USAGE        the name is malformed, or an environment variable is
 *         MC_NOT_FOUND    the repository, revision or file does not exist, is private or gated, or
 *                         is not in the cache while HF_HUB_OFFLINE is set
 *         MC_IO           the server cannot be reached, or fails
 *         MC_FORMAT       the server's reply is malformed, or a checksum does not match
 *         MC_NO_SPACE     the disk of the cache is full
 *         MC_INTERRUPTED  cancelled
 *         MC_UNSUPPORTED  libcurl or libcrypto is missing
 */
#ifndef MERGECRAFT_HUB_H
#define MERGECRAFT_HUB_H

#include <mergecraft/comm.h>

#include <stdbool.h>

MC_BEGIN_DECLS

/* One file of a transfer. */
typedef struct mc_hub_file {
    const char *repository, *path;   /* "ORG/NAME", "model.safetensors" */
    int64_t bytes_done, bytes_total; /* total: −1 while it is not known */
    const char *waiting; /* why nothing is transferred, e.g. "status 429"; NULL otherwise */
    bool active;         /* the transfer has begun and not ended */
} mc_hub_file;

typedef struct mc_hub_progress {
    int64_t bytes_done, bytes_total; /* of all files to transfer, as far as sizes are known */
    double seconds;                  /* since the beginning */
    const mc_hub_file *files;        /* valid during the call */
    size_t file_count;
} mc_hub_progress;

/* Options of a transfer. NULL, or all zero, means the defaults. */
typedef struct mc_hub_options {
    /* Stops the transfer (MC_INTERRUPTED) once it is not 0; the next call resumes. NULL: never. */
    const volatile int *cancel;
    /* Called about ten times per second from the calling thread; may be NULL. */
    void (*progress)(const mc_hub_progress *progress, void *user);
    /* Receives a line of text about a fallback, such as the cache for a server that is down. */
    void (*note)(const char *text, void *user);
    void *user;
    /*
     * Processes that open the same models at the same time (mc_models_open): process 0 reads the
     * headers of weight files and sends them to the others, which open a file when they read a
     * tensor of it. Borrowed during the call; NULL: this process alone.
     */
    const mc_comm *comm;
    void *reserved[3]; /* must be zero */
} mc_hub_options;

/* A repository, and which of its files are needed. */
typedef struct mc_hub_spec {
    const char *name; /* ORG/NAME or ORG/NAME@REVISION; also a NAME without ORG */
    bool dataset;     /* false: a model */
    /*
     * Paths in the repository. NULL: what a merge needs of a model, which is the configuration,
     * weights in one format, the tokenizer and other files of a model folder.
     */
    const char *const *files;
    size_t file_count;
    void *reserved[4]; /* must be zero */
} mc_hub_spec;

/* A repository in the cache: its files are FOLDER/PATH. Free it with mc_hub_snapshots_free. */
typedef struct mc_hub_snapshot {
    char *name;   /* without the revision */
    char *commit; /* 40 hexadecimal digits */
    char *folder; /* in the cache; read-only for callers */
    char **files; /* paths */
    int64_t *sizes;
    size_t file_count;
    int64_t bytes_received; /* 0 if everything was in the cache */
} mc_hub_snapshot;

/* Returns whether `text` is a well-formed name with a slash: ORG/NAME or ORG/NAME@REVISION. */
MC_API bool mc_hub_is_name(const char *text);

/*
 * Downloads the files of `count` repositories in parallel, unless they are in the cache. Fills
 * out[count] on success only. Large files are transferred last: access to all repositories and
 * free disk space are checked before.
 */
MC_API mc_status mc_hub_download(const mc_hub_spec *specs, size_t count,
                                 const mc_hub_options *options, mc_hub_snapshot *out,
                                 mc_error *error);
MC_API void mc_hub_snapshots_free(mc_hub_snapshot *snapshots, size_t count);

/*
 * Downloads one file of a data set and returns its path in the cache:
 *
 *     mc_hub_dataset_file("nyu-mll/glue", "rte/validation-00000-of-00001.parquet", …)
 *
 * `options` may be NULL. Free *out with mc_hub_free.
 */
MC_API mc_status mc_hub_dataset_file(const char *name, const char *path,
                                     const mc_hub_options *options, char **out, mc_error *error);
MC_API void mc_hub_free(char *text); /* accepts NULL */

/* How to upload. NULL, or all zero, means the defaults. */
typedef struct mc_hub_upload_options {
    const char *message;     /* of the commit; NULL: "Upload with mergecraft" */
    const char *description; /* further lines of the commit's message; NULL: none */
    /* Creates the repository as private; an error if it exists and is public. */
    bool private_repository;
    /* Only reports what would be sent; creates and changes nothing. */
    bool dry_run;
    void *reserved[4]; /* must be zero */
} mc_hub_upload_options;

/* One file of an upload. It is sent unless it is unchanged or ignored. */
typedef struct mc_hub_upload_file {
    char *path; /* in the repository */
    int64_t bytes;
    bool large;     /* in the large file storage (LFS) */
    bool unchanged; /* the branch has the same content */
    bool ignored;   /* by the repository's .gitignore */
} mc_hub_upload_file;

/* Free it with mc_hub_upload_result_free. */
typedef struct mc_hub_upload_result {
    char *name, *branch; /* "ORG/NAME", "main" */
    char *commit;        /* the new one, or the branch's last if nothing changed; NULL: none yet */
    char *url;           /* of a new commit, as the server gives it; NULL: none */
    bool created;        /* the repository did not exist before */
    mc_hub_upload_file *files;
    size_t file_count;
    size_t committed;   /* files in the new commit; 0: nothing changed, or a dry run */
    int64_t bytes_sent; /* to the large file storage */
} mc_hub_upload_result;

/*
 * Uploads the files of a folder, and of folders in it, as one commit to the model repository
 * ORG/NAME or ORG/NAME@BRANCH ("main"). Creates repository and branch if they do not exist. Files
 * of the repository that the folder lacks stay. Hidden files are skipped with a note.
 *
 * Needs a token with write access. Content that the server has is not sent again: after an
 * interruption, call it again. Nothing is visible on the branch before the commit. `options` and
 * `hub` may be NULL.
 *
 * Errors besides those above:
 *         MC_USAGE    no token, HF_HUB_OFFLINE is set, or a file name is not UTF-8
 *         MC_EXISTS   private_repository is set, and the repository is public
 *         MC_CHANGED  a file changed during the upload
 */
MC_API mc_status mc_hub_upload(const char *folder, const char *name,
                               const mc_hub_upload_options *options, const mc_hub_options *hub,
                               mc_hub_upload_result *out, mc_error *error);
MC_API void mc_hub_upload_result_free(mc_hub_upload_result *result);

MC_END_DECLS

#endif

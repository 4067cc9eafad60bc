/*
 * Names on the Hub: repositories, revisions, files. Everything that becomes part of a path or a URL
 * is checked here.
 */
#ifndef MC_HUB_NAME_H
#define MC_HUB_NAME_H

#include "base/error.h"

enum { MC_COMMIT_SIZE = 41, MC_ETAG_SIZE = 65 }; /* with NUL */

typedef enum mc_hub_kind { MC_HUB_MODEL, MC_HUB_DATASET } mc_hub_kind;

typedef struct mc_hub_id {
    mc_hub_kind kind;
    char *name;     /* "ORG/NAME", or "NAME" */
    char *revision; /* "main" unless one was given */
} mc_hub_id;

/*
 * Parses ORG/NAME[@REVISION]; ORG/ is optional. MC_USAGE if it is malformed. Zero-initialise *out;
 * free it also after a failure.
 */
mc_status mc_hub_id_parse(const char *text, mc_hub_kind kind, mc_hub_id *out, mc_error *error);
void mc_hub_id_free(mc_hub_id *id);

/* Returns whether the path of a file, or the name of a revision, stays below its folder. */
bool mc_hub_path_ok(const char *path);

/* Returns whether text begins with `count` digits 0–9, a–f. */
bool mc_hub_is_hex(const char *text, size_t count);
bool mc_hub_is_commit(const char *text); /* exactly 40 of them */

/* Returns "models" or "datasets", as in the cache and in URLs. */
const char *mc_hub_kind_name(mc_hub_kind kind);

#endif

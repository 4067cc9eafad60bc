/* Settings of the Hub, from the environment variables that huggingface_hub reads. */
#ifndef MC_HUB_SETTINGS_H
#define MC_HUB_SETTINGS_H

#include "base/error.h"

typedef struct mc_hub_settings {
    char *endpoint; /* "https://huggingface.co", without a slash at the end */
    char *cache;    /* the folder of the repositories */
    char
        *token; /* NULL: none. Printable, without blanks. For the endpoint only: never in errors. */
    char *certificates;   /* file or folder of certificate authorities; NULL: the system's */
    bool offline;         /* no connections at all */
    bool copies;          /* no symbolic links in snapshots */
    long head_timeout;    /* seconds for the reply to a HEAD request */
    long silence_timeout; /* seconds without a byte until a connection is given up */
} mc_hub_settings;

/* Reads the environment and the token file. Zero-initialise *out; free it also after a failure. */
mc_status mc_hub_settings_read(mc_hub_settings *out, mc_error *error);
void mc_hub_settings_free(mc_hub_settings *settings);

#endif

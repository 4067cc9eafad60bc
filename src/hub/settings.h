/* What the environment says about the Hub: the variables that its own tools read. */
#ifndef MC_HUB_SETTINGS_H
#define MC_HUB_SETTINGS_H

#include "base/error.h"

typedef struct mc_hub_settings {
    char *endpoint; /* "https://huggingface.co", without a slash at the end */
    char *cache;    /* the folder of the repositories */
    char *
        token; /* NULL: none. Printable, without blanks. Never shown to anybody but the endpoint. */
    char *certificates;   /* file or folder of certificate authorities; NULL: the system's */
    bool offline;         /* not one connection */
    bool copies;          /* no symbolic links in snapshots */
    long head_timeout;    /* seconds until an answer about a file must be there */
    long silence_timeout; /* seconds without a byte after which a connection is given up */
} mc_hub_settings;

/* Reads the environment and the token's file. Zero-initialise *out; free it also after a failure. */
mc_status mc_hub_settings_read(mc_hub_settings *out, mc_error *error);
void mc_hub_settings_free(mc_hub_settings *settings);

#endif

/*
 * What all requests of one call share: settings, connections, and the first failure, which ends the
 * call. One thread owns it and everything that hangs on it.
 */
#ifndef MC_HUB_TRANSFERS_H
#define MC_HUB_TRANSFERS_H

#include <mergecraft/hub.h>

#include "hub/http.h"

typedef struct mc_transfers {
    const mc_hub_options *options; /* NULL: defaults */
    mc_hub_settings settings;
    mc_http *http;  /* NULL until mc_transfers_connect */
    size_t pending; /* requests, and waits for locks, that have not ended */
    mc_status status;
    mc_error error; /* the first failure */
} mc_transfers;

/* Reads the settings. Zero-initialise first; call mc_transfers_end also after a failure. */
mc_status mc_transfers_begin(mc_transfers *transfers, const mc_hub_options *options,
                             mc_error *error);
/* Frees everything. All requests must have been cleared. */
void mc_transfers_end(mc_transfers *transfers);

/* Loads libcurl when the first request is made: a call that the cache answers needs none. */
mc_status mc_transfers_connect(mc_transfers *transfers, mc_error *error);

/* Records a failure unless there was one. `file` is used if the error names none; may be NULL. */
void mc_transfers_fail(mc_transfers *transfers, const char *file, const mc_error *error);

/* Advances requests for at most `seconds`; records an interruption or a failure of libcurl. */
void mc_transfers_step(mc_transfers *transfers, double seconds);

/* Reports a message to the caller's `note`, if there is one. */
void mc_transfers_note(const mc_transfers *transfers, const char *format, ...) MC_PRINTF(2, 3);

#endif

/*
 * Downloads several snapshots together. The order keeps large transfers last, so that every error
 * that can be found early is found before them:
 *
 *     lists of files ▶ sizes ▶ small files ▶ files these refer to ▶ disk space ▶ weights
 */
#ifndef MC_HUB_SESSION_H
#define MC_HUB_SESSION_H

#include "hub/snapshot.h"

typedef struct mc_session {
    mc_transfers transfers;
    mc_snapshot *snapshots; /* in the order of the specifications */
    size_t count;
    double begun, shown; /* time of the beginning, and of the last progress report */
    mc_hub_file *files;  /* buffer for progress reports */
    size_t file_room;
} mc_session;

/*
 * Does everything except the weights: their sizes are known then, and there is room for them.
 * `specs` and `options` must outlive the session. Zero-initialise first; call mc_session_end also
 * after a failure.
 */
mc_status mc_session_begin(mc_session *session, const mc_hub_spec *specs, size_t count,
                           const mc_hub_options *options, mc_error *error);

/* Downloads the headers of the safetensors files that are not in the cache, into item->header. */
mc_status mc_session_fetch_headers(mc_session *session, mc_error *error);

/* Downloads weights: all, or only those in formats without a header. */
mc_status mc_session_fetch_weights(mc_session *session, bool all, mc_error *error);

/* Records in the cache which commits the revisions resolve to. A read-only cache is left alone. */
void mc_session_write_refs(mc_session *session);

void mc_session_end(mc_session *session);

#endif

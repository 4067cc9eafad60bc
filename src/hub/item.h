/*
 * One file of a repository while it is downloaded:
 *
 *     NEW ──HEAD──▶ KNOWN ──fetch──▶ LOCKED ──lock free──▶ RUNNING ──checksum right──▶ DONE
 *      │              │                 │                   │    ▲
 *      │              │                 │                   └────┘ retry, resume, new address
 *      └──────────────┴─────────────────┴── blob in the cache ──────────────────────────▶ DONE
 *
 * LOCKED: another process downloads the same blob; either its result is used, or its partial file
 * is taken over when it dies. Each failure that cannot be retried ends the whole call
 * (mc_transfers_fail). Items run in the thread that calls mc_transfers_step.
 */
#ifndef MC_HUB_ITEM_H
#define MC_HUB_ITEM_H

#include "hub/partial.h"
#include "hub/repository.h"
#include "hub/select.h"

typedef enum mc_item_state {
    MC_ITEM_NEW,     /* only the name is known */
    MC_ITEM_KNOWN,   /* size and checksum are known */
    MC_ITEM_LOCKED,  /* waiting for another process */
    MC_ITEM_RUNNING, /* requested, or waiting for the next attempt */
    MC_ITEM_DONE     /* in the snapshot */
} mc_item_state;

typedef struct mc_item {
    const mc_repository *repository; /* borrowed */
    char *path;
    mc_file_role role;
    mc_item_state state;
    int64_t size; /* −1: not known */
    char etag[MC_ETAG_SIZE];
    char *address; /* URL of the content, often signed and on another host */
    mc_request request;
    mc_partial partial;
    int failures;     /* since the last progress */
    int64_t begun_at; /* bytes that were there when this attempt began */
    int64_t received; /* by this process */
    char waiting[96]; /* why nothing arrives; "" while bytes arrive */
    bool queued;      /* to be downloaded when fewer run */
    bool checked;     /* the headers of this attempt's reply fit the request */
    bool restart;     /* they did not: start again from byte 0 */
    bool whole;       /* this attempt began at byte 0 */
    bool asked_again; /* for a new address, after the old one was rejected */
    char *header;     /* of a safetensors file; mc_item_fetch_header */
    size_t header_size, header_room;
} mc_item;

/* Creates the item of a file: DONE if it is in the snapshot, else NEW. NULL without memory. */
mc_item *mc_item_new(const mc_repository *repository, const char *path, mc_file_role role);
void mc_item_free(mc_item *item);

/*
 * These start work that counts as pending in the transfers until it ends: a HEAD request, the
 * download, the download of the header of a safetensors file only.
 */
void mc_item_ask(mc_item *item);
void mc_item_fetch(mc_item *item);
void mc_item_fetch_header(mc_item *item);

/* Tries again to lock an item that is LOCKED; call it now and then. */
void mc_item_try_lock(mc_item *item);

/* Returns how many bytes of an incomplete file are still to be downloaded, at least 1. */
int64_t mc_item_missing(const mc_item *item);

#endif

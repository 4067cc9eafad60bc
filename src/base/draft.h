/*
 * A file that appears under its name when it is complete. It is written beside that name, flushed
 * and renamed: a reader sees the old file or the new one, never a part.
 *
 *     open PATH.partial ──▶ lock ──▶ still under that name? ──▶ cut to 0 bytes ──▶ write
 *          ▲                              │ no, another process renamed it          │
 *          └──────────────────────────────┘                       rename ◀── flush ◀┘
 *
 * The name is the same in every process, so that the next one reuses what a killed one left. While
 * another process or thread holds the lock, a draft gets a name of its own.
 */
#ifndef MC_BASE_DRAFT_H
#define MC_BASE_DRAFT_H

#include "base/error.h"

#include <stddef.h>

typedef struct mc_draft {
    int fd; /* to write to */
    char *partial;
    const char *path; /* borrowed */
} mc_draft;

mc_status mc_draft_open(const char *path, mc_draft *out, mc_error *error);
/* Flushes and renames an open draft; removes it if `status` is a failure, which is returned. */
mc_status mc_draft_close(mc_draft *draft, mc_status status, mc_error *error);

/* Writes a whole file in this way. */
mc_status mc_file_replace(const char *path, const char *text, size_t size, mc_error *error);

#endif

/*
 * The journal of a search: one JSON object per line, only appended to. docs/search.md describes the
 * lines.
 *
 *     open ─▶ header of this search? ─▶ trials are replayed ─▶ new lines are appended and flushed
 *
 * A last line without a line feed was cut short by a crash, and is removed.
 */
#ifndef MC_SEARCH_JOURNAL_H
#define MC_SEARCH_JOURNAL_H

#include "base/error.h"

#include <jansson.h>

typedef struct mc_search_journal {
    char *path;     /* NULL: lines are only kept in memory */
    int fd;         /* −1: not open */
    int64_t size;   /* of the file */
    json_t **lines; /* all, the header first */
    char **texts;   /* the same as text */
    size_t count, capacity, text_capacity;
    size_t read; /* lines that were in the file */
} mc_search_journal;

/*
 * Opens or creates the file and locks it against other searches. Writes `header` as its first line,
 * or compares the fingerprint of the one that is there. `path` may be NULL. Zero-initialise *out;
 * close it also after a failure.
 *
 * Errors: MC_EXISTS   the file exists and `resume` is not set
 *         MC_CHANGED  another fingerprint
 *         MC_BUSY     it is locked
 *         MC_FORMAT   not a journal
 */
mc_status mc_search_journal_open(const char *path, bool resume, const json_t *header,
                                 mc_search_journal *out, mc_error *error);
void mc_search_journal_close(mc_search_journal *journal);

/* Appends a line, whose reference it takes over (NULL: no memory), and flushes it to disk. */
mc_status mc_search_journal_add(mc_search_journal *journal, json_t *line, mc_error *error);

/* The next line of this type from line `*from` on, and moves *from behind it; NULL: none. */
const json_t *mc_search_journal_next(const mc_search_journal *journal, const char *type,
                                     size_t *from);

/* The last line if it has this type; else NULL. */
const json_t *mc_search_journal_last(const mc_search_journal *journal, const char *type);

#endif

/*
 * Records which parts of the output are written and what was found in them, in a small file beside
 * it, so that the next run can resume there.
 *
 * A journal is used only by a run with the same fingerprint. A process that was killed leaves its
 * writes with the system; after a power failure nobody knows which of them reached the disk. So a
 * journal counts in the same boot of the machine only, unless what it records is flushed first, as
 * processes on several machines do.
 *
 * Each process of a run has its own journal; the next run, of any number of processes, reads all.
 */
#ifndef MC_MERGE_JOURNAL_H
#define MC_MERGE_JOURNAL_H

#include "merge/folder.h"
#include "merge/found.h"
#include "merge/spans.h"

/* A record at least every so many bytes: what a killed run loses at most. */
extern int64_t mc_journal_step; /* only tests change it */

typedef struct mc_journal {
    int fd;
    int64_t end; /* of the file */
    bool flushed;
    bool full; /* nothing more is recorded */
} mc_journal;

/* A file that marks a run of several processes, until a later run removes it. */
typedef struct mc_run_mark {
    char name[64];
} mc_run_mark;

/*
 * Ends the earlier run in this folder, whose processes may briefly outlive its process 0.
 * Removes its mark, and waits until no process holds its journal any more.
 *
 *     earlier run:  create and lock journal ─▶ mark still there? ─▶ write
 *     this run:     remove mark ─▶ a journal is locked? wait ─▶ read journals, or clear the folder
 *
 * Either the earlier process finds no mark and stops, or this run finds its journal locked.
 *
 * Errors: MC_BUSY  a process of the earlier run still works after mc_journal_patience seconds
 */
mc_status mc_journal_expel(const mc_folder *folder, mc_error *error);
extern double mc_journal_patience; /* only tests change it */

/* Makes the mark of this run. */
mc_status mc_run_mark_new(const mc_folder *folder, mc_run_mark *out, mc_error *error);
/* MC_BUSY if a later run has taken over the folder. */
mc_status mc_run_mark_check(const mc_folder *folder, const mc_run_mark *mark, mc_error *error);

/*
 * Reads what all journals of earlier runs with this fingerprint record. Journals that cannot be
 * used count as empty. What was found is to be checked with mc_found_fits. Call mc_spans_free and
 * mc_found_free also after a failure.
 */
mc_status mc_journal_read(const mc_folder *folder, uint64_t fingerprint, mc_spans *out,
                          mc_found *found, mc_error *error);

/*
 * Begins the journal of process `rank`. `flushed`: what is recorded will be on disk, so the record
 * holds in any boot and on any machine. The journal is locked until it is closed. That of process 0
 * counts only after mc_journal_install, which replaces the journal of an earlier run.
 */
mc_status mc_journal_start(const mc_folder *folder, uint64_t fingerprint, bool flushed, int rank,
                           mc_journal *out, mc_error *error);
mc_status mc_journal_install(const mc_folder *folder, const mc_journal *journal, mc_error *error);
/*
 * These bytes of the stream are written. A span may begin where that of the record before it began.
 * `found`: what was found in the bytes that no earlier record contains. Combines it.
 */
mc_status mc_journal_record(mc_journal *journal, mc_span span, mc_found *found, mc_error *error);
void mc_journal_close(mc_journal *journal);

/*
 * Removes the journals, but that of process `keep`; −1: all, and the mark, once the run is
 * complete, as they do not belong to the result.
 */
mc_status mc_journal_remove(const mc_folder *folder, int keep, mc_error *error);

#endif

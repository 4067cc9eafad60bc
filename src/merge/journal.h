/*
 * Records which parts of the output are written, in a small file beside it, so that the next run
 * can resume there.
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
#include "merge/spans.h"

/* A record at least every so many bytes: what a killed run loses at most. */
extern int64_t mc_journal_step; /* only tests change it */

typedef struct mc_journal {
    int fd;
    int64_t end; /* of the file */
} mc_journal;

/*
 * Reads what all journals of earlier runs with this fingerprint record. Journals that cannot be
 * used count as empty. Call mc_spans_free also after a failure.
 */
mc_status mc_journal_read(const mc_folder *folder, uint64_t fingerprint, mc_spans *out,
                          mc_error *error);

/*
 * Begins the journal of process `rank`. `flushed`: what is recorded will be on disk, so the record
 * holds in any boot and on any machine.
 */
mc_status mc_journal_start(const mc_folder *folder, uint64_t fingerprint, bool flushed, int rank,
                           mc_journal *out, mc_error *error);
/* These bytes of the stream are written. */
mc_status mc_journal_record(mc_journal *journal, mc_span span, mc_error *error);
void mc_journal_close(mc_journal *journal);

/*
 * Removes the journals, but that of process `keep`; −1: all, once the run is complete, as they do
 * not belong to the result.
 */
mc_status mc_journal_remove(const mc_folder *folder, int keep, mc_error *error);

#endif

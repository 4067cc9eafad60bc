/*
 * Records how far a run has come, in a small file beside what it writes, so that the next run can
 * resume there.
 *
 * A journal is used only by a run with the same fingerprint, in the same boot of the machine. A
 * process that was killed leaves its writes with the system; after a power failure nobody knows
 * which of them reached the disk.
 */
#ifndef MC_MERGE_JOURNAL_H
#define MC_MERGE_JOURNAL_H

#include "merge/folder.h"

#define MC_JOURNAL_NAME "journal"
/* A record at least every so many bytes: what a killed run loses at most. */
extern int64_t mc_journal_step; /* only tests change it */

typedef struct mc_journal {
    int fd;
    int64_t end;      /* of the file */
    int64_t position; /* in the last record */
} mc_journal;

/* Opens the journal of an earlier run with this fingerprint; false if there is none. */
bool mc_journal_resume(const mc_folder *folder, uint64_t fingerprint, mc_journal *out);
mc_status mc_journal_start(const mc_folder *folder, uint64_t fingerprint, mc_journal *out,
                           mc_error *error);
/* All bytes of the stream before `position` are written. */
mc_status mc_journal_record(mc_journal *journal, int64_t position, mc_error *error);
void mc_journal_close(mc_journal *journal);
/* Once the run is complete and the journal closed: it does not belong to the result. */
mc_status mc_journal_remove(const mc_folder *folder, mc_error *error);

#endif

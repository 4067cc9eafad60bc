#include "merge/journal.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Bytes of a record: 20 digits, a blank, 16 hexadecimal digits and a line end. The header is one
 * padded line, so that records begin at a fixed position.
 */
enum { RECORD = 38, HEADER = 64 };

int64_t mc_journal_step = INT64_C(32) << 20;

/*
 * Identifies the boot of the machine; 0 if the system does not report it: then no journal is used.
 */
static uint64_t boot_identity(void)
{
    char *text = NULL;
    size_t size = 0;
    /* Files in /proc report a size of 0, so mc_file_load cannot read this one. */
    FILE *const file = fopen("/proc/sys/kernel/random/boot_id", "re");
    text = file ? mc_alloc_zero(1, 64) : NULL;
    size = text ? fread(text, 1, 63, file) : 0;
    if (file)
        fclose(file);
    const uint64_t identity = size ? mc_hash_bytes(MC_HASH_START, text, size) : 0;
    mc_free(text);
    return identity;
}

static void header_text(uint64_t fingerprint, char text[HEADER + 1])
{
    char words[HEADER];
    snprintf(words, sizeof words, "mergecraft journal 1 %016" PRIx64 " %016" PRIx64, fingerprint,
             boot_identity());
    snprintf(text, HEADER + 1, "%-*s\n", HEADER - 1, words);
}

/* A position with its hash: a record that was cut short by a crash does not match. */
static void record_text(int64_t position, char text[RECORD + 1])
{
    const uint64_t check = mc_hash_mix((uint64_t)position + 1);
    snprintf(text, RECORD + 1, "%020" PRId64 " %016" PRIx64 "\n", position, check);
}

/*
 * The furthest position. A journal is rewritten from its start without being cut, so old records
 * may follow the new ones. They are still true, as written bytes stay written.
 */
static int64_t last_position(const char *records, size_t size)
{
    int64_t position = 0;
    for (size_t at = 0; at + RECORD <= size; at += RECORD) {
        char expected[RECORD + 1];
        const int64_t found = strtoll(records + at, NULL, 10);
        record_text(found, expected);
        if (memcmp(expected, records + at, RECORD) != 0)
            break;
        position = found > position ? found : position;
    }
    return position;
}

static bool read_journal(const mc_folder *folder, uint64_t fingerprint, int64_t *position)
{
    char expected[HEADER + 1];
    char *text = NULL;
    size_t size = 0;
    char *const path = mc_format("%s/%s", folder->work, MC_JOURNAL_NAME);
    const bool read = path && mc_file_load(path, INT64_C(1) << 24, &text, &size, NULL) == MC_OK;
    mc_free(path);
    header_text(fingerprint, expected);
    const bool mine = read && boot_identity() != 0 && size >= HEADER &&
                      memcmp(text, expected, HEADER) == 0;
    if (mine)
        *position = last_position(text + HEADER, size - HEADER);
    mc_free(text);
    return mine;
}

bool mc_journal_resume(const mc_folder *folder, uint64_t fingerprint, mc_journal *out)
{
    int64_t position = 0;
    if (!read_journal(folder, fingerprint, &position))
        return false;
    /* Rewritten from the start, so that it does not grow from run to run. */
    return mc_journal_start(folder, fingerprint, out, NULL) == MC_OK &&
           mc_journal_record(out, position, NULL) == MC_OK;
}

mc_status mc_journal_start(const mc_folder *folder, uint64_t fingerprint, mc_journal *out,
                           mc_error *error)
{
    char header[HEADER + 1];
    header_text(fingerprint, header);
    out->fd = mc_folder_open(folder, MC_JOURNAL_NAME);
    if (out->fd < 0)
        return mc_fail_errno(error, folder->work, "cannot make a journal");
    out->end = HEADER;
    out->position = 0;
    const mc_status status = mc_write_all(out->fd, folder->work, header, HEADER, 0, error);
    if (status != MC_OK)
        mc_journal_close(out);
    return status;
}

mc_status mc_journal_record(mc_journal *journal, int64_t position, mc_error *error)
{
    char record[RECORD + 1];
    record_text(position, record);
    /* Not flushed: within one boot, what was written survives the process. */
    MC_TRY(mc_write_all(journal->fd, MC_JOURNAL_NAME, record, RECORD, journal->end, error));
    journal->end += RECORD;
    journal->position = position;
    return MC_OK;
}

void mc_journal_close(mc_journal *journal)
{
    if (journal->fd >= 0)
        mc_system->close(journal->fd);
    journal->fd = -1;
}

mc_status mc_journal_remove(const mc_folder *folder, mc_error *error)
{
    if (mc_system->unlink(folder->fd, MC_JOURNAL_NAME, 0) != 0)
        return mc_fail_errno(error, folder->work, "cannot remove the journal");
    return MC_OK;
}

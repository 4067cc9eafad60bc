#include "merge/journal.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * Bytes of a record: two numbers of 20 digits, 16 hexadecimal digits, blanks and a line end. The
 * header is one padded line, so that records begin at a fixed position.
 */
enum { RECORD = 59, HEADER = 64, MAX_JOURNAL = 1 << 24 };

#define NAME "journal"
#define MARK "run."

int64_t mc_journal_step = INT64_C(32) << 20;
double mc_journal_patience = 20;

/* In place of a boot: what is recorded has been flushed to disk. */
#define FLUSHED UINT64_C(1)

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
    return identity == FLUSHED ? 0 : identity;
}

static void header_text(uint64_t fingerprint, uint64_t boot, char text[HEADER + 1])
{
    char words[HEADER];
    snprintf(words, sizeof words, "mergecraft journal 2 %016" PRIx64 " %016" PRIx64, fingerprint,
             boot);
    snprintf(text, HEADER + 1, "%-*s\n", HEADER - 1, words);
}

/* A span with its hash: a record that was cut short by a crash does not match. */
static void record_text(mc_span span, char text[RECORD + 1])
{
    const uint64_t check = mc_hash_mix(mc_hash_mix((uint64_t)span.begin + 1) ^
                                       ((uint64_t)span.end + 1));
    snprintf(text, RECORD + 1, "%020" PRId64 " %020" PRId64 " %016" PRIx64 "\n", span.begin,
             span.end, check);
}

/* ---- reading --------------------------------------------------------------------------------- */

/*
 * A journal is rewritten from its start and cut once that is done: until then old records may
 * follow the new ones, but none gets lost.
 */
static mc_status add_records(const char *records, size_t size, mc_spans *out, mc_error *error)
{
    for (size_t at = 0; at + RECORD <= size; at += RECORD) {
        char expected[RECORD + 1], *rest = NULL;
        mc_span found = {.begin = strtoll(records + at, &rest, 10)};
        found.end = strtoll(rest, NULL, 10);
        record_text(found, expected);
        if (memcmp(expected, records + at, RECORD) != 0)
            break;
        MC_TRY(mc_spans_add(out, found, error));
    }
    return MC_OK;
}

static bool is_usable(const char *text, size_t size, uint64_t fingerprint)
{
    char flushed[HEADER + 1], here[HEADER + 1];
    const uint64_t boot = boot_identity();
    header_text(fingerprint, FLUSHED, flushed);
    header_text(fingerprint, boot, here);
    return size >= HEADER &&
           (memcmp(text, flushed, HEADER) == 0 || (boot != 0 && memcmp(text, here, HEADER) == 0));
}

static mc_status read_journal(const mc_folder *folder, const char *name, uint64_t fingerprint,
                              mc_spans *out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    char *const path = mc_format("%s/%s", folder->work, name);
    const bool read = path && mc_file_load(path, MAX_JOURNAL, &text, &size, NULL) == MC_OK;
    const mc_status status = read && is_usable(text, size, fingerprint)
                                 ? add_records(text + HEADER, size - HEADER, out, error)
                                 : MC_OK;
    mc_free(path);
    mc_free(text);
    return status;
}

/* "journal", or "journal.3" of process 3. */
static bool is_journal(const char *name)
{
    const size_t length = sizeof NAME - 1;
    if (strncmp(name, NAME, length) != 0 || name[length] == '\0')
        return strcmp(name, NAME) == 0;
    const char *const rank = name + length + 1;
    return name[length] == '.' && *rank && rank[strspn(rank, "0123456789")] == '\0';
}

static bool is_mark(const char *name)
{
    return strncmp(name, MARK, sizeof MARK - 1) == 0;
}

/* Calls `visit` with the name of each file of a kind. */
static mc_status for_each(const mc_folder *folder, bool (*is_wanted)(const char *name),
                          mc_status (*visit)(const mc_folder *folder, const char *name, void *user,
                                             mc_error *error),
                          void *user, mc_error *error)
{
    const int fd = mc_system->open(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *const entries = fd >= 0 ? mc_system->list(fd) : NULL;
    if (!entries) {
        const mc_status status = mc_fail_errno(error, folder->work, "cannot list it");
        if (fd >= 0)
            mc_system->close(fd);
        return status;
    }
    mc_status status = MC_OK;
    const char *name = NULL;
    while (status == MC_OK && (name = mc_next_entry(entries)))
        if (is_wanted(name))
            status = visit(folder, name, user, error);
    /* A journal that is not found stays in the result, or lets bytes count that are not there. */
    if (status == MC_OK && errno != 0)
        status = mc_fail_errno(error, folder->work, "cannot list it");
    closedir(entries);
    return status;
}

typedef struct reading {
    uint64_t fingerprint;
    mc_spans *out;
} reading;

static mc_status visit_reading(const mc_folder *folder, const char *name, void *user,
                               mc_error *error)
{
    const reading *const r = user;
    return read_journal(folder, name, r->fingerprint, r->out, error);
}

mc_status mc_journal_read(const mc_folder *folder, uint64_t fingerprint, mc_spans *out,
                          mc_error *error)
{
    return for_each(folder, is_journal, visit_reading, &(reading){fingerprint, out}, error);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Process 0 has the plain name, as a process alone. NULL: no memory. */
static char *name_of(int rank)
{
    return rank == 0 ? mc_strdup(NAME) : mc_format(NAME ".%d", rank);
}

/* MC_BUSY if another process has locked the journal. A file system may have no locks. */
static mc_status check_lock(const mc_folder *folder, int fd, const char *busy, mc_error *error)
{
    const mc_locked locked = mc_lock_file(fd);
    if (locked == MC_LOCKED_FAILED)
        return mc_fail_errno(error, folder->work, "cannot lock a journal");
    return locked == MC_LOCKED_ELSEWHERE
               ? mc_fail_at(error, MC_BUSY, folder->target, NULL, -1, "%s", busy)
               : MC_OK;
}

mc_status mc_journal_start(const mc_folder *folder, uint64_t fingerprint, bool flushed, int rank,
                           mc_journal *out, mc_error *error)
{
    char header[HEADER + 1];
    header_text(fingerprint, flushed ? FLUSHED : boot_identity(), header);
    char *const name = name_of(rank);
    out->fd = name ? mc_folder_open(folder, name) : -1;
    const mc_status opened = !name ? mc_fail_memory(error)
                             : out->fd < 0
                                 ? mc_fail_errno(error, folder->work, "cannot make a journal")
                                 : MC_OK;
    mc_free(name);
    MC_TRY(opened);
    mc_status status = check_lock(folder, out->fd, "another merge is writing to this folder",
                                  error);
    out->end = HEADER;
    if (status == MC_OK)
        status = mc_write_all(out->fd, folder->work, header, HEADER, 0, error);
    if (status != MC_OK)
        mc_journal_close(out);
    return status;
}

mc_status mc_journal_record(mc_journal *journal, mc_span span, mc_error *error)
{
    char record[RECORD + 1];
    record_text(span, record);
    /* Not flushed: within one boot, what was written survives the process. */
    MC_TRY(mc_write_all(journal->fd, NAME, record, RECORD, journal->end, error));
    journal->end += RECORD;
    return MC_OK;
}

void mc_journal_close(mc_journal *journal)
{
    if (journal->fd >= 0)
        mc_system->close(journal->fd);
    journal->fd = -1;
}

/* ---- removing -------------------------------------------------------------------------------- */

static mc_status visit_removing(const mc_folder *folder, const char *name, void *user,
                                mc_error *error)
{
    const char *const kept = user;
    if ((kept && strcmp(name, kept) == 0) || mc_system->unlink(folder->fd, name, 0) == 0)
        return MC_OK;
    return mc_fail_errno(error, folder->work, "cannot remove what an earlier run left");
}

mc_status mc_journal_remove(const mc_folder *folder, int keep, mc_error *error)
{
    char *const kept = keep < 0 ? NULL : name_of(keep);
    if (keep >= 0 && !kept)
        return mc_fail_memory(error);
    const mc_status status = for_each(folder, is_journal, visit_removing, kept, error);
    mc_free(kept);
    return status == MC_OK && keep < 0 ? for_each(folder, is_mark, visit_removing, NULL, error)
                                       : status;
}

/* ---- runs that follow each other ------------------------------------------------------------- */

/* MC_BUSY if a process holds the journal. */
static mc_status visit_held(const mc_folder *folder, const char *name, void *user, mc_error *error)
{
    (void)user;
    const int fd = mc_system->open(folder->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return MC_OK; /* reading it is tried next */
    const mc_status status = check_lock(
        folder, fd, "a process of an earlier merge is still writing to this folder", error);
    mc_system->close(fd);
    return status;
}

mc_status mc_journal_expel(const mc_folder *folder, mc_error *error)
{
    static const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    MC_TRY(for_each(folder, is_mark, visit_removing, NULL, error));
    for (const double begin = mc_seconds();;) {
        const mc_status status = for_each(folder, is_journal, visit_held, NULL, error);
        if (status != MC_BUSY || mc_seconds() - begin > mc_journal_patience)
            return status;
        nanosleep(&pause, NULL);
    }
}

mc_status mc_run_mark_new(const mc_folder *folder, mc_run_mark *out, mc_error *error)
{
    return mc_folder_create_unique(folder, MARK, out->name, error);
}

/* Opened, not examined: network file systems look again for a file that is opened. */
mc_status mc_run_mark_check(const mc_folder *folder, const mc_run_mark *mark, mc_error *error)
{
    const int fd = mc_system->open(folder->fd, mark->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd >= 0)
        mc_system->close(fd);
    return fd >= 0 ? MC_OK
                   : mc_fail_at(error, MC_BUSY, folder->target, NULL, -1,
                                "a later merge is writing to this folder");
}

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
 * The header is one padded line, so that records begin at a fixed position. A record is a line
 * "span BEGIN END" after lines with what was found in it:
 *
 *     found TENSOR INPUT NANS INFINITIES OVERFLOWED AVERAGED
 *     reason TENSOR TEXT
 *
 * Each line ends with a blank and its hash, of 16 hexadecimal digits. Reading stops at the first
 * line that does not match: a record counts only if all before it is intact.
 */
enum { HEADER = 64, HASH = 16, MAX_JOURNAL = 1 << 26 };

#define NAME "journal"
#define NEW NAME ".new"
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
    snprintf(words, sizeof words, "mergecraft journal 3 %016" PRIx64 " %016" PRIx64, fingerprint,
             boot);
    snprintf(text, HEADER + 1, "%-*s\n", HEADER - 1, words);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Reads `count` numbers with one blank before each; NULL if there are others than these. */
static const char *take_numbers(const char *at, int count, int64_t *out)
{
    for (int i = 0; i < count; i++) {
        char *end = NULL;
        if (*at++ != ' ')
            return NULL;
        out[i] = strtoll(at, &end, 10);
        if (end == at)
            return NULL;
        at = end;
    }
    return at;
}

typedef struct reading {
    uint64_t fingerprint;
    mc_spans *out;
    mc_found *found;
    mc_found fresh; /* in the record that is read */
} reading;

/*
 * A run that was killed just after it had journalled what earlier ones have written leaves their
 * journals too: what is known already is not found again.
 */
static mc_status add_span(reading *r, const int64_t *numbers, mc_error *error)
{
    const mc_span span = {numbers[0], numbers[1]};
    if (!mc_spans_contain(r->out, span)) {
        MC_TRY(mc_spans_add(r->out, span, error));
        MC_TRY(mc_found_add_all(r->found, &r->fresh, error));
    }
    mc_found_clear(&r->fresh);
    return MC_OK;
}

/* A line without its hash; *valid: whether it is one that this version writes. */
static mc_status add_line(reading *r, const char *line, bool *valid, mc_error *error)
{
    int64_t n[6];
    const char *end = NULL;
    *valid = true;
    if (strncmp(line, "span", 4) == 0 && (end = take_numbers(line + 4, 2, n)) && *end == '\0' &&
        n[0] >= 0 && n[0] < n[1])
        return add_span(r, n, error);
    if (strncmp(line, "found", 5) == 0 && (end = take_numbers(line + 5, 6, n)) && *end == '\0') {
        const mc_finding finding = {n[0], n[1], n[2], n[3], n[4], n[5]};
        return mc_found_add(&r->fresh, &finding, error);
    }
    if (strncmp(line, "reason", 6) == 0 && (end = take_numbers(line + 6, 1, n)) && *end == ' ' &&
        n[0] >= 0)
        mc_found_explain(&r->fresh, (size_t)n[0], end + 1);
    else
        *valid = false;
    return MC_OK;
}

static void hash_text(const char *line, size_t length, char text[HASH + 1])
{
    snprintf(text, HASH + 1, "%016" PRIx64, mc_hash_bytes(MC_HASH_START, line, length));
}

static mc_status add_records(reading *r, char *at, mc_error *error)
{
    char expected[HASH + 1];
    bool valid = true;
    for (char *end; valid && (end = strchr(at, '\n')); at = end + 1) {
        char *const hash = end - HASH;
        if (hash <= at || hash[-1] != ' ')
            break;
        hash_text(at, (size_t)(hash - at), expected);
        if (memcmp(expected, hash, HASH) != 0)
            break;
        hash[-1] = '\0';
        MC_TRY(add_line(r, at, &valid, error));
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

static mc_status read_journal(const mc_folder *folder, const char *name, reading *r,
                              mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    char *const path = mc_format("%s/%s", folder->work, name);
    const bool read = path && mc_file_load(path, MAX_JOURNAL, &text, &size, NULL) == MC_OK;
    const mc_status status = read && is_usable(text, size, r->fingerprint)
                                 ? add_records(r, text + HEADER, error)
                                 : MC_OK;
    mc_found_free(&r->fresh);
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

static mc_status visit_reading(const mc_folder *folder, const char *name, void *user,
                               mc_error *error)
{
    return strcmp(name, NAME) == 0 ? MC_OK : read_journal(folder, name, user, error);
}

/* That of process 0 comes first: it may contain all that the others record. */
mc_status mc_journal_read(const mc_folder *folder, uint64_t fingerprint, mc_spans *out,
                          mc_found *found, mc_error *error)
{
    reading r = {.fingerprint = fingerprint, .out = out, .found = found};
    MC_TRY(read_journal(folder, NAME, &r, error));
    return for_each(folder, is_journal, visit_reading, &r, error);
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
    char *const name = rank == 0 ? mc_strdup(NEW) : name_of(rank);
    out->flushed = flushed;
    out->full = false;
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

mc_status mc_journal_install(const mc_folder *folder, const mc_journal *journal, mc_error *error)
{
    /* A run that was killed before this point may have left more. */
    if (mc_system->truncate(journal->fd, (off_t)journal->end) != 0)
        return mc_fail_errno(error, folder->work, "cannot shorten the journal");
    /* After a power failure, the name must not stand for an empty file. */
    if (journal->flushed && mc_system->fsync(journal->fd) != 0)
        return mc_fail_errno(error, folder->work, "cannot flush the journal to disk");
    char *const from = mc_format("%s/" NEW, folder->work);
    char *const to = mc_format("%s/" NAME, folder->work);
    const mc_status status = !from || !to ? mc_fail_memory(error)
                             : mc_system->rename(from, to, 0) != 0
                                 ? mc_fail_errno(error, folder->work, "cannot rename the journal")
                                 : MC_OK;
    mc_free(from);
    mc_free(to);
    return status;
}

/* Ends the line that begins at `start`. */
static void end_line(mc_text *text, size_t start)
{
    char hash[HASH + 1] = "";
    mc_text_add(text, " ");
    if (text->failed)
        return;
    hash_text(text->data + start, text->length - start, hash);
    mc_text_add(text, "%s\n", hash);
}

static void add_finding(mc_text *text, const mc_finding *f)
{
    const size_t start = text->length;
    mc_text_add(text, "found %lld %lld %lld %lld %lld %lld", (long long)f->tensor,
                (long long)f->input, (long long)f->nans, (long long)f->infinities,
                (long long)f->overflowed, (long long)f->averaged);
    end_line(text, start);
}

static void add_record(mc_text *text, mc_span span, const mc_found *found)
{
    for (size_t i = 0; i < found->count; i++)
        add_finding(text, &found->items[i]);
    size_t start = text->length;
    if (found->reason.known) {
        mc_text_add(text, "reason %lld %s", (long long)found->reason.tensor, found->reason.text);
        end_line(text, start);
    }
    start = text->length;
    mc_text_add(text, "span %lld %lld", (long long)span.begin, (long long)span.end);
    end_line(text, start);
}

mc_status mc_journal_record(mc_journal *journal, mc_span span, mc_found *found, mc_error *error)
{
    mc_text text = {0};
    mc_found_combine(found);
    add_record(&text, span, found);
    mc_status status = text.failed ? mc_fail_memory(error) : MC_OK;
    /*
     * A journal that is too large to be read would not even count for what it has. Later records
     * do not count either, as they would contain the bytes of this one without what was found.
     */
    journal->full = journal->full || journal->end + (int64_t)text.length > MAX_JOURNAL;
    /* Not flushed: within one boot, what was written survives the process. */
    if (status == MC_OK && !journal->full) {
        status = mc_write_all(journal->fd, NAME, text.data, text.length, journal->end, error);
        journal->end += (int64_t)text.length;
    }
    mc_text_free(&text);
    return status;
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

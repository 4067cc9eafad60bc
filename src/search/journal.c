#include "search/journal.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A trial has about 300 bytes: room for a million. */
static const int64_t largest_journal = INT64_C(1) << 30;

void mc_search_journal_close(mc_search_journal *journal)
{
    for (size_t i = 0; i < journal->count; i++) {
        json_decref(journal->lines[i]);
        mc_free(journal->texts[i]);
    }
    mc_free(journal->lines);
    mc_free(journal->texts);
    if (journal->path && journal->fd >= 0)
        mc_system->close(journal->fd);
    mc_free(journal->path);
    *journal = (mc_search_journal){.fd = -1};
}

/* Keeps a line and its text; takes over both, also on failure. */
static mc_status keep(mc_search_journal *journal, json_t *line, char *text, mc_error *error)
{
    if (line && text && MC_GROW(journal->lines, journal->count, journal->capacity) &&
        MC_GROW(journal->texts, journal->count, journal->text_capacity)) {
        journal->lines[journal->count] = line;
        journal->texts[journal->count++] = text;
        return MC_OK;
    }
    json_decref(line);
    mc_free(text);
    return mc_fail_memory(error);
}

/* ---- reading --------------------------------------------------------------------------------- */

static mc_status read_line(mc_search_journal *journal, const char *text, size_t size,
                           mc_error *error)
{
    json_t *line = NULL;
    if (mc_json_parse(text, size, &line, error) != MC_OK || !json_is_object(line)) {
        json_decref(line);
        return mc_fail_at(error, MC_FORMAT, journal->path, NULL, -1,
                          "line %zu: expected a JSON object of a search", journal->count + 1);
    }
    return keep(journal, line, mc_strndup(text, size), error);
}

/*
 * Whether a text without a line feed is the start of a header that a crash cut short. Of any other
 * file nothing may be removed.
 */
static bool is_cut_header(const char *text, size_t size)
{
    static const char start[] = "{\"type\":\"search\",";
    return memcmp(text, start, size < sizeof start - 1 ? size : sizeof start - 1) == 0;
}

static mc_status read_lines(mc_search_journal *journal, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    mc_status status = mc_file_load(journal->path, largest_journal, &text, &size, error);
    for (const char *end; status == MC_OK && (size_t)journal->size < size;
         journal->size = end - text + 1) {
        const char *const begin = text + journal->size;
        end = memchr(begin, '\n', size - (size_t)journal->size);
        if (!end)
            break;
        status = read_line(journal, begin, (size_t)(end - begin), error);
        if (status != MC_OK)
            break;
    }
    if (status == MC_OK && journal->count == 0 && size > 0 && !is_cut_header(text, size))
        status = mc_fail_at(error, MC_FORMAT, journal->path, NULL, -1,
                            "expected a journal of a search (version 1), found another file");
    mc_free(text);
    journal->read = journal->count;
    return status;
}

static mc_status check_header(const mc_search_journal *journal, const json_t *header,
                              mc_error *error)
{
    const json_t *const found = journal->lines[0];
    const char *const type = json_string_value(json_object_get(found, "type"));
    if (!type || strcmp(type, "search") != 0)
        return mc_fail_at(error, MC_FORMAT, journal->path, NULL, -1,
                          "expected a journal of a search (version 1), found another file");
    const json_int_t version = json_integer_value(json_object_get(found, "version"));
    if (version != 1)
        return mc_fail_at(error, MC_FORMAT, journal->path, NULL, -1,
                          "expected version 1 of a journal, found version %lld; use another file",
                          (long long)version);
    if (json_equal(json_object_get(found, "fingerprint"), json_object_get(header, "fingerprint")))
        return MC_OK;
    /* The first member that differs is the most useful to know. */
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)header, name, value)
    {
        if (strcmp(name, "fingerprint") == 0 || json_equal(json_object_get(found, name), value))
            continue;
        return mc_fail_at(error, MC_CHANGED, journal->path, NULL, -1,
                          "expected the journal of this search, found one with another '%s'", name);
    }
    return mc_fail_at(error, MC_CHANGED, journal->path, NULL, -1,
                      "expected the journal of this search, found one whose models, data or "
                      "library differ");
}

/* ---- opening --------------------------------------------------------------------------------- */

static mc_status open_file(mc_search_journal *journal, mc_error *error)
{
    journal->fd = mc_system->open(AT_FDCWD, journal->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (journal->fd < 0)
        return mc_fail_errno(error, journal->path, "cannot open the journal");
    const mc_locked locked = mc_lock_file(journal->fd);
    if (locked == MC_LOCKED_HERE)
        return MC_OK;
    if (locked == MC_LOCKED_ELSEWHERE)
        return mc_fail_at(error, MC_BUSY, journal->path, NULL, -1,
                          "another search writes to this journal");
    /* Without a lock, two searches would overwrite each other's lines. */
    return mc_fail_errno(error, journal->path,
                         "cannot lock the journal; it needs a file system with locks");
}

mc_status mc_search_journal_open(const char *path, bool resume, const json_t *header,
                                 mc_search_journal *out, mc_error *error)
{
    *out = (mc_search_journal){.fd = -1};
    json_t *const first = json_incref((json_t *)(uintptr_t)header);
    if (!path)
        return mc_search_journal_add(out, first, error);
    out->path = mc_strdup(path);
    mc_status status = out->path ? open_file(out, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = read_lines(out, error);
    if (status == MC_OK && out->count > 0 && !resume)
        status = mc_fail_at(error, MC_EXISTS, path, NULL, -1, "the journal exists");
    if (status == MC_OK && out->count > 0)
        status = check_header(out, header, error);
    /* What a crash cut short. */
    if (status == MC_OK && mc_system->truncate(out->fd, out->size) != 0)
        status = mc_fail_errno(error, path, "cannot shorten the journal");
    if (status == MC_OK && out->count == 0)
        return mc_search_journal_add(out, first, error);
    json_decref(first);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static mc_status write_line(mc_search_journal *journal, const char *text, mc_error *error)
{
    char *const line = mc_format("%s\n", text);
    if (!line)
        return mc_fail_memory(error);
    const size_t size = strlen(line);
    mc_status status = mc_write_all(journal->fd, journal->path, line, size, journal->size, error);
    mc_free(line);
    if (status == MC_OK && mc_system->fsync(journal->fd) != 0)
        status = mc_fail_errno(error, journal->path, "cannot flush the journal to disk");
    journal->size += (int64_t)size;
    return status;
}

mc_status mc_search_journal_add(mc_search_journal *journal, json_t *line, mc_error *error)
{
    char *const text = line ? mc_json_write(line, JSON_COMPACT) : NULL;
    MC_TRY(keep(journal, line, text, error));
    return journal->path ? write_line(journal, text, error) : MC_OK;
}

/* ---- looking up ------------------------------------------------------------------------------ */

static bool has_type(const json_t *line, const char *type)
{
    const char *const found = json_string_value(json_object_get(line, "type"));
    return found && strcmp(found, type) == 0;
}

const json_t *mc_search_journal_next(const mc_search_journal *journal, const char *type,
                                     size_t *from)
{
    while (*from < journal->count) {
        const json_t *const line = journal->lines[(*from)++];
        if (has_type(line, type))
            return line;
    }
    return NULL;
}

const json_t *mc_search_journal_last(const mc_search_journal *journal, const char *type)
{
    const json_t *const last = journal->count ? journal->lines[journal->count - 1] : NULL;
    return last && has_type(last, type) ? last : NULL;
}

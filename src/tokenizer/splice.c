#include "tokenizer/splice.h"

#include "base/memory.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_blanks(const char *text, size_t at, size_t end)
{
    while (at < end && is_blank(text[at]))
        at++;
    return at;
}

/* Behind the string that starts at `at`. */
static size_t skip_string(const char *text, size_t at, size_t end)
{
    for (at++; at < end && text[at] != '"'; at++)
        /* The character behind a backslash never ends the string. */
        at += text[at] == '\\';
    return at < end ? at + 1 : end;
}

/* Behind the value that starts at `at`. Valid JSON needs no more than counting brackets. */
static size_t skip_value(const char *text, size_t at, size_t end)
{
    size_t depth = 0;
    while (at < end) {
        const char c = text[at];
        if (c == '"') {
            at = skip_string(text, at, end);
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
            at++;
        } else if (depth > 0) {
            at++;
        } else {
            while (at < end && !is_blank(text[at]) && !strchr(",]}", text[at]))
                at++;
            return at;
        }
        if (depth == 0)
            return at;
    }
    return end;
}

mc_span mc_splice_root(const char *text, size_t size)
{
    mc_span root = {skip_blanks(text, 0, size), size};
    while (root.end > root.first && is_blank(text[root.end - 1]))
        root.end--;
    return root;
}

bool mc_splice_find(const char *text, mc_span within, const char *name, mc_span *out)
{
    const size_t length = strlen(name), end = within.end;
    bool found = false;
    if (within.first >= end || text[within.first] != '{')
        return false;
    size_t at = skip_blanks(text, within.first + 1, end);
    while (at < end && text[at] == '"') {
        /* Names are compared as they are written: those that are searched need no escapes. */
        const size_t key = at + 1;
        at = skip_string(text, at, end);
        const bool same = at - key == length + 1 && memcmp(text + key, name, length) == 0;
        at = skip_blanks(text, at, end) + 1; /* the colon */
        at = skip_blanks(text, at, end);
        const mc_span value = {at, skip_value(text, at, end)};
        /* No break: of a name that appears twice the last value counts, as for JSON parsers. */
        if (same)
            *out = value;
        found |= same;
        at = skip_blanks(text, value.end, end);
        if (at >= end || text[at] != ',')
            break;
        at = skip_blanks(text, at + 1, end);
    }
    return found;
}

/*
 * Where a new member is inserted: behind the last value, or behind the bracket of an empty object.
 */
static size_t end_of_members(const char *text, mc_span object)
{
    size_t at = object.end - 1;
    while (at > object.first + 1 && is_blank(text[at - 1]))
        at--;
    return at;
}

mc_status mc_splice_set(const char *text, size_t size, mc_span within, const char *name,
                        const char *value, char **out, size_t *out_size, mc_error *error)
{
    mc_span old;
    char *added = NULL;
    if (within.first >= within.end || text[within.first] != '{')
        return mc_fail(error, MC_FORMAT, "expected an object that holds '%s'", name);
    if (!mc_splice_find(text, within, name, &old)) {
        const size_t at = end_of_members(text, within);
        old = (mc_span){at, at};
        added = mc_format("%s\n  \"%s\": %s", at > within.first + 1 ? "," : "", name, value);
        if (!added)
            return mc_fail_memory(error);
    }
    const char *const put = added ? added : value;
    const size_t length = strlen(put), total = size - (old.end - old.first) + length;
    char *const copy = mc_alloc(total + 1);
    if (copy) {
        memcpy(copy, text, old.first);
        memcpy(copy + old.first, put, length);
        memcpy(copy + old.first + length, text + old.end, size - old.end);
        copy[total] = '\0';
    }
    mc_free(added);
    if (!copy)
        return mc_fail_memory(error);
    *out = copy;
    if (out_size)
        *out_size = total;
    return MC_OK;
}

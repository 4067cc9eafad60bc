#include "model/card_metadata.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"

#include <string.h>

#define CARD_LIMIT (INT64_C(4) << 20)

/* Cards come from anywhere: what exceeds the limits is ignored. */
enum { LONGEST_VALUE = 200, MOST_VALUES = 256 };

void mc_card_values_free(mc_card_values *values)
{
    for (size_t i = 0; i < values->count; i++)
        mc_free(values->items[i]);
    mc_free(values->items);
    *values = (mc_card_values){0};
}

void mc_card_metadata_free(mc_card_metadata *metadata)
{
    mc_card_values_free(&metadata->license);
    mc_card_values_free(&metadata->license_name);
    mc_card_values_free(&metadata->language);
    mc_card_values_free(&metadata->pipeline_tag);
    mc_card_values_free(&metadata->base_model);
    mc_card_values_free(&metadata->datasets);
    mc_card_values_free(&metadata->tags);
}

mc_status mc_card_values_add(mc_card_values *values, const char *text, size_t size, mc_error *error)
{
    for (size_t i = 0; i < values->count; i++)
        /* Each value once: several models of a merge often have the same. */
        if (strlen(values->items[i]) == size && memcmp(values->items[i], text, size) == 0)
            return MC_OK;
    char *const copy = mc_strndup(text, size);
    if (!copy || !MC_GROW(values->items, values->count, values->capacity)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    values->items[values->count++] = copy;
    return MC_OK;
}

/* ---- one value ------------------------------------------------------------------------------ */

/* A run of text that may be changed at both ends. */
typedef struct span {
    const char *at;
    size_t size;
} span;

static span trimmed(span s)
{
    while (s.size > 0 && (*s.at == ' ' || *s.at == '\t')) {
        s.at++;
        s.size--;
    }
    while (s.size > 0 && strchr(" \t\r", s.at[s.size - 1]))
        s.size--;
    return s;
}

/*
 * Licences, languages, tasks and names on the Hub have no other characters. Anything else is not
 * one of them, and could break the YAML of the card that a merge writes.
 */
static bool is_plain(span s)
{
    for (size_t i = 0; i < s.size; i++) {
        const char c = s.at[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && (!c || !strchr("._/+- ", c)))
            return false;
    }
    return s.size > 0 && s.size <= LONGEST_VALUE;
}

static mc_status add_value(span s, mc_card_values *to, mc_error *error)
{
    s = trimmed(s);
    const bool quoted = s.size >= 2 && (*s.at == '"' || *s.at == '\'') && s.at[s.size - 1] == *s.at;
    if (quoted)
        s = trimmed((span){s.at + 1, s.size - 2});
    else
        /* "#" begins a comment in YAML only after a blank. */
        for (size_t i = 1; i < s.size; i++) /* a comment */
            if (s.at[i] == '#' && (s.at[i - 1] == ' ' || s.at[i - 1] == '\t'))
                s = trimmed((span){s.at, i});
    const bool empty = !quoted && (s.size == 0 || (s.size == 4 && memcmp(s.at, "null", 4) == 0));
    if (empty || !is_plain(s) || to->count >= MOST_VALUES)
        return MC_OK;
    return mc_card_values_add(to, s.at, s.size, error);
}

/* A scalar, or "[a, b]" on one line. */
static mc_status add_values(span s, mc_card_values *to, mc_error *error)
{
    s = trimmed(s);
    if (s.size < 2 || *s.at != '[' || s.at[s.size - 1] != ']')
        return add_value(s, to, error);
    s = (span){s.at + 1, s.size - 2};
    while (s.size > 0) {
        const char *const comma = memchr(s.at, ',', s.size);
        const size_t size = comma ? (size_t)(comma - s.at) : s.size;
        MC_TRY(add_value((span){s.at, size}, to, error));
        s = (span){s.at + size + (comma != NULL), s.size - size - (comma != NULL)};
    }
    return MC_OK;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static span next_line(span *rest)
{
    const char *const end = memchr(rest->at, '\n', rest->size);
    const span line = {rest->at, end ? (size_t)(end - rest->at) : rest->size};
    const size_t taken = line.size + (end != NULL);
    *rest = (span){rest->at + taken, rest->size - taken};
    return line;
}

static bool is_fence(span line)
{
    line = trimmed(line);
    return line.size == 3 && memcmp(line.at, "---", 3) == 0;
}

/* The values of the key that a line begins with; NULL: of another key. *value: what follows it. */
static mc_card_values *find_key(span line, mc_card_metadata *out, span *value)
{
    const struct {
        const char *name;
        mc_card_values *values;
    } keys[] = {{"license", &out->license},
                {"license_name", &out->license_name},
                {"language", &out->language},
                {"pipeline_tag", &out->pipeline_tag},
                {"base_model", &out->base_model},
                {"datasets", &out->datasets},
                {"tags", &out->tags}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const size_t length = strlen(keys[i].name);
        if (line.size <= length || memcmp(line.at, keys[i].name, length) != 0 ||
            line.at[length] != ':')
            continue;
        *value = (span){line.at + length + 1, line.size - length - 1};
        return keys[i].values;
    }
    return NULL;
}

mc_status mc_card_metadata_parse(const char *text, size_t size, mc_card_metadata *out,
                                 mc_error *error)
{
    span rest = {text, size};
    mc_card_values *current = NULL;
    /* Without a fence in its first line a card has no front matter. */
    if (!is_fence(next_line(&rest)))
        return MC_OK;
    while (rest.size > 0) {
        const span line = next_line(&rest), item = trimmed(line);
        span value;
        if (is_fence(line))
            return MC_OK;
        if (current && item.size > 1 && item.at[0] == '-' && item.at[1] == ' ') {
            MC_TRY(add_value((span){item.at + 1, item.size - 1}, current, error));
            continue;
        }
        /* Indented lines belong to values of other forms, which are not read. */
        if (item.size == 0 || line.at[0] == ' ' || line.at[0] == '\t')
            continue;
        current = find_key(line, out, &value);
        if (current)
            MC_TRY(add_values(value, current, error));
    }
    return MC_OK;
}

mc_status mc_card_metadata_read(const char *folder, mc_card_metadata *out, mc_error *error)
{
    struct stat status;
    char *const path = mc_format("%s/README.md", folder);
    if (!path)
        return mc_fail_memory(error);
    char *text = NULL;
    size_t size = 0;
    mc_status result = MC_OK;
    if (mc_system->stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size <= CARD_LIMIT)
        result = mc_file_load(path, CARD_LIMIT, &text, &size, error);
    if (result == MC_OK && text)
        result = mc_card_metadata_parse(text, size, out, error);
    mc_free(text);
    mc_free(path);
    return result;
}

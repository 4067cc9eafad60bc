#include "base/json.h"

#include "base/file.h"
#include "base/json_numbers.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * jansson may report a syntax error when it ran out of memory. An allocation of the same size shows
 * whether that is plausible.
 */
static bool is_memory_out(const json_error_t *problem, size_t size)
{
    void *const as_much = mc_alloc(size);
    mc_free(as_much);
    return !as_much || json_error_code(problem) == json_error_out_of_memory;
}

/*
 * If jansson rejects a text, it is parsed again with the numbers that only Python accepts replaced
 * by marked strings. Other files are parsed at full speed. An error is that of the original text.
 */
static mc_status parse_marked(const char *bytes, size_t size, size_t flags, json_t **value,
                              mc_error *error)
{
    mc_text marked = {0};
    json_error_t problem;
    const bool integers = !(flags & JSON_DECODE_INT_AS_REAL);
    const bool found = mc_json_mark_numbers(bytes, size, integers, &marked);
    if (found && !marked.failed)
        *value = json_loadb(marked.data, marked.length, flags, &problem);
    const bool memory_out = marked.failed ||
                            (found && !*value && is_memory_out(&problem, marked.length));
    mc_text_free(&marked);
    return memory_out ? mc_fail_memory(error) : MC_OK;
}

/* A string in the text that begins with the mark would be written as a number. */
static bool has_mark(const char *bytes, size_t size)
{
    return size > 0 &&
           memmem(bytes, size, MC_JSON_NUMBER_ESCAPED, sizeof MC_JSON_NUMBER_ESCAPED - 1);
}

static mc_status parse(const char *bytes, size_t size, size_t flags, json_t **out, mc_error *error)
{
    json_error_t problem;
    /* Not an error of the file: valid JSON, but this library could not write it back unchanged. */
    if (has_mark(bytes, size))
        return mc_fail(error, MC_UNSUPPORTED, "expected JSON without the text '%s'",
                       MC_JSON_NUMBER_ESCAPED);
    /* jansson skips a NUL after a number. */
    const char *const nul = size > 0 ? memchr(bytes, '\0', size) : NULL;
    if (nul)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, nul - bytes,
                          "not valid JSON at byte %td: a NUL byte", nul - bytes);
    /* RFC 8259 leaves it to the reader; Python's, and with it transformers, refuses it. */
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, 0,
                          "expected JSON without a byte order mark, found one");
    json_t *value = json_loadb(bytes, size, flags, &problem);
    if (!value && is_memory_out(&problem, size))
        return mc_fail_memory(error);
    if (!value)
        MC_TRY(parse_marked(bytes, size, flags, &value, error));
    if (!value)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, problem.position,
                          "not valid JSON at byte %d: %s", problem.position, problem.text);
    *out = value;
    return MC_OK;
}

mc_status mc_json_parse(const char *bytes, size_t size, json_t **out, mc_error *error)
{
    return parse(bytes, size, 0, out, error);
}

mc_status mc_json_parse_unique(const char *bytes, size_t size, json_t **out, mc_error *error)
{
    return parse(bytes, size, JSON_REJECT_DUPLICATES, out, error);
}

static mc_status load(const char *path, int64_t limit, size_t flags, json_t **out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_file_load(path, limit, &text, &size, error));
    const mc_status status = mc_in_file(error, path, parse(text, size, flags, out, error));
    mc_free(text);
    return status;
}

mc_status mc_json_load(const char *path, int64_t limit, json_t **out, mc_error *error)
{
    return load(path, limit, 0, out, error);
}

mc_status mc_json_load_reals(const char *path, int64_t limit, json_t **out, mc_error *error)
{
    return load(path, limit, JSON_DECODE_INT_AS_REAL, out, error);
}

/*
 * jansson rejects bytes that are not UTF-8. Paths and tensor names may contain such bytes, and a
 * report must not fail because of them.
 */
json_t *mc_json_text(const char *text)
{
    json_t *const plain = text ? json_string(text) : json_null();
    if (plain)
        return plain;
    const size_t size = strlen(text);
    /* Each invalid byte may become U+FFFD, which has three bytes in UTF-8. */
    char *const valid = mc_alloc(3 * size + 1);
    if (!valid)
        return NULL;
    json_t *const repaired = json_stringn(valid, mc_utf8_repair(text, size, valid));
    mc_free(valid);
    return repaired;
}

const char *mc_json_number_text(const json_t *value)
{
    static const char mark[] = MC_JSON_NUMBER_MARK;
    const char *const text = json_string_value(value);
    return text && strncmp(text, mark, sizeof mark - 1) == 0 ? text + sizeof mark - 1 : NULL;
}

char *mc_json_write(const json_t *value, size_t flags)
{
    mc_text out = {0};
    /* One precision for the whole text, since jansson has no option per number; shortened below. */
    char *const json = json_dumps(value, flags | mc_json_shortest(value));
    if (!json)
        return NULL;
    mc_json_finish_numbers(json, &out);
    /* Allocated by jansson with malloc. */
    free(json);
    if (!out.failed)
        return out.data;
    mc_text_free(&out);
    return NULL;
}

json_t *mc_json_append(json_t *array, json_t *value)
{
    /* The `_new` functions of jansson take the value over even if they fail. */
    if (json_array_append_new(array, value) == 0)
        return array;
    json_decref(array);
    return NULL;
}

json_t *mc_json_put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static int most_digits(const json_t *value)
{
    if (json_is_real(value))
        return mc_json_digits(json_real_value(value));
    int most = 15;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const int digits = most_digits(json_array_get(value, i));
        most = digits > most ? digits : most;
    }
    const char *name;
    json_t *member;
    /* jansson's macro takes a pointer that is not const. It changes nothing. */
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        const int digits = most_digits(member);
        most = digits > most ? digits : most;
    }
    return most;
}

size_t mc_json_shortest(const json_t *value)
{
    return JSON_REAL_PRECISION(most_digits(value));
}

void mc_json_add_text(mc_text *to, const char *text)
{
    static const char from[] = "\b\f\n\r\t", letters[] = "bfnrt";
    mc_text_append(to, "\"", 1);
    for (const char *at = text; *at;) {
        size_t plain = 0;
        while ((unsigned char)at[plain] >= 0x20 && at[plain] != '"' && at[plain] != '\\')
            plain++;
        mc_text_append(to, at, plain);
        at += plain;
        if (!*at)
            break;
        const char *const known = strchr(from, *at);
        if (known)
            mc_text_add(to, "\\%c", letters[known - from]);
        else if ((unsigned char)*at < 0x20)
            mc_text_add(to, "\\u%04x", (unsigned)*at);
        else
            mc_text_add(to, "\\%c", *at);
        at++;
    }
    mc_text_append(to, "\"", 1);
}

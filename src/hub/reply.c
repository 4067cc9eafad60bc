#include "hub/reply.h"

#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { MOST_FILES = 1000000 };

/* ---- headers ----------------------------------------------------------------------------------- */

void mc_reply_clear(mc_reply *reply)
{
    mc_free(reply->location);
    mc_free(reply->next);
    *reply = (mc_reply){
        .length = -1, .linked_size = -1, .range_begin = -1, .range_size = -1, .retry_after = -1};
}

/* A header's value: bytes of the line, not ended by NUL. */
typedef struct value {
    const char *text;
    size_t size;
} value;

static bool is_header(const char *line, size_t size, const char *name, value *out)
{
    const size_t length = strlen(name);
    if (size <= length || line[length] != ':' || strncasecmp(line, name, length) != 0)
        return false;
    const char *begin = line + length + 1, *end = line + size;
    while (begin < end && strchr(" \t", *begin))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n'))
        end--;
    *out = (value){begin, (size_t)(end - begin)};
    return !memchr(begin, '\0', out->size);
}

static void copy_text(char *to, size_t room, value from)
{
    snprintf(to, room, "%.*s", (int)(from.size < room ? from.size : room - 1), from.text);
}

/* Reads digits up to the end of the value, or of the digits if `rest` wants it; −1 if there are none or too many. */
static int64_t read_number(value from, value *rest)
{
    int64_t number = 0;
    size_t i = 0;
    for (; i < from.size && from.text[i] >= '0' && from.text[i] <= '9'; i++) {
        if (i >= 18)
            return -1;
        number = number * 10 + (from.text[i] - '0');
    }
    if (rest)
        *rest = (value){from.text + i, from.size - i};
    return i == 0 || (!rest && i < from.size) ? -1 : number;
}

/* W/"abc" → abc */
static void read_etag(char out[MC_ETAG_SIZE], value from)
{
    if (from.size > 2 && strncmp(from.text, "W/", 2) == 0)
        from = (value){from.text + 2, from.size - 2};
    if (from.size >= 2 && from.text[0] == '"' && from.text[from.size - 1] == '"')
        from = (value){from.text + 1, from.size - 2};
    copy_text(out, MC_ETAG_SIZE, from);
    if (from.size >= MC_ETAG_SIZE)
        out[0] = '\0';
}

static void read_commit(char out[MC_COMMIT_SIZE], value from)
{
    copy_text(out, MC_COMMIT_SIZE, from);
    if (from.size != MC_COMMIT_SIZE - 1 || !mc_hub_is_commit(out))
        out[0] = '\0';
}

/* "bytes 5-9/10", "bytes * /10" */
static void read_range(mc_reply *reply, value from)
{
    if (from.size < 6 || strncasecmp(from.text, "bytes ", 6) != 0)
        return;
    value rest = {from.text + 6, from.size - 6};
    const char *const slash = memchr(rest.text, '/', rest.size);
    if (!slash)
        return;
    reply->range_begin = read_number(rest, &rest);
    reply->range_size = read_number((value){slash + 1, (size_t)(from.text + from.size - slash - 1)},
                                    NULL);
}

/* "Wed, 21 Oct 2015 07:28:00 GMT", in no locale. −1 if it is none. */
static int64_t read_date(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm date = {0};
    char month[4] = "";
    if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d GMT", &date.tm_mday, month, &date.tm_year,
               &date.tm_hour, &date.tm_min, &date.tm_sec) != 6)
        return -1;
    const char *const found = strlen(month) == 3 ? strstr(months, month) : NULL;
    if (!found || (found - months) % 3 != 0)
        return -1;
    date.tm_mon = (int)(found - months) / 3;
    date.tm_year -= 1900;
    return timegm(&date);
}

static void read_retry(mc_reply *reply, value from, int64_t now)
{
    char text[64];
    copy_text(text, sizeof text, from);
    const int64_t seconds = read_number(from, NULL);
    const int64_t date = seconds < 0 ? read_date(text) : -1;
    if (seconds >= 0)
        reply->retry_after = (double)seconds;
    else if (date >= 0)
        reply->retry_after = date > now ? (double)(date - now) : 0;
}

/* The address of <…>; rel="next" among others. */
static void read_link(mc_reply *reply, value from)
{
    char *const text = mc_strndup(from.text, from.size);
    for (char *at = text; at && !reply->next;) {
        char *const begin = strchr(at, '<'), *const end = begin ? strchr(begin, '>') : NULL;
        if (!end)
            break;
        char *const following = strchr(end, '<');
        const size_t size = following ? (size_t)(following - end) : strlen(end);
        if (memmem(end, size, "rel=\"next\"", 10) || memmem(end, size, "rel=next", 8))
            reply->next = mc_strndup(begin + 1, (size_t)(end - begin - 1));
        at = following;
    }
    mc_free(text);
}

static bool read_status(mc_reply *reply, const char *line, size_t size)
{
    if (size < 5 || strncmp(line, "HTTP/", 5) != 0)
        return false;
    const char *const blank = memchr(line, ' ', size);
    const value rest = blank ? (value){blank + 1, (size_t)(line + size - blank - 1)}
                             : (value){"", 0};
    value ignored;
    mc_reply_clear(reply);
    const int64_t status = read_number(rest, &ignored);
    reply->status = status >= 100 && status <= 999 ? (int)status : 0;
    return true;
}

void mc_reply_header(mc_reply *reply, const char *line, size_t size, int64_t now)
{
    value v;
    if (read_status(reply, line, size))
        return;
    if (is_header(line, size, "ETag", &v))
        read_etag(reply->etag, v);
    else if (is_header(line, size, "X-Linked-Etag", &v))
        read_etag(reply->linked_etag, v);
    else if (is_header(line, size, "X-Repo-Commit", &v))
        read_commit(reply->commit, v);
    else if (is_header(line, size, "Content-Length", &v))
        reply->length = read_number(v, NULL);
    else if (is_header(line, size, "X-Linked-Size", &v))
        reply->linked_size = read_number(v, NULL);
    else if (is_header(line, size, "Content-Range", &v))
        read_range(reply, v);
    else if (is_header(line, size, "Content-Encoding", &v))
        reply->encoded = v.size > 0 && !(v.size == 8 && strncasecmp(v.text, "identity", 8) == 0);
    else if (is_header(line, size, "Retry-After", &v))
        read_retry(reply, v, now);
    else if (is_header(line, size, "X-Error-Code", &v))
        copy_text(reply->error_code, sizeof reply->error_code, v);
    else if (is_header(line, size, "X-Error-Message", &v))
        copy_text(reply->error_message, sizeof reply->error_message, v);
    else if (is_header(line, size, "Link", &v))
        read_link(reply, v);
    else if (is_header(line, size, "Location", &v)) {
        mc_free(reply->location);
        reply->location = mc_strndup(v.text, v.size);
    }
}

/* ---- listings ---------------------------------------------------------------------------------- */

mc_status mc_listing_add(mc_listing *listing, const char *name, mc_error *error)
{
    if (!mc_hub_path_ok(name))
        return MC_OK;
    if (listing->count == MOST_FILES)
        return mc_fail(error, MC_FORMAT, "expected at most %d files in the repository, found more",
                       MOST_FILES);
    if (!MC_GROW(listing->names, listing->count, listing->capacity))
        return mc_fail_memory(error);
    char *const copy = mc_strdup(name);
    if (!copy)
        return mc_fail_memory(error);
    listing->names[listing->count++] = copy;
    return MC_OK;
}

static mc_status add_siblings(const json_t *siblings, mc_listing *out, mc_error *error)
{
    out->complete = json_is_array(siblings);
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        const json_t *const name = json_object_get(json_array_get(siblings, i), "rfilename");
        if (!json_is_string(name))
            return mc_fail(
                error, MC_FORMAT,
                "expected a text rfilename in the server's list of files, number %zu has "
                "none",
                i);
        MC_TRY(mc_listing_add(out, json_string_value(name), error));
    }
    return MC_OK;
}

mc_status mc_listing_parse(const char *text, size_t size, mc_listing *out, mc_error *error)
{
    json_t *json = NULL;
    MC_TRY(mc_json_parse(text, size, &json, error));
    const char *const commit = json_string_value(json_object_get(json, "sha"));
    mc_status status = MC_OK;
    if (!commit || !mc_hub_is_commit(commit))
        status = mc_fail(
            error, MC_FORMAT,
            "expected a commit of 40 hexadecimal digits as sha in the server's answer");
    else
        memcpy(out->commit, commit, MC_COMMIT_SIZE);
    if (status == MC_OK)
        status = add_siblings(json_object_get(json, "siblings"), out, error);
    json_decref(json);
    return status;
}

mc_status mc_listing_parse_tree(const char *text, size_t size, mc_listing *listing, mc_error *error)
{
    json_t *json = NULL;
    MC_TRY(mc_json_parse(text, size, &json, error));
    mc_status status = json_is_array(json)
                           ? MC_OK
                           : mc_fail(error, MC_FORMAT,
                                     "expected an array as the server's list of files");
    for (size_t i = 0; status == MC_OK && i < json_array_size(json); i++) {
        const json_t *const entry = json_array_get(json, i);
        const char *const type = json_string_value(json_object_get(entry, "type"));
        const char *const path = json_string_value(json_object_get(entry, "path"));
        if (!type || !path)
            status = mc_fail(error, MC_FORMAT,
                             "expected type and path in the server's list of files, number %zu "
                             "lacks one",
                             i);
        else if (strcmp(type, "file") == 0)
            status = mc_listing_add(listing, path, error);
    }
    json_decref(json);
    return status;
}

bool mc_listing_has(const mc_listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->count; i++)
        if (strcmp(listing->names[i], name) == 0)
            return true;
    return false;
}

void mc_listing_free(mc_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        mc_free(listing->names[i]);
    mc_free(listing->names);
    *listing = (mc_listing){0};
}

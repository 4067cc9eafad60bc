#include "hub/reply.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- headers --------------------------------------------------------------------------------- */

void mc_reply_clear(mc_reply *reply)
{
    mc_free(reply->location);
    mc_free(reply->next);
    *reply = (mc_reply){
        .length = -1, .linked_size = -1, .range_begin = -1, .range_size = -1, .retry_after = -1};
}

/* The value of a header: part of the line, not NUL-terminated. */
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
    /* A NUL would cut the value short when it is copied as text. */
    return !memchr(begin, '\0', out->size);
}

static void copy_text(char *to, size_t room, value from)
{
    snprintf(to, room, "%.*s", (int)(from.size < room ? from.size : room - 1), from.text);
}

/*
 * Parses a whole number; −1 if it is malformed or too large. With `rest`, digits may be followed by
 * other text, which *rest is set to.
 */
static int64_t read_number(value from, value *rest)
{
    int64_t number = 0;
    size_t i = 0;
    for (; i < from.size && from.text[i] >= '0' && from.text[i] <= '9'; i++) {
        /* 18 digits always fit into 64 bits. */
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
    /* A longer value is not a checksum: half of it must not be taken for one. */
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

/*
 * "Wed, 21 Oct 2015 07:28:00 GMT"; −1 if malformed. Not by strptime, whose names of months depend
 * on the locale.
 */
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

/* Finds the URL of <…>; rel="next" among other links. */
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
    /*
     * Each status line begins a new reply: 100 Continue, or the reply of a proxy, may precede the
     * real one.
     */
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

#define MC_ERROR_ITSELF
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Cuts at the start of a character, never inside one. */
static void copy_cut(char *to, size_t size, const char *from)
{
    /*
     * Buffers of an error have a fixed size. A character that is cut in half would be invalid UTF-8
     * in JSON reports and in terminals.
     */
    const size_t length = strlen(from);
    size_t kept = length < size ? length : size - 1;
    while (kept < length && kept > 0 && ((unsigned char)from[kept] & 0xc0) == 0x80)
        kept--;
    memcpy(to, from, kept);
    to[kept] = '\0';
}

static void fill(mc_error *error, mc_status status, const char *file, const char *tensor,
                 int64_t offset)
{
    error->code = status;
    error->hint = MC_HINT_NONE;
    error->offset = offset;
    error->token = 0;
    copy_cut(error->file, sizeof error->file, file ? file : "");
    copy_cut(error->tensor, sizeof error->tensor, tensor ? tensor : "");
}

mc_status mc_fail(mc_error *error, mc_status status, const char *format, ...)
{
    if (!error)
        return status;
    fill(error, status, NULL, NULL, -1);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return status;
}

mc_status mc_fail_at(mc_error *error, mc_status status, const char *file, const char *tensor,
                     int64_t offset, const char *format, ...)
{
    if (!error)
        return status;
    fill(error, status, file, tensor, offset);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return status;
}

mc_status mc_fail_errno(mc_error *error, const char *file, const char *format, ...)
{
    /* Before anything else: the calls below may change errno. */
    const int number = errno;
    const mc_status status = number == ENOENT                       ? MC_NOT_FOUND
                             : number == ENOSPC || number == EDQUOT ? MC_NO_SPACE
                             : number == EEXIST                     ? MC_EXISTS
                             : number == ENOMEM                     ? MC_NO_MEMORY
                                                                    : MC_IO;
    if (!error)
        return status;
    fill(error, status, file, NULL, -1);
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof error->text)
        snprintf(error->text + length, sizeof error->text - (size_t)length, ": %s",
                 strerror(number));
    return status;
}

mc_status mc_fail_memory(mc_error *error)
{
    return mc_fail(error, MC_NO_MEMORY, "out of memory");
}

mc_status mc_in_file(mc_error *error, const char *file, mc_status status)
{
    /* The first name wins: the function that failed is nearest to the cause. */
    if (status != MC_OK && error && !error->file[0])
        copy_cut(error->file, sizeof error->file, file);
    return status;
}

mc_status mc_in_tensor(mc_error *error, const char *tensor, mc_status status)
{
    if (status != MC_OK && error && !error->tensor[0])
        copy_cut(error->tensor, sizeof error->tensor, tensor);
    return status;
}

mc_status mc_with_hint(mc_error *error, mc_hint hint, mc_status status)
{
    if (status != MC_OK && error)
        error->hint = hint;
    return status;
}

/* C1 controls, which some terminals obey, are two bytes in UTF-8. */
static bool is_wide_control(const unsigned char *c)
{
    return c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
}

/*
 * Names come from files of unknown origin: their control characters must not reach a terminal. What
 * does not fit is cut between characters of the output, never inside an escape.
 */
static size_t add_visible(char *buffer, size_t size, size_t at, const char *text, bool keep_lines)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        char shown[16];
        const bool plain = (*c >= 0x20 && *c != 0x7f) || (keep_lines && *c == '\n');
        int length = 0;
        if (is_wide_control(c)) {
            length = snprintf(shown, sizeof shown, "\\x%02x\\x%02x", c[0], c[1]);
            c++;
        } else {
            length = plain ? snprintf(shown, sizeof shown, "%c", *c)
                           : snprintf(shown, sizeof shown, "\\x%02x", *c);
        }
        if (at + (size_t)length >= size)
            break;
        memcpy(buffer + at, shown, (size_t)length);
        at += (size_t)length;
    }
    buffer[at] = '\0';
    return at;
}

char *mc_error_message(const mc_error *error, char *buffer, size_t size)
{
    if (size == 0)
        return buffer;
    size_t at = 0;
    buffer[0] = '\0';
    /* Newlines in names are escaped: a message is one line. */
    if (error->file[0]) {
        at = add_visible(buffer, size, at, error->file, false);
        at = add_visible(buffer, size, at, ": ", false);
    }
    if (error->tensor[0]) {
        at = add_visible(buffer, size, at, "tensor '", false);
        at = add_visible(buffer, size, at, error->tensor, false);
        at = add_visible(buffer, size, at, "': ", false);
    }
    /* The output of a compiler has several lines. */
    const char *const text = error->text[0] ? error->text : mc_status_text(error->code);
    add_visible(buffer, size, at, text, error->code == MC_COMPILE);
    return buffer;
}

const char *mc_status_text(mc_status status)
{
    switch (status) {
#define X(name_, number_, text_)                                                                   \
    case MC_##name_:                                                                               \
        return text_;
        MC_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

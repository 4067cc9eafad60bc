#include "base/json_scan.h"

#include "base/utf8.h"

#include <string.h>

/* Nesting that is accepted; as jansson. */
enum { MOST_DEPTH = 2048 };

static void fail(mc_scan *s, const char *problem)
{
    if (!s->problem)
        s->problem = problem;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

mc_scan mc_scan_begin(const char *text, size_t first, size_t end)
{
    return (mc_scan){.text = text, .size = end, .at = first};
}

char mc_scan_peek(mc_scan *s)
{
    while (s->at < s->size && is_blank(s->text[s->at]))
        s->at++;
    return s->at < s->size && !s->problem ? s->text[s->at] : '\0';
}

/* Whether the next byte is this one; then it is read. */
static bool accept(mc_scan *s, char c)
{
    /* A NUL in the text is not the end of it, but never a byte that is expected. */
    const bool found = mc_scan_peek(s) == c && c != '\0';
    s->at += found;
    return found;
}

/* ---- objects and lists ----------------------------------------------------------------------- */

static char closing(char bracket)
{
    return bracket == '{' ? '}' : ']';
}

bool mc_scan_open(mc_scan *s, char bracket)
{
    if (!accept(s, bracket)) {
        fail(s, bracket == '{' ? "expected an object" : "expected a list");
        return false;
    }
    return !s->problem && !accept(s, closing(bracket));
}

bool mc_scan_next(mc_scan *s, char bracket)
{
    if (accept(s, ','))
        return true;
    if (!accept(s, bracket))
        fail(s, bracket == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    return false;
}

/* ---- strings --------------------------------------------------------------------------------- */

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four digits of \uXXXX; −1: they are not. */
static int32_t hex4(const char *at, const char *end)
{
    int32_t code = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const int digit = hex(at[i]);
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

static bool is_high(int32_t code)
{
    return code >= 0xd800 && code < 0xdc00;
}

static bool is_low(int32_t code)
{
    return code >= 0xdc00 && code < 0xe000;
}

/* Bytes of the escape sequence at a backslash; 0: it is malformed. */
static size_t escape_size(const char *at, const char *end)
{
    if (end - at < 2)
        return 0;
    if (at[1] != 'u')
        return strchr("\"\\/bfnrt", at[1]) && at[1] ? 2 : 0;
    const int32_t code = hex4(at + 2, end);
    /* Texts end with NUL in this library, and half a surrogate pair is not a character. */
    if (code <= 0 || is_low(code))
        return 0;
    if (!is_high(code))
        return 6;
    return end - at >= 12 && at[6] == '\\' && at[7] == 'u' && is_low(hex4(at + 8, end)) ? 12 : 0;
}

mc_scan_text mc_scan_string(mc_scan *s)
{
    static const mc_scan_text none = {.bytes = ""};
    if (!accept(s, '"')) {
        fail(s, "expected a string");
        return none;
    }
    const char *const first = s->text + s->at, *const end = s->text + s->size;
    const char *at = first;
    unsigned char seen = 0;
    bool escaped = false;
    while (at < end && *at != '"') {
        const unsigned char c = (unsigned char)*at;
        const size_t size = c == '\\' ? escape_size(at, end) : c >= 0x20;
        if (size == 0)
            break;
        escaped |= c == '\\';
        seen |= c;
        at += size;
    }
    const size_t size = (size_t)(at - first);
    s->at += size;
    /* Checked as a whole: most strings are ASCII. */
    if (at == end)
        fail(s, "expected the end of a string");
    else if (*at != '"')
        fail(s, *at == '\\' ? "malformed escape sequence" : "control character in a string");
    else if (seen >= 0x80 && mc_utf8_valid(first, size) < size)
        fail(s, "expected UTF-8");
    if (s->problem)
        return none;
    s->at++;
    return (mc_scan_text){first, size, escaped};
}

mc_scan_text mc_scan_name(mc_scan *s)
{
    const mc_scan_text name = mc_scan_string(s);
    if (!accept(s, ':'))
        fail(s, "expected ':'");
    return name;
}

bool mc_scan_is(mc_scan_text string, const char *text)
{
    return !string.escaped && strlen(text) == string.size &&
           memcmp(string.bytes, text, string.size) == 0;
}

/* Writes the character of an escape sequence, and sets *size to the bytes of the sequence. */
static char *decode_escape(const char *at, const char *end, char *out, size_t *size)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *const letter = strchr(from, at[1]);
    *size = escape_size(at, end);
    if (at[1] != 'u') {
        *out++ = letter ? to[letter - from] : at[1];
        return out;
    }
    const uint32_t code = (uint32_t)hex4(at + 2, end);
    if (*size == 6)
        return mc_utf8_put(out, code);
    const uint32_t low = (uint32_t)hex4(at + 8, end);
    return mc_utf8_put(out, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
}

size_t mc_scan_decode(mc_scan_text string, char *out)
{
    const char *const end = string.bytes + string.size;
    char *to = out;
    if (!string.escaped) {
        memcpy(out, string.bytes, string.size);
        return string.size;
    }
    for (const char *at = string.bytes; at < end;) {
        size_t size = 1;
        if (*at == '\\')
            to = decode_escape(at, end, to, &size);
        else
            *to++ = *at;
        at += size;
    }
    return (size_t)(to - out);
}

const char *mc_scan_keep(const mc_scan *s, mc_scan_text string)
{
    if (s->problem)
        return "";
    /* A decoded string has at most as many bytes as its JSON. */
    char *const bytes = (char *)(uintptr_t)string.bytes;
    bytes[string.escaped ? mc_scan_decode(string, bytes) : string.size] = '\0';
    return bytes;
}

/* ---- numbers and literals -------------------------------------------------------------------- */

static bool accept_word(mc_scan *s, const char *word)
{
    const size_t size = strlen(word);
    if (s->size - s->at < size || memcmp(s->text + s->at, word, size) != 0)
        return false;
    s->at += size;
    return true;
}

/* Reads digits; false if there are none. */
static bool accept_digits(mc_scan *s)
{
    const size_t first = s->at;
    while (s->at < s->size && is_digit(s->text[s->at]))
        s->at++;
    return s->at > first;
}

static bool at_byte(const mc_scan *s, char a, char b)
{
    return s->at < s->size && (s->text[s->at] == a || s->text[s->at] == b);
}

static bool accept_number(mc_scan *s)
{
    s->at += at_byte(s, '-', '-');
    if (accept_word(s, "Infinity"))
        return true;
    if (at_byte(s, '0', '0'))
        /* No digit may follow a zero. */
        s->at++;
    else if (!accept_digits(s))
        return false;
    if (at_byte(s, '.', '.')) {
        s->at++;
        if (!accept_digits(s))
            return false;
    }
    if (at_byte(s, 'e', 'E')) {
        s->at++;
        s->at += at_byte(s, '+', '-');
        return accept_digits(s);
    }
    return true;
}

mc_scan_text mc_scan_number(mc_scan *s)
{
    mc_scan_peek(s);
    const size_t first = s->at;
    if (!s->problem && !accept_word(s, "NaN") && !accept_number(s))
        fail(s, "expected a value");
    return (mc_scan_text){s->text + first, s->problem ? 0 : s->at - first, false};
}

int64_t mc_scan_integer(mc_scan_text number, int64_t most)
{
    int64_t value = 0;
    for (size_t i = 0; i < number.size; i++) {
        if (!is_digit(number.bytes[i]) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, number.bytes[i] - '0', &value))
            return -1;
    }
    return number.size > 0 && value <= most ? value : -1;
}

/* ---- any value ------------------------------------------------------------------------------- */

static void skip_scalar(mc_scan *s, char first)
{
    if (first == '"')
        mc_scan_string(s);
    else if (first != 't' && first != 'f' && first != 'n')
        mc_scan_number(s);
    else if (!accept_word(s, "true") && !accept_word(s, "false") && !accept_word(s, "null"))
        fail(s, "expected a value");
}

void mc_scan_skip(mc_scan *s)
{
    /* The closing brackets of what is open. A loop, as recursion would let files use the stack. */
    char open[MOST_DEPTH];
    size_t depth = 0;
    do {
        const char first = mc_scan_peek(s);
        bool more = false;
        if (first == '{' || first == '[') {
            if (depth == MOST_DEPTH) {
                fail(s, "nested too deeply");
                return;
            }
            open[depth++] = closing(first);
            more = mc_scan_open(s, first);
            depth -= !more;
        } else {
            skip_scalar(s, first);
        }
        while (!more && depth > 0 && !s->problem) {
            more = mc_scan_next(s, open[depth - 1]);
            depth -= !more;
        }
        if (more && open[depth - 1] == '}')
            mc_scan_name(s);
    } while (depth > 0 && !s->problem);
}

void mc_scan_end(mc_scan *s)
{
    mc_scan_peek(s);
    if (s->at < s->size)
        fail(s, "expected the end");
}

mc_status mc_scan_check(const mc_scan *s, mc_error *error)
{
    return s->problem ? mc_fail_at(error, MC_FORMAT, NULL, NULL, (int64_t)s->at,
                                   "not valid JSON at byte %zu: %s", s->at, s->problem)
                      : MC_OK;
}

/*
 * Python's patterns as POSIX ones. They come from untrusted files, and regcomp's memory grows with
 * the repeated operands, without a limit: it copies the operand of every + and {m,n},
 * so that ((((a+)+)+)+)+ takes 2^5 copies. Patterns are therefore measured while they are
 * translated.
 */
#include "model/pattern.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONGEST = 10000, /* characters */
    DEEPEST = 50,    /* groups in groups: regcomp calls itself for each */
    /* Operands copied, and alternatives: the closures of regexec take their number's square. */
    LARGEST = 2000,
    ANCHOR = 200, /* copies that an anchor counts as: regcomp copies the closures around it */
};

/* A pattern while it is translated. */
typedef struct pattern {
    const char *c; /* what follows */
    mc_text out;
    size_t copies;             /* so far */
    size_t sizes[DEEPEST + 1]; /* elements of the open groups, copies included */
    size_t depth;
    size_t last;   /* elements of what a repetition would repeat; 0: there is nothing to repeat */
    bool repeated; /* what precedes is a repetition: ? makes it lazy */
} pattern;

static void count_anchor(pattern *p)
{
    p->copies += ANCHOR;
    p->sizes[p->depth] += ANCHOR;
}

/* ---- brackets and escapes -------------------------------------------------------------------- */

/* What Python's escape of a class means in brackets; NULL: not a class. */
static const char *class_of(char escaped)
{
    return escaped == 'd' ? "0-9" : escaped == 'w' ? "A-Za-z0-9_" : NULL;
}

/* An escape is not among those that brackets can express, or [ begins a class of POSIX. */
static bool is_foreign(const char *c)
{
    return c[0] == '\\' ? !class_of(c[1]) && (c[1] == '\0' || !strchr("._/", c[1]))
                        : c[0] == '[' && c[1] && strchr(":.=", c[1]);
}

/* A backslash stands for itself in POSIX brackets, so escapes are replaced. */
static bool add_brackets(pattern *p)
{
    mc_text_append(&p->out, p->c++, 1);
    if (*p->c == '^')
        mc_text_append(&p->out, p->c++, 1);
    for (const char *const first = p->c; *p->c && (*p->c != ']' || p->c == first); p->c++) {
        const bool escaped = *p->c == '\\';
        if (is_foreign(p->c))
            return false;
        p->c += escaped;
        const char *const class = escaped ? class_of(*p->c) : NULL;
        mc_text_append(&p->out, class ? class : p->c, class ? strlen(class) : 1);
    }
    if (!*p->c)
        return false;
    mc_text_append(&p->out, p->c++, 1);
    return true;
}

/*
 * Classes mean the same in GNU's expressions, except for digits; other letters and digits do not.
 */
static bool add_escape(pattern *p)
{
    const char c = p->c[1];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == 'd' || c == 'D')
        mc_text_add(&p->out, c == 'd' ? "[0-9]" : "[^0-9]");
    /* \< and the like are anchors for GNU, and characters in Python. */
    else if (c && (letter ? strchr("wWsS", c) != NULL : !strchr("<>`'", c)))
        mc_text_append(&p->out, p->c, 2);
    else
        return false;
    p->c += 2;
    return true;
}

/* ---- measured parts -------------------------------------------------------------------------- */

/* Adds one element, which a repetition may follow. */
static bool add_element(pattern *p, bool added)
{
    p->last = 1;
    p->sizes[p->depth]++;
    p->repeated = false;
    return added;
}

/* An escape that is an anchor cannot be repeated, in Python either. */
static bool add_boundary(pattern *p)
{
    mc_text_append(&p->out, p->c, 2);
    p->c += 2;
    p->last = 0;
    p->repeated = false;
    count_anchor(p);
    return true;
}

static bool add_character(pattern *p)
{
    mc_text_append(&p->out, p->c++, 1);
    return true;
}

/* Only whether there is a match counts, so groups need no numbers. */
static bool open_group(pattern *p)
{
    const bool plain = p->c[1] == '?' && p->c[2] == ':';
    if (p->depth == DEEPEST || (p->c[1] == '?' && !plain))
        return false;
    p->sizes[++p->depth] = 1;
    p->last = 0;
    p->repeated = false;
    add_character(p);
    p->c += plain ? 2 : 0;
    return true;
}

static bool close_group(pattern *p)
{
    if (p->depth == 0)
        return false;
    p->last = p->sizes[p->depth--];
    p->sizes[p->depth] += p->last;
    p->repeated = false;
    return add_character(p);
}

/* | ^ $: nothing that can be repeated precedes afterwards. */
static bool add_anchor(pattern *p)
{
    if (*p->c == '|')
        p->copies++;
    else
        count_anchor(p);
    p->last = 0;
    p->repeated = false;
    return add_character(p);
}

/* Reads {m}, {m,}, {,n} or {m,n} and gives how many copies it takes; 0: it is none of them. */
static size_t read_interval(pattern *p, size_t *length)
{
    const char *const end = strchr(p->c, '}');
    *length = end ? (size_t)(end - p->c) + 1 : 0;
    const size_t digits = strspn(p->c + 1, "0123456789");
    const size_t comma = p->c[1 + digits] == ',';
    const size_t more = comma ? strspn(p->c + 2 + digits, "0123456789") : 0;
    if (digits + more == 0 || *length != 2 + digits + comma + more)
        return 0;
    const unsigned long low = strtoul(p->c + 1, NULL, 10);
    const unsigned long high = more ? strtoul(p->c + 2 + digits, NULL, 10) : low;
    const unsigned long larger = low > high ? low : high;
    return (larger < LARGEST ? larger : LARGEST) + 1;
}

/* * + ? {m,n}. Lazy repetition is greedy, as only whether there is a match counts. */
static bool add_repetition(pattern *p)
{
    if (*p->c == '?' && p->repeated) {
        p->repeated = false;
        p->c++;
        return true;
    }
    size_t length = 1;
    const size_t copies = *p->c == '{' ? read_interval(p, &length) : 2;
    if (p->last == 0 || copies == 0)
        return false;
    p->copies += p->last * copies;
    p->sizes[p->depth] += p->last * copies;
    /* Python allows no repetition of a repetition, except for that of a group. */
    p->last = 0;
    p->repeated = true;
    mc_text_append(&p->out, p->c, length);
    p->c += length;
    return true;
}

static bool add_backslash(pattern *p)
{
    const bool boundary = p->c[1] == 'b' || p->c[1] == 'B';
    return boundary ? add_boundary(p) : add_element(p, add_escape(p));
}

static bool translate_next(pattern *p)
{
    switch (*p->c) {
    case '[':
        return add_element(p, add_brackets(p));
    case '\\':
        return add_backslash(p);
    case '(':
        return open_group(p);
    case ')':
        return close_group(p);
    case '|':
    case '^':
    case '$':
        return add_anchor(p);
    case '*':
    case '+':
    case '?':
    case '{':
        return add_repetition(p);
    /* Bytes beyond ASCII are characters in Python, and depend on the locale in POSIX. */
    default:
        return add_element(p, (unsigned char)*p->c < 0x80 && add_character(p));
    }
}

/* Appends the translation to p->out; false: it is impossible, or too large. */
static bool translate(pattern *p)
{
    if (strlen(p->c) > LONGEST)
        return false;
    while (*p->c && p->copies <= LARGEST)
        if (!translate_next(p))
            return false;
    return p->depth == 0 && p->copies <= LARGEST;
}

/* ---- matching -------------------------------------------------------------------------------- */

mc_status mc_pattern_matches(const char *text, const char *path, bool *out, mc_error *error)
{
    regex_t regex;
    pattern p = {.c = text};
    mc_text_add(&p.out, "(^|\\.)(");
    bool valid = translate(&p);
    mc_text_add(&p.out, ")$");
    if (p.out.failed) {
        mc_text_free(&p.out);
        return mc_fail_memory(error);
    }
    valid = valid && regcomp(&regex, p.out.data, REG_EXTENDED | REG_NOSUB) == 0;
    mc_text_free(&p.out);
    if (!valid)
        return mc_fail(error, MC_UNSUPPORTED,
                       "adapter_config.json: expected a pattern of modules that is also a POSIX "
                       "regular expression, of at most %d repeated parts, found '%.200s'",
                       LARGEST, text);
    *out = regexec(&regex, path, 0, NULL, 0) == 0;
    regfree(&regex);
    return MC_OK;
}

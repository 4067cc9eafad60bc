#include "report/html.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- texts ----------------------------------------------------------------------------------- */

/* What HTML has in the place of a byte; NULL: the byte itself. */
static const char *entity(char byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* Control characters, which HTML does not allow: of ASCII, or U+0080 to U+009F in UTF-8. */
static size_t control_length(const unsigned char *at)
{
    if ((at[0] < 0x20 && at[0] != '\n' && at[0] != '\t') || at[0] == 0x7f)
        return 1;
    return at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0 ? 2 : 0;
}

static void add_escaped(mc_text *page, const char *text)
{
    const char *run = text, *at = text;
    while (*at) {
        const size_t control = control_length((const unsigned char *)at);
        const char *const special = entity(*at);
        if (!control && !special) {
            at++;
            continue;
        }
        mc_text_append(page, run, (size_t)(at - run));
        if (special)
            mc_text_add(page, "%s", special);
        else
            mc_text_add(page, "\\x%02x", (unsigned char)at[control - 1]);
        at += control ? control : 1;
        run = at;
    }
    mc_text_append(page, run, (size_t)(at - run));
}

void mc_html_text(mc_text *page, const char *text)
{
    const size_t size = strlen(text);
    char *const clean = mc_alloc(3 * size + 1);
    if (!clean) {
        page->failed = true;
        return;
    }
    clean[mc_utf8_repair(text, size, clean)] = '\0';
    add_escaped(page, clean);
    mc_free(clean);
}

void mc_html_name(mc_text *page, const char *name)
{
    mc_text_add(page, "<bdi>");
    mc_html_text(page, name);
    mc_text_add(page, "</bdi>");
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* A minus as wide as a plus, and "." whatever the locale has. */
static void add_digits(mc_text *page, const char *digits)
{
    for (bool point = false; *digits; digits++) {
        const bool known = strchr("0123456789e+", *digits) != NULL;
        if (*digits == '-')
            mc_text_add(page, "−");
        else if (known)
            mc_text_append(page, digits, 1);
        else if (!point)
            mc_text_add(page, ".");
        point = point || (!known && *digits != '-');
    }
}

void mc_html_fixed(mc_text *page, double value, int decimals)
{
    char digits[352]; /* the largest double has 309 digits before the point */
    if (!isfinite(value)) {
        mc_text_add(page, "–");
        return;
    }
    snprintf(digits, sizeof digits, "%.*f", decimals, value);
    add_digits(page, digits);
}

void mc_html_number(mc_text *page, double value, int digits)
{
    char text[64];
    if (!isfinite(value)) {
        mc_text_add(page, "–");
        return;
    }
    snprintf(text, sizeof text, "%.*g", digits, value);
    add_digits(page, text);
}

void mc_html_count(mc_text *page, int64_t count)
{
    char digits[24];
    const int length = snprintf(digits, sizeof digits, "%" PRId64, count);
    for (int i = 0; i < length; i++) {
        mc_text_append(page, digits + i, 1);
        const int left = length - 1 - i;
        if (left > 0 && left % 3 == 0 && digits[i] != '-')
            mc_text_add(page, ",");
    }
}

void mc_html_coordinate(mc_text *page, double value)
{
    const int tenths = (int)lround(fmin(fmax(value, -1e6), 1e6) * 10);
    const int size = tenths < 0 ? -tenths : tenths;
    mc_text_add(page, "%s%d", tenths < 0 ? "-" : "", size / 10);
    if (size % 10)
        mc_text_add(page, ".%d", size % 10);
}

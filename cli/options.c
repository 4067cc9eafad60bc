#include "options.h"

#include "output.h"

#include <mergecraft/text.h>
#include <mergecraft/version.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- values ---------------------------------------------------------------------------------- */

static bool size_unit(const char *name, double *factor)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1},      {"B", 1},        {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcasecmp(name, units[i].name) == 0) {
            *factor = units[i].factor;
            return true;
        }
    return false;
}

bool parse_size(const char *text, int64_t *bytes)
{
    const size_t length = strspn(text, "0123456789.");
    const char *unit = text + length;
    double factor = 1;
    char *end = NULL;
    /* strtod alone would also accept hexadecimal numbers, exponents and a sign. */
    const double amount = strtod(text, &end);
    if (length == 0 || end != unit)
        return false;
    if (*unit == ' ')
        unit++;
    /* At most 2^62: sums of a few sizes fit in 63 bits. */
    if (!size_unit(unit, &factor) || amount * factor < 1 || amount * factor > 0x1p62)
        return false;
    *bytes = (int64_t)(amount * factor);
    return true;
}

bool parse_shard_size(const char *text, int64_t *bytes)
{
    static const struct {
        char letter;
        int64_t factor;
    } units[] = {{'k', 1000}, {'m', 1000000}, {'b', 1000000000}};
    const size_t digits = strspn(text, "0123456789");
    char *end = NULL;
    errno = 0;
    const long long amount = strtoll(text, &end, 10);
    if (strcmp(text, "0") == 0) {
        *bytes = INT64_MAX;
        return true;
    }
    if (digits == 0 || digits + 1 != strlen(text) || errno != 0)
        return parse_size(text, bytes);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if ((text[digits] | 0x20) == units[i].letter) {
            /* mergekit's B is a billion, not a byte; parse_size knows KB, MB and GB. */
            *bytes = amount > INT64_MAX / units[i].factor ? 0 : amount * units[i].factor;
            return *bytes > 0;
        }
    return false;
}

static bool parse_whole(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
    /* strtoull alone would also accept blanks and a sign, and wrap −1. */
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    const unsigned long long value = strtoull(text, NULL, 10);
    if (errno != 0 || value < minimum || value > maximum)
        return false;
    *number = value;
    return true;
}

/* A list holds at most one item per argument: the first item allocates room for all. */
static void add_text(text_list *list, const char *text, size_t room)
{
    if (!list->items)
        list->items = allocate(room * sizeof *list->items);
    list->items[list->count++] = text;
}

/* ---- parsing --------------------------------------------------------------------------------- */

typedef struct parser {
    const subcommand *self;
    const char *const *next;
    size_t room; /* number of arguments */
    void *settings;
    text_list *operands;
    mc_error *error;
} parser;

static const option *find_long(const option *options, const char *name, size_t length)
{
    for (const option *o = options; o->name; o++)
        if (strlen(o->name) == length && memcmp(o->name, name, length) == 0)
            return o;
    return NULL;
}

static const option *find_letter(const option *options, char letter)
{
    for (const option *o = options; o->name; o++)
        if (o->letter && o->letter == letter)
            return o;
    return NULL;
}

static mc_status unknown_option(const parser *p, const char *name, size_t length)
{
    const char *names[64];
    size_t count = 0;
    for (const option *o = p->self->options; o->name; o++)
        names[count++] = o->name;
    char *const word = format_text("%.*s", (int)length, name);
    const char *const near = mc_suggest(word, names, count);
    if (near)
        mc_fail(p->error, MC_USAGE, "unknown option '--%s'; did you mean '--%s'?", word, near);
    else
        mc_fail(p->error, MC_USAGE, "unknown option '--%s'", word);
    free(word);
    return MC_USAGE;
}

static mc_status store_number(const parser *p, const option *o, const char *text, uint64_t *number)
{
    if (parse_whole(text, o->minimum, o->maximum, number))
        return MC_OK;
    return mc_fail(p->error, MC_USAGE,
                   "--%s: expected a whole number from %" PRIu64 " to %" PRIu64 ", found '%s'",
                   o->name, o->minimum, o->maximum, text);
}

static mc_status store_size(const parser *p, const option *o, const char *text, int64_t *bytes)
{
    if (o->type == OPTION_SIZE ? parse_size(text, bytes) : parse_shard_size(text, bytes))
        return MC_OK;
    return mc_fail(p->error, MC_USAGE,
                   "--%s: expected a size such as 500MB, 5GB or 64MiB, found '%s'", o->name, text);
}

/* `text` is NULL for a flag. */
static mc_status store(const parser *p, const option *o, const char *text)
{
    void *const value = (char *)p->settings + o->offset;
    switch (o->type) {
    case OPTION_FLAG:
    case OPTION_SWITCH:
        *(bool *)value = true;
        return MC_OK;
    case OPTION_TEXT:
        *(const char **)value = text;
        return MC_OK;
    case OPTION_TEXTS:
        add_text(value, text, p->room);
        return MC_OK;
    case OPTION_NUMBER:
        return store_number(p, o, text, value);
    case OPTION_SIZE:
    case OPTION_SHARD_SIZE:
        return store_size(p, o, text, value);
    }
    return MC_OK;
}

/* `text` is the rest of the argument after the option; NULL if there is none. */
static mc_status take_value(parser *p, const option *o, const char *text)
{
    if (!text)
        text = *p->next ? *p->next++ : NULL;
    if (!text)
        return mc_fail(p->error, MC_USAGE, "--%s needs a value: %s", o->name, o->argument);
    return store(p, o, text);
}

/* "no-NAME" of a switch */
static bool clear_switch(const parser *p, const char *name, size_t length)
{
    const option *const o = length > 3 && strncmp(name, "no-", 3) == 0
                                ? find_long(p->self->options, name + 3, length - 3)
                                : NULL;
    if (!o || o->type != OPTION_SWITCH)
        return false;
    *(bool *)((char *)p->settings + o->offset) = false;
    return true;
}

static mc_status parse_long(parser *p, const char *name)
{
    const size_t length = strcspn(name, "=");
    const char *const text = name[length] == '=' ? name + length + 1 : NULL;
    const option *const o = find_long(p->self->options, name, length);
    /* An option that is really called "no-…" comes first. */
    if (!o && !text && clear_switch(p, name, length))
        return MC_OK;
    if (!o)
        return unknown_option(p, name, length);
    if (o->argument)
        return take_value(p, o, text);
    if (text)
        return mc_fail(p->error, MC_USAGE, "--%s takes no value, found '%s'", o->name, text);
    return store(p, o, NULL);
}

/* "-q", "-qv", "-oDIR", "-qo DIR". */
static mc_status parse_letters(parser *p, const char *letters)
{
    for (; *letters; letters++) {
        const option *const o = find_letter(p->self->options, *letters);
        if (!o)
            /* A letter beyond ASCII has several bytes: show them all. */
            return mc_fail(p->error, MC_USAGE, "unknown option '-%.*s'",
                           (unsigned char)*letters < 0x80 ? 1 : (int)strlen(letters), letters);
        if (o->argument)
            return take_value(p, o, letters[1] ? letters + 1 : NULL);
        store(p, o, NULL);
    }
    return MC_OK;
}

static mc_status parse_all(parser *p)
{
    bool only_operands = false;
    while (*p->next) {
        const char *const argument = *p->next++;
        mc_status status = MC_OK;
        /* "-" alone is an operand: standard input. */
        if (only_operands || argument[0] != '-' || !argument[1])
            add_text(p->operands, argument, p->room);
        else if (strcmp(argument, "--") == 0)
            only_operands = true;
        else if (argument[1] == '-')
            status = parse_long(p, argument + 2);
        else
            status = parse_letters(p, argument + 1);
        if (status != MC_OK)
            return status;
    }
    return MC_OK;
}

bool wants_json(const char *const *arguments)
{
    for (; *arguments && strcmp(*arguments, "--") != 0; arguments++)
        if (strcmp(*arguments, "--json") == 0)
            return true;
    return false;
}

bool parse_options(const subcommand *self, const char *const *arguments, void *settings,
                   text_list *operands, int *status)
{
    /* Every settings struct begins with common_options. */
    common_options *const common = settings;
    mc_error error = MC_ERROR_NONE;
    parser p = {self, arguments, 0, settings, operands, &error};
    while (arguments[p.room])
        p.room++;
    const mc_status parsed = parse_all(&p);
    *status = EXIT_DONE;
    /* Also if an option behind it is wrong. */
    if (common->help) {
        print_help(self, stdout);
        return false;
    }
    if (common->version) {
        printf("mergecraft %s\n", mc_version());
        return false;
    }
    if (parsed == MC_OK)
        return true;
    /* Parsing stopped at the error, so --json may not have been seen yet. */
    common->json = wants_json(arguments);
    *status = report_failure(self, common, &error);
    return false;
}

void free_options(const subcommand *self, void *settings, text_list *operands)
{
    for (const option *o = self->options; o->name; o++)
        if (o->type == OPTION_TEXTS)
            free(((text_list *)((char *)settings + o->offset))->items);
    free(operands->items);
}

/* ---- help ------------------------------------------------------------------------------------ */

static void print_option(const option *o, FILE *out)
{
    char left[96];
    snprintf(left, sizeof left, "%c%c%c --%s%s%s", o->letter ? '-' : ' ',
             o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name, o->argument ? " " : "",
             o->argument ? o->argument : "");
    /* Help begins in column 32; after a longer option, on the next line. */
    fprintf(out, "  %-29s%s", left, strlen(left) > 29 ? "\n                                " : " ");
    fputs(o->help, out);
    if (o->type == OPTION_TEXTS)
        fputs(" (repeatable)", out);
    if (o->fallback)
        fprintf(out, " [%s]", o->fallback);
    fputc('\n', out);
}

void print_help(const subcommand *self, FILE *out)
{
    fprintf(out, "usage: mergecraft %s%s%s\n\n%s\n", self->name ? self->name : "",
            self->name ? " " : "", self->arguments, self->help);
    if (self->text)
        fprintf(out, "\n%s", self->text);
    fprintf(out, "\n%soptions%s\n", bold(out), plain(out));
    for (const option *o = self->options; o->name; o++)
        print_option(o, out);
    if (self->more_help)
        self->more_help(out);
    if (self->example)
        fprintf(out, "\n%sexample%s\n%s", bold(out), plain(out), self->example);
}

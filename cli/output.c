#include "output.h"

#include <mergecraft/merge.h>

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- memory ---------------------------------------------------------------------------------- */

/* The command may exit, unlike the library: a merge that ends here can resume. */
static void *checked(void *memory)
{
    if (memory)
        return memory;
    fputs("mergecraft: out of memory\n", stderr);
    exit(EXIT_FAILED);
}

void *allocate(size_t size)
{
    return checked(malloc(size ? size : 1));
}

void *reallocate(void *memory, size_t size)
{
    return checked(realloc(memory, size ? size : 1));
}

MC_PRINTF(1, 0) static char *format_list(const char *format, va_list arguments)
{
    char *text = NULL;
    const int length = vasprintf(&text, format, arguments);
    return checked(length < 0 ? NULL : text);
}

char *format_text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *const text = format_list(format, arguments);
    va_end(arguments);
    return text;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Number of bytes of the UTF-8 character at c; 0 if it is not valid. */
static size_t character_length(const unsigned char *c)
{
    const size_t length = c[0] < 0x80                    ? 1
                          : c[0] >= 0xc2 && c[0] < 0xe0  ? 2
                          : c[0] >= 0xe0 && c[0] < 0xf0  ? 3
                          : c[0] >= 0xf0 && c[0] <= 0xf4 ? 4
                                                         : 0;
    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    /* The rules of RFC 3629: the shortest form, no surrogates, at most U+10FFFF. */
    const bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
    const bool outside = (c[0] == 0xed && c[1] >= 0xa0) || (c[0] == 0xf4 && c[1] >= 0x90);
    return overlong || outside ? 0 : length;
}

static bool is_control(const unsigned char *c)
{
    return c[0] < 0x20 || c[0] == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0);
}

char *visible_text(const char *text)
{
    /*
     * Names come from files and servers. Bytes that a terminal would obey are printed as \xNN, four
     * for one.
     */
    char *const shown = allocate(strlen(text) * 4 + 1);
    char *end = shown;
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        const size_t length = character_length(c);
        if (length == 0 || is_control(c)) {
            const size_t bytes = length ? length : 1;
            for (size_t i = 0; i < bytes; i++)
                end += sprintf(end, "\\x%02x", c[i]);
            c += bytes;
            continue;
        }
        memcpy(end, c, length);
        end += length;
        c += length;
    }
    *end = '\0';
    return shown;
}

const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static bool has_colours(FILE *stream)
{
    const char *const no_color = getenv("NO_COLOR");
    const char *const terminal = getenv("TERM");
    /* See no-color.org: any value but the empty one turns colours off. */
    return !(no_color && *no_color) && terminal && strcmp(terminal, "dumb") != 0 &&
           isatty(fileno(stream));
}

const char *bold(FILE *stream)
{
    return has_colours(stream) ? "\033[1m" : "";
}

const char *plain(FILE *stream)
{
    return has_colours(stream) ? "\033[0m" : "";
}

void say(const char *label, const char *text)
{
    char *const shown = visible_text(text);
    fprintf(stderr, "%s%s:%s %s\n", bold(stderr), label, plain(stderr), shown);
    free(shown);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

void print_json(json_t *object)
{
    checked(object);
    /* Fifteen digits: 0.1 is printed as 0.1. */
    if (json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15)) == 0)
        putchar('\n');
    json_decref(object);
}

json_t *json_text(const char *text)
{
    if (!text)
        return json_null();
    json_t *const string = json_string(text);
    if (string)
        return string;
    /* jansson rejects invalid UTF-8. Each wrong byte becomes U+FFFD, three bytes. */
    char *const valid = allocate(strlen(text) * 3 + 1);
    char *end = valid;
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        const size_t length = character_length(c);
        memcpy(end, length ? (const char *)c : "\xef\xbf\xbd", length ? length : 3);
        end += length ? length : 3;
        c += length ? length : 1;
    }
    *end = '\0';
    json_t *const repaired = json_string(valid);
    free(valid);
    return repaired;
}

json_t *json_texts(const char *const *texts, size_t count)
{
    json_t *const array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_text(texts[i]));
    return array;
}

json_t *json_of_plan(const char *output, char *plan)
{
    json_t *const object = json_pack("{s:o}", "output", json_text(output));
    json_t *const members = json_loads(plan, 0, NULL);
    mc_plan_json_free(plan);
    json_object_update(object, members);
    json_decref(members);
    return object;
}

json_t *json_shape(int rank, const int64_t *shape)
{
    json_t *const array = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(array, json_integer(shape[i]));
    return array;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* The name of a status is a part of the JSON interface: scripts test it. */
static const char *status_name(mc_status status)
{
    switch (status) {
#define X(name_, number_, text_)                                                                   \
    case MC_##name_:                                                                               \
        return #name_;
        MC_STATUS_MAP(X)
#undef X
    }
    return "UNKNOWN";
}

static int exit_status(mc_status status)
{
    /*
     * Three cases that scripts tell apart: wrong usage, an interruption that can be resumed, a
     * failure.
     */
    return status == MC_USAGE         ? EXIT_USAGE
           : status == MC_INTERRUPTED ? EXIT_INTERRUPTED
                                      : EXIT_FAILED;
}

/* Returns what the user can do about an error, in terms of options; NULL if there is nothing. */
static const char *hint_text(mc_hint hint)
{
    switch (hint) {
    case MC_HINT_NONE:
        break;
    case MC_HINT_BASE:
        return "give it with --base MODEL";
    case MC_HINT_SIDE:
        return "--side NAME=MODEL,... gives it; for statistics also --stats FILE,... or --data "
               "TASK";
    case MC_HINT_OVERWRITE:
        return "--overwrite replaces it";
    case MC_HINT_RESUME:
        return "the same command resumes; mergecraft clean DIR removes what is kept";
    case MC_HINT_UNUSED:
        return "--allow-unused accepts it";
    case MC_HINT_TOKENIZER:
        return "--tokenizer union merges them token by token; in a recipe, tokenizer_source: union";
    }
    return NULL;
}

int report_failure(const subcommand *self, const common_options *common, const mc_error *error)
{
    char line[sizeof *error];
    const char *const hint = hint_text(error->hint);
    mc_error_message(error, line, sizeof line);
    fprintf(stderr, "%smergecraft:%s %s\n", bold(stderr), plain(stderr), line);
    if (hint)
        fprintf(stderr, "hint: %s\n", hint);
    if (error->code == MC_USAGE)
        fprintf(stderr, "see mergecraft%s%s --help\n", self->name ? " " : "",
                self->name ? self->name : "");
    if (common->json)
        print_json(json_pack("{s:{s:s, s:o, s:o, s:o, s:o*}}", "error", "code",
                             status_name(error->code), "file", json_text(error->file), "tensor",
                             json_text(error->tensor), "text", json_text(error->text), "hint",
                             hint ? json_string(hint) : NULL));
    return exit_status(error->code);
}

bool finish_output(void)
{
    /* Output is buffered: errors of printf show at the latest when the rest is flushed. */
    const bool failed = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !failed)
        return true;
    fprintf(stderr, "mergecraft: cannot write to standard output: %s\n", strerror(errno));
    return false;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void add_cell(table *rows, char *cell)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity ? rows->capacity * 2 : 64;
        rows->cells = reallocate(rows->cells, rows->capacity * sizeof *rows->cells);
    }
    rows->cells[rows->count++] = cell;
}

void table_add(table *rows, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *const text = format_list(format, arguments);
    va_end(arguments);
    add_cell(rows, visible_text(text));
    free(text);
}

void table_add_shape(table *rows, int rank, const int64_t *shape)
{
    char text[32 * 22] = "[";
    size_t end = 1;
    for (int i = 0; i < rank; i++)
        end += (size_t)snprintf(text + end, sizeof text - end, "%s%lld", i ? ", " : "",
                                (long long)shape[i]);
    table_add(rows, "%s]", text);
}

/* In characters. */
static size_t width_of(const char *cell)
{
    size_t width = 0;
    for (; *cell; cell++)
        width += ((unsigned char)*cell & 0xc0) != 0x80;
    return width;
}

static void print_row(const table *rows, const char *const *cells, const size_t *widths, FILE *out)
{
    for (size_t i = 0; i < rows->columns; i++) {
        /* printf pads bytes, so that characters of several bytes would shift columns. */
        const int padding = (int)(widths[i] - width_of(cells[i]));
        const bool right = i < 32 && (rows->right >> i & 1), last = i + 1 == rows->columns;
        /* No blanks at the end of a line. */
        fprintf(out, "%*s%s%*s", (int)(i ? 2 : rows->indent) + (right ? padding : 0), "", cells[i],
                right || last ? 0 : padding, "");
    }
    fputc('\n', out);
}

void table_finish(table *rows, FILE *out)
{
    size_t *const widths = allocate(rows->columns * sizeof *widths);
    for (size_t i = 0; i < rows->columns; i++)
        widths[i] = rows->titles ? width_of(rows->titles[i]) : 0;
    for (size_t i = 0; i < rows->count; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a table with cells has columns */
        const size_t width = width_of(rows->cells[i]), column = i % rows->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    if (rows->titles) {
        fputs(bold(out), out);
        print_row(rows, rows->titles, widths, out);
        fputs(plain(out), out);
    }
    for (size_t i = 0; i + rows->columns <= rows->count; i += rows->columns)
        print_row(rows, (const char *const *)rows->cells + i, widths, out);
    for (size_t i = 0; i < rows->count; i++)
        free(rows->cells[i]);
    free(rows->cells);
    free(widths);
    rows->cells = NULL;
    rows->count = rows->capacity = 0;
}

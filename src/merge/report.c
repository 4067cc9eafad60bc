#include "merge/report.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/notes.h"
#include "base/text.h"

#include <string.h>

/* Names that a line shows at most: a large model has thousands. */
enum { EXAMPLES = 4 };

struct mc_report {
    mc_notes notes;
};

mc_status mc_report_new(mc_report **out, mc_error *error)
{
    *out = mc_alloc_zero(1, sizeof **out);
    return *out ? MC_OK : mc_fail_memory(error);
}

void mc_report_free(mc_report *report)
{
    if (report)
        mc_notes_free(&report->notes);
    mc_free(report);
}

size_t mc_report_count(const mc_report *report)
{
    return report->notes.count;
}

const char *mc_report_line(const mc_report *report, size_t index)
{
    return report->notes.lines[index];
}

mc_status mc_report_add(mc_report *report, mc_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const mc_status status = mc_notes_add_list(report ? &report->notes : NULL, error, format,
                                               arguments);
    va_end(arguments);
    return status;
}

static bool has_line(const mc_report *report, const char *text)
{
    for (size_t i = 0; report && i < report->notes.count; i++)
        if (strcmp(report->notes.lines[i], text) == 0)
            return true;
    return false;
}

mc_status mc_report_add_once(mc_report *report, char *text, mc_error *error)
{
    const mc_status status = !text                    ? mc_fail_memory(error)
                             : has_line(report, text) ? MC_OK
                                                      : mc_report_add(report, error, "%s", text);
    mc_free(text);
    return status;
}

void mc_report_cut(mc_report *report, size_t count)
{
    while (report->notes.count > count)
        mc_free(report->notes.lines[--report->notes.count]);
}

mc_status mc_names_add(mc_names *names, const char *name, mc_error *error)
{
    if (!MC_GROW(names->names, names->count, names->capacity))
        return mc_fail_memory(error);
    names->names[names->count++] = name;
    return MC_OK;
}

void mc_names_free(mc_names *names)
{
    mc_free(names->names);
    *names = (mc_names){0};
}

static void add_examples(mc_text *text, const mc_names *names)
{
    for (size_t i = 0; i < names->count && i < EXAMPLES; i++)
        mc_text_add(text, "%s%s", i ? ", " : "", names->names[i]);
    if (names->count > EXAMPLES)
        mc_text_add(text, " and %zu more", names->count - EXAMPLES);
}

mc_status mc_report_names(mc_report *report, const mc_names *names, bool strict, const char *what,
                          mc_error *error)
{
    if (names->count == 0)
        return MC_OK;
    mc_text text = {0};
    mc_text_add(&text, "%zu tensor%s %s: ", names->count, names->count == 1 ? " is" : "s are",
                what);
    add_examples(&text, names);
    mc_status status = text.failed ? mc_fail_memory(error) : MC_OK;
    if (status == MC_OK && strict)
        status = mc_fail(error, MC_MISMATCH, "%s (strict)", text.data);
    else if (status == MC_OK)
        status = mc_report_add(report, error, "%s", text.data);
    mc_text_free(&text);
    return status;
}

/* A result as Markdown, CSV and JSON. */
#include "base/draft.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "bench/bench.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mc_status give(mc_text *text, char **out, mc_error *error)
{
    char *const copy = text->failed ? NULL : mc_strdup(text->data ? text->data : "");
    mc_text_free(text);
    *out = copy;
    return copy ? MC_OK : mc_fail_memory(error);
}

void mc_bench_free_text(char *text)
{
    mc_free(text);
}

/* ---- Markdown ------------------------------------------------------------------------------- */

/* Adds a score in percent, "71.2 ± 1.3"; a dash if there is none. */
static void add_percent(mc_text *text, double value, double error)
{
    if (!isfinite(value))
        mc_text_add(text, " – |");
    else if (isfinite(error) && error > 0)
        mc_text_add(text, " %.1f ± %.1f |", 100 * value, 100 * error);
    else
        mc_text_add(text, " %.1f |", 100 * value);
}

/* Adds a name as a cell: a bar would end it, and a line feed the row. */
static void add_cell(mc_text *text, const char *name)
{
    for (; *name; name++)
        mc_text_add(text, *name == '|' ? "\\%c" : "%c", *name == '\n' ? ' ' : *name);
}

static void add_markdown_row(mc_text *text, const mc_bench_result *result, const mc_bench_row *row)
{
    mc_text_add(text, "| ");
    add_cell(text, row->name);
    mc_text_add(text, " |");
    for (size_t t = 0; t < result->task_count; t++)
        add_percent(text, row->scores[t].value, row->scores[t].standard_error);
    add_percent(text, row->average.value, row->average.standard_error);
    add_percent(text, row->average.normalised, (double)NAN);
    if (result->seed_count > 1)
        add_percent(text, row->deviation, (double)NAN);
    mc_text_add(text, " %.3f | %zu | ", row->seconds, row->points);
    /* Seeds mostly choose the same parameters: only changes are listed. */
    for (size_t s = 0; s < result->seed_count; s++)
        if (s == 0 || strcmp(row->chosen[s], row->chosen[s - 1]) != 0) {
            mc_text_add(text, s == 0 ? "`" : " `");
            add_cell(text, row->chosen[s]);
            mc_text_add(text, "`");
        }
    mc_text_add(text, " |\n");
}

mc_status mc_bench_markdown(const mc_bench_result *result, char **out, mc_error *error)
{
    mc_text text = {0};
    mc_text_add(&text, "| method |");
    for (size_t t = 0; t < result->task_count; t++) {
        mc_text_add(&text, " ");
        add_cell(&text, result->tasks[t]);
        mc_text_add(&text, " (%s) |", result->metrics[t]);
    }
    mc_text_add(&text, " average | normalised |%s seconds | grid | chosen |\n",
                result->seed_count > 1 ? " seeds |" : "");
    mc_text_add(&text, "|---|");
    for (size_t t = 0; t < result->task_count + 5 + (result->seed_count > 1); t++)
        mc_text_add(&text, "---|");
    mc_text_add(&text, "\n");
    for (size_t i = 0; i < result->count; i++)
        add_markdown_row(&text, result, &result->lines[i].row);
    return give(&text, out, error);
}

/* ---- CSV ------------------------------------------------------------------------------------ */

/* Adds a field in quotes, with quotes inside doubled (RFC 4180): names may hold commas. */
static void add_field(mc_text *text, const char *value)
{
    mc_text_add(text, "\"");
    for (; *value; value++)
        mc_text_add(text, *value == '"' ? "\"\"" : "%c", *value);
    mc_text_add(text, "\"");
}

static void add_score(mc_text *text, const mc_bench_row *row, const char *task,
                      const mc_bench_score *score)
{
    add_field(text, row->name);
    mc_text_add(text, ",");
    add_field(text, task);
    mc_text_add(text, ",%.9g,%.9g,%.9g,%.9g,%zu\n", score->value, score->normalised,
                score->standard_error, row->seconds, row->points);
}

mc_status mc_bench_csv(const mc_bench_result *result, char **out, mc_error *error)
{
    mc_text text = {0};
    mc_text_add(&text, "method,task,score,normalised,standard_error,seconds,grid\n");
    for (size_t i = 0; i < result->count; i++) {
        const mc_bench_row *const row = &result->lines[i].row;
        for (size_t t = 0; t < result->task_count; t++)
            add_score(&text, row, result->tasks[t], &row->scores[t]);
        add_score(&text, row, "average", &row->average);
    }
    return give(&text, out, error);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *number_json(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static json_t *score_json(const mc_bench_score *score)
{
    return json_pack("{s:o, s:o, s:o}", "score", number_json(score->value), "normalised",
                     number_json(score->normalised), "standard_error",
                     number_json(score->standard_error));
}

static json_t *row_json(const mc_bench_result *result, const mc_bench_row *row)
{
    json_error_t ignored;
    json_t *tasks = json_object(), *chosen = json_array();
    for (size_t t = 0; t < result->task_count; t++)
        tasks = mc_json_put(tasks, result->tasks[t], score_json(&row->scores[t]));
    for (size_t s = 0; s < result->seed_count; s++)
        chosen = mc_json_append(chosen, json_loads(row->chosen[s], 0, &ignored));
    json_t *object = mc_json_put(json_object(), "method", mc_json_text(row->name));
    object = mc_json_put(object, "tasks", tasks);
    object = mc_json_put(object, "average", score_json(&row->average));
    object = mc_json_put(object, "deviation", number_json(row->deviation));
    object = mc_json_put(object, "seconds", number_json(row->seconds));
    object = mc_json_put(object, "grid", json_integer((json_int_t)row->points));
    return mc_json_put(object, "chosen", chosen);
}

static json_t *texts_json(char *const *texts, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        list = mc_json_append(list, mc_json_text(texts[i]));
    return list;
}

static json_t *result_json(const mc_bench_result *result)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < result->count; i++)
        rows = mc_json_append(rows, row_json(result, &result->lines[i].row));
    json_t *object = mc_json_put(json_object(), "tasks",
                                 texts_json(result->tasks, result->task_count));
    object = mc_json_put(object, "metrics", texts_json(result->metrics, result->task_count));
    object = mc_json_put(object, "seeds", texts_json(result->seeds, result->seed_count));
    object = mc_json_put(object, "validation", json_real(result->validation));
    return mc_json_put(object, "methods", rows);
}

mc_status mc_bench_json(const mc_bench_result *result, char **out, mc_error *error)
{
    json_t *const object = result_json(result);
    char *const text = object ? json_dumps(object, JSON_INDENT(2) | mc_json_shortest(object))
                              : NULL;
    *out = text ? mc_format("%s\n", text) : NULL;
    free(text); /* jansson's */
    json_decref(object);
    return *out ? MC_OK : mc_fail_memory(error);
}

/* ---- files ---------------------------------------------------------------------------------- */

static mc_status write_file(const char *folder, const char *name, const char *text, mc_error *error)
{
    char *const path = mc_format("%s/%s", folder, name);
    const mc_status status = path ? mc_file_replace(path, text, strlen(text), error)
                                  : mc_fail_memory(error);
    mc_free(path);
    return status;
}

mc_status mc_bench_write(const mc_bench_result *result, const char *folder, mc_error *error)
{
    typedef mc_status writer(const mc_bench_result *result, char **out, mc_error *error);
    static const struct {
        const char *name;
        writer *write;
    } files[] = {{"table.md", mc_bench_markdown},
                 {"table.csv", mc_bench_csv},
                 {"results.json", mc_bench_json}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text = NULL;
        MC_TRY(files[i].write(result, &text, error));
        const mc_status status = write_file(folder, files[i].name, text, error);
        mc_bench_free_text(text);
        MC_TRY(status);
    }
    return MC_OK;
}

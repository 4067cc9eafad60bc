#include "glue/data.h"

#include "base/file.h"
#include "base/memory.h"
#include "glue/find.h"
#include "glue/labels.h"
#include "glue/readers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One file, which the texts of examples point into. */
typedef struct part {
    char *bytes;
    mc_table table;
} part;

struct mc_glue_data {
    const mc_glue_task *task;
    char *path;
    part *parts;
    size_t part_count, part_capacity;
    mc_glue_example *examples;
    size_t count, skipped, labelled;
    size_t byte_limit, row_limit; /* for the files that follow */
};

/* ---- cells to examples ---- */

/* A column that the file lacks has no cells; each of its values is null. */
static mc_cell cell_at(const mc_table *table, mc_glue_role role, size_t row)
{
    const mc_column *const column = &table->columns[role];
    return column->count > 0 ? column->cells[row] : (mc_cell){.kind = MC_CELL_NULL};
}

/* "line 3: …" or, for Parquet, "row 3: …", from 1. */
static mc_status fail_at_row(const mc_table *table, size_t row, mc_glue_role role,
                             const char *expected, const char *found, size_t found_size,
                             mc_error *error)
{
    enum { SHOWN = 80 };
    const char *names[MC_COLUMN_NAMES];
    const bool lines = table->lines.count > 0;
    const long long number = lines ? (long long)table->lines.cells[row].integer
                                   : (long long)row + 1;
    const int shown = found_size < SHOWN ? (int)found_size : SHOWN;
    return mc_fail(error, MC_FORMAT, "%s %lld: column '%s': expected %s, found %.*s%s",
                   lines ? "line" : "row", number, mc_glue_column_names(table->task, role, names),
                   expected, shown, found, found_size > SHOWN ? "…" : "");
}

static mc_status read_label(const mc_table *table, size_t row, double *label, mc_error *error)
{
    const mc_cell cell = cell_at(table, MC_COLUMN_LABEL, row);
    char number[40], expected[400];
    if (mc_glue_label_from_cell(table->task, &cell, label))
        return MC_OK;
    mc_glue_describe_labels(table->task, expected, sizeof expected);
    if (cell.kind == MC_CELL_TEXT)
        return fail_at_row(table, row, MC_COLUMN_LABEL, expected, cell.text.bytes, cell.text.size,
                           error);
    const int size = cell.kind == MC_CELL_INTEGER
                         ? snprintf(number, sizeof number, "%lld", (long long)cell.integer)
                         : snprintf(number, sizeof number, "%g", cell.real);
    return fail_at_row(table, row, MC_COLUMN_LABEL, expected, number, (size_t)size, error);
}

/* A number in a text column mostly means the wrong column; silently printing it would hide that. */
static mc_status read_text(const mc_table *table, mc_glue_role role, size_t row, const char **text,
                           size_t *size, mc_error *error)
{
    static const char *const kinds[] = {"null", "", "a whole number", "a number"};
    const mc_cell cell = cell_at(table, role, row);
    if (cell.kind != MC_CELL_TEXT)
        return fail_at_row(table, row, role, "a text", kinds[cell.kind], strlen(kinds[cell.kind]),
                           error);
    *text = cell.text.bytes;
    *size = cell.text.size;
    return MC_OK;
}

/* An index that is not a whole number is replaced by the row, which identifies the example, too. */
static int64_t read_index(const mc_table *table, size_t row, size_t place)
{
    const mc_cell cell = cell_at(table, MC_COLUMN_INDEX, row);
    const double number = cell.kind == MC_CELL_TEXT
                              ? mc_glue_number_in(cell.text.bytes, cell.text.size)
                              : NAN;
    if (cell.kind == MC_CELL_INTEGER)
        return cell.integer;
    /* Above 2^53 a double skips integers. */
    return number == floor(number) && fabs(number) < 0x1p53 ? (int64_t)number : (int64_t)place;
}

static mc_status add_example(mc_glue_data *data, const mc_table *table, size_t row, mc_error *error)
{
    mc_glue_example *const one = &data->examples[data->count];
    *one = (mc_glue_example){.index = read_index(table, row, data->count)};
    MC_TRY(read_text(table, MC_COLUMN_TEXT, row, &one->text, &one->size, error));
    if (data->task->columns[1])
        MC_TRY(read_text(table, MC_COLUMN_PAIR, row, &one->pair, &one->pair_size, error));
    MC_TRY(read_label(table, row, &one->label, error));
    data->labelled += !isnan(one->label);
    data->count++;
    return MC_OK;
}

static mc_status add_examples(mc_glue_data *data, mc_table *table, mc_error *error)
{
    const size_t count = data->count + table->row_count;
    mc_glue_example *const examples = mc_realloc(data->examples, count * sizeof *examples);
    if (!examples)
        return mc_fail_memory(error);
    data->examples = examples;
    data->skipped += table->skipped;
    for (size_t row = 0; row < table->row_count; row++)
        MC_TRY(add_example(data, table, row, error));
    return MC_OK;
}

/* ---- files to tables ---- */

mc_glue_format mc_glue_format_of(const char *name, const char *bytes, size_t size)
{
    static const struct {
        const char *ending;
        mc_glue_format format;
    } endings[] = {{".parquet", MC_GLUE_PARQUET}, {".tsv", MC_GLUE_TSV},
                   {".csv", MC_GLUE_CSV},         {".jsonl", MC_GLUE_JSONL},
                   {".json", MC_GLUE_JSONL},      {".ndjson", MC_GLUE_JSONL}};
    /* The content decides where it can: names of cached files may have no ending. */
    if (size >= 4 && (memcmp(bytes, "PAR1", 4) == 0 || memcmp(bytes, "PARE", 4) == 0))
        return MC_GLUE_PARQUET;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (mc_ends_with(name, endings[i].ending))
            return endings[i].format;
    if (size > 0 && (*bytes == '{' || *bytes == '['))
        return MC_GLUE_JSONL;
    /* The first line has the names of the columns: a tab, or else a comma, separates them. */
    const char *const end = memchr(bytes, '\n', size);
    const size_t length = end ? (size_t)(end - bytes) : size;
    return memchr(bytes, '\t', length) || !memchr(bytes, ',', length) ? MC_GLUE_TSV : MC_GLUE_CSV;
}

static mc_status read_table(mc_table *table, mc_glue_format format, char *bytes, size_t size,
                            mc_error *error)
{
    /* A clone without Git LFS has such texts in place of files. */
    static const char pointer[] = "version https://git-lfs.github.com/spec/";
    if (size > sizeof pointer && memcmp(bytes, pointer, sizeof pointer - 1) == 0)
        return mc_fail(error, MC_UNSUPPORTED, "expected a data file, found a Git LFS pointer");
    if (format == MC_GLUE_PARQUET)
        return mc_parquet_read(table, (unsigned char *)bytes, size, error);
    if (size == 0)
        return mc_fail(error, MC_FORMAT, "expected examples, found an empty file");
    return (format == MC_GLUE_TSV   ? mc_tsv_read
            : format == MC_GLUE_CSV ? mc_csv_read
                                    : mc_jsonl_read)(table, bytes, size, error);
}

/* Frees everything that no text points into. */
static void keep_texts(part *one)
{
    for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++) {
        mc_free(one->table.columns[role].cells);
        one->table.columns[role] = (mc_column){0};
    }
    mc_free(one->table.lines.cells);
    /* Examples have copies of what the cells held. */
    one->table.lines = (mc_column){0};
    if (one->table.points_into_file)
        return;
    mc_free(one->bytes);
    one->bytes = NULL;
}

/*
 * A part keeps the bytes of its file only if texts point into them: compressed Parquet is
 * decompressed into blocks of the table, and the file is freed at once.
 */
mc_status mc_glue_data_add(mc_glue_data *data, mc_glue_format format, char *bytes, size_t size,
                           mc_error *error)
{
    if (!MC_GROW(data->parts, data->part_count, data->part_capacity)) {
        /* data takes over the bytes, also if it fails. */
        mc_free(bytes);
        return mc_fail_memory(error);
    }
    part *const one = &data->parts[data->part_count++];
    *one = (part){.bytes = bytes,
                  .table = {.task = data->task,
                            .byte_limit = data->byte_limit,
                            .row_limit = data->row_limit - data->count}};
    MC_TRY(read_table(&one->table, format, bytes, size, error));
    MC_TRY(add_examples(data, &one->table, error));
    /* The limit holds for all files of a data set together. */
    data->byte_limit = one->table.byte_limit;
    keep_texts(one);
    return MC_OK;
}

/* ---- the data set ---- */

mc_status mc_glue_data_new(const mc_glue_task *task, size_t byte_limit, size_t row_limit,
                           mc_glue_data **out, mc_error *error)
{
    mc_glue_data *const data = mc_alloc_zero(1, sizeof *data);
    if (!data)
        return mc_fail_memory(error);
    data->task = task;
    data->byte_limit = byte_limit;
    data->row_limit = row_limit;
    *out = data;
    return MC_OK;
}

void mc_glue_data_free(mc_glue_data *data)
{
    if (!data)
        return;
    for (size_t i = 0; i < data->part_count; i++) {
        mc_table_free(&data->parts[i].table);
        mc_free(data->parts[i].bytes);
    }
    mc_free(data->parts);
    mc_free(data->examples);
    mc_free(data->path);
    mc_free(data);
}

static mc_status add_file(mc_glue_data *data, const char *path, mc_error *error)
{
    const int64_t limit = (int64_t)data->byte_limit;
    char *bytes = NULL;
    size_t size = 0;
    MC_TRY(strcmp(path, "-") == 0 ? mc_input_load(limit, &bytes, &size, error)
                                  : mc_file_load(path, limit, &bytes, &size, error));
    const mc_glue_format format = mc_glue_format_of(path, bytes, size);
    return mc_in_file(error, strcmp(path, "-") == 0 ? "standard input" : path,
                      mc_glue_data_add(data, format, bytes, size, error));
}

static mc_status list_files(const mc_glue_task *task, const char *path, const char *split,
                            mc_glue_files *files, mc_error *error)
{
    struct stat status;
    const bool input = strcmp(path, "-") == 0;
    if (!input && mc_system->stat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot open it");
    if (!input && S_ISDIR(status.st_mode) && task->own)
        return mc_fail_at(error, MC_USAGE, path, NULL, -1, "expected a file, found a folder");
    if (!input && S_ISDIR(status.st_mode))
        return mc_glue_find(task, path, split, files, error);
    return mc_glue_files_add(files, mc_strdup(path), error);
}

static mc_status load_files(mc_glue_data *data, const mc_glue_files *files, mc_error *error)
{
    data->path = mc_strdup(files->paths[0]);
    if (!data->path)
        return mc_fail_memory(error);
    for (size_t i = 0; i < files->count; i++)
        MC_TRY(add_file(data, files->paths[i], error));
    return MC_OK;
}

static mc_status fail_split(const mc_glue_task *task, const char *split, mc_error *error)
{
    char names[256];
    size_t at = 0;
    for (size_t i = 0; task->splits[i]; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i > 0 ? ", " : "",
                               task->splits[i]);
    return mc_fail(error, MC_USAGE, "task %s has no split '%s': expected one of %s", task->name,
                   split, names);
}

mc_status mc_glue_load(const mc_glue_task *task, const char *path, const char *split,
                       mc_glue_data **out, mc_error *error)
{
    const char *const found = mc_glue_split_find(task, split);
    mc_glue_files files = {0};
    mc_glue_data *data = NULL;
    if (!found)
        return fail_split(task, split, error);
    mc_status status = list_files(task, path, found, &files, error);
    if (status == MC_OK)
        status = mc_glue_data_new(task, MC_TABLE_BYTES, MC_TABLE_ROWS, &data, error);
    if (status == MC_OK)
        status = load_files(data, &files, error);
    mc_glue_files_free(&files);
    if (status == MC_OK)
        *out = data;
    else
        mc_glue_data_free(data);
    return status;
}

size_t mc_glue_count(const mc_glue_data *data)
{
    return data->count;
}

void mc_glue_limit(mc_glue_data *data, size_t count)
{
    if (count >= data->count)
        return;
    data->count = count;
    /* Counted again, since labels may be missing in any place. */
    data->labelled = 0;
    for (size_t i = 0; i < count; i++)
        data->labelled += !isnan(data->examples[i].label);
}

mc_status mc_glue_select(const mc_glue_data *data, const size_t *indices, size_t count,
                         mc_glue_data **out, mc_error *error)
{
    mc_glue_data *some = NULL;
    /* Without parts: the texts belong to `data`. */
    MC_TRY(mc_glue_data_new(data->task, 0, 0, &some, error));
    some->path = mc_strdup(data->path);
    some->examples = mc_alloc(count * sizeof *some->examples);
    if (!some->path || !some->examples) {
        mc_glue_data_free(some);
        return mc_fail_memory(error);
    }
    for (; some->count < count; some->count++) {
        some->examples[some->count] = data->examples[indices[some->count]];
        some->labelled += !isnan(some->examples[some->count].label);
    }
    *out = some;
    return MC_OK;
}

size_t mc_glue_unlabelled(const mc_glue_data *data)
{
    return data->count - data->labelled;
}

bool mc_glue_labelled(const mc_glue_data *data)
{
    return data->labelled > 0;
}

size_t mc_glue_skipped(const mc_glue_data *data)
{
    return data->skipped;
}

const char *mc_glue_path(const mc_glue_data *data)
{
    return data->path;
}

mc_glue_example mc_glue_example_at(const mc_glue_data *data, size_t index)
{
    return data->examples[index];
}

/* mergecraft inspect: the contents of a checkpoint. */
#include "lookup.h"
#include "output.h"
#include "subcommands.h"

#include <mergecraft/text.h>

#include <stdlib.h>
#include <string.h>

typedef struct inspect_settings {
    common_options common;
    bool summary;
} inspect_settings;

static const option options[] = {
    {"summary", '\0', OPTION_FLAG, offsetof(inspect_settings, summary), NULL,
     "omit the table of tensors"},
    COMMON_OPTIONS("The object has model, format, architecture, labels, files, tensors, "
                   "parameters, bytes, dtypes, notes and the table."),
    {NULL}};

/* Totals of one dtype, or of all. */
typedef struct amount {
    int64_t tensors, parameters, bytes;
} amount;

static void add(amount *sum, const mc_source *source)
{
    sum->tensors++;
    sum->parameters += mc_source_count(source);
    sum->bytes += mc_source_bytes(source);
}

static void count(const mc_state_dict *dict, amount *total, amount each[MC_DTYPE_COUNT])
{
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        add(total, source);
        add(&each[mc_source_dtype(source)], source);
    }
}

/*
 * The path of a weights file. If only its header was fetched, into a temporary folder, then its
 * name on the Hub. The caller frees it.
 */
static char *file_name(const mc_model *model, size_t index)
{
    const char *const path = mc_model_file(model, index), *const slash = strrchr(path, '/');
    if (mc_model_is_complete(model) || !slash)
        return format_text("%s", path);
    return format_text("%s%s", mc_model_repository(model), slash);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *json_dtypes(const amount each[MC_DTYPE_COUNT])
{
    json_t *const dtypes = json_object();
    for (int i = 0; i < MC_DTYPE_COUNT; i++)
        if (each[i].tensors)
            json_object_set_new(dtypes, mc_dtype_name((mc_dtype)i),
                                json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)each[i].tensors,
                                          "parameters", (json_int_t)each[i].parameters, "bytes",
                                          (json_int_t)each[i].bytes));
    return dtypes;
}

static json_t *json_table(const mc_state_dict *dict)
{
    json_t *const lines = json_array();
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        json_array_append_new(
            lines, json_pack("{s:o, s:s, s:o, s:I}", "name", json_text(mc_state_dict_name(dict, i)),
                             "dtype", mc_dtype_name(mc_source_dtype(source)), "shape",
                             json_shape(mc_source_rank(source), mc_source_shape(source)), "bytes",
                             (json_int_t)mc_source_bytes(source)));
    }
    return lines;
}

static json_t *json_files(const mc_model *model)
{
    json_t *const files = json_array();
    for (size_t i = 0; i < mc_model_file_count(model); i++) {
        char *const name = file_name(model, i);
        json_array_append_new(files, json_text(name));
        free(name);
    }
    return files;
}

static json_t *json_labels(const mc_model *model)
{
    json_t *const labels = json_array();
    for (size_t i = 0; i < mc_model_label_count(model); i++)
        json_array_append_new(labels, json_text(mc_model_label(model, i)));
    return labels;
}

static json_t *json_notes(const mc_model *model)
{
    json_t *const notes = json_array();
    for (size_t i = 0; i < mc_model_note_count(model); i++)
        json_array_append_new(notes, json_text(mc_model_note(model, i)));
    return notes;
}

static void print_model_json(const mc_model *model, bool summary)
{
    const mc_state_dict *const dict = mc_model_state_dict(model);
    amount total = {0}, each[MC_DTYPE_COUNT] = {{0}};
    count(dict, &total, each);
    json_t *const object = json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:o}", "model", json_text(mc_model_name(model)),
        "format", mc_model_format(model), "architecture", json_text(mc_model_architecture(model)),
        "labels", json_labels(model), "files", json_files(model), "tensors",
        (json_int_t)total.tensors, "parameters", (json_int_t)total.parameters, "bytes",
        (json_int_t)total.bytes, "dtypes", json_dtypes(each));
    json_object_set_new(object, "notes", json_notes(model));
    if (!summary)
        json_object_set_new(object, "table", json_table(dict));
    print_json(object);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void add_labels(table *rows, const mc_model *model)
{
    char *list = format_text("%s", "");
    for (size_t i = 0; i < mc_model_label_count(model); i++) {
        char *const longer = format_text("%s%s%s", list, i ? ", " : "", mc_model_label(model, i));
        free(list);
        list = longer;
    }
    table_add(rows, "labels");
    table_add(rows, "%s", mc_model_label_count(model) ? list : "none");
    free(list);
}

static void print_summary(const mc_model *model)
{
    table rows = {.columns = 2};
    amount total = {0}, each[MC_DTYPE_COUNT] = {{0}};
    char bytes[16];
    count(mc_model_state_dict(model), &total, each);
    const char *const architecture = mc_model_architecture(model);
    table_add(&rows, "model");
    table_add(&rows, "%s", mc_model_name(model));
    table_add(&rows, "format");
    table_add(&rows, "%s", mc_model_format(model));
    for (size_t i = 0; i < mc_model_file_count(model); i++) {
        char *const name = file_name(model, i);
        table_add(&rows, "%s", i ? "" : "files");
        table_add(&rows, "%s", name);
        free(name);
    }
    table_add(&rows, "architecture");
    table_add(&rows, "%s", architecture ? architecture : "not known");
    add_labels(&rows, model);
    table_add(&rows, "tensors");
    table_add(&rows, "%lld", (long long)total.tensors);
    table_add(&rows, "parameters");
    table_add(&rows, "%lld", (long long)total.parameters);
    table_add(&rows, "bytes");
    if (total.bytes < 1000)
        table_add(&rows, "%lld", (long long)total.bytes);
    else
        table_add(&rows, "%lld (%s)", (long long)total.bytes,
                  mc_format_bytes(total.bytes, bytes, sizeof bytes));
    for (int i = 0; i < MC_DTYPE_COUNT; i++)
        if (each[i].tensors) {
            table_add(&rows, "%s", mc_dtype_name((mc_dtype)i));
            table_add(&rows, "%lld tensor%s, %lld parameter%s, %s", (long long)each[i].tensors,
                      plural(each[i].tensors), (long long)each[i].parameters,
                      plural(each[i].parameters),
                      mc_format_bytes(each[i].bytes, bytes, sizeof bytes));
        }
    table_finish(&rows, stdout);
}

static void print_table(const mc_state_dict *dict)
{
    static const char *const titles[] = {"TENSOR", "DTYPE", "SHAPE", "BYTES"};
    table rows = {.titles = titles, .columns = 4, .right = 1 << 3};
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        table_add(&rows, "%s", mc_state_dict_name(dict, i));
        table_add(&rows, "%s", mc_dtype_name(mc_source_dtype(source)));
        table_add_shape(&rows, mc_source_rank(source), mc_source_shape(source));
        table_add(&rows, "%lld", (long long)mc_source_bytes(source));
    }
    table_finish(&rows, stdout);
}

static void print_model(const mc_model *model, const inspect_settings *settings)
{
    if (settings->common.json) {
        print_model_json(model, settings->summary);
        return;
    }
    for (size_t i = 0; !settings->common.quiet && i < mc_model_note_count(model); i++)
        say("note", mc_model_note(model, i));
    print_summary(model);
    if (settings->summary)
        return;
    putchar('\n');
    print_table(mc_model_state_dict(model));
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static mc_status inspect(const void *chosen, const text_list *operands, mc_error *error)
{
    const inspect_settings *const settings = chosen;
    if (operands->count == 0)
        return mc_fail(error, MC_USAGE, "expected a model, found none");
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected one model, found %zu", operands->count);
    mc_model *model = NULL;
    /* Headers only: of a model on the Hub, some kilobytes are downloaded. */
    const mc_status status = open_models(operands->items, 1, &settings->common, true, &model,
                                         error);
    if (status == MC_OK)
        print_model(model, settings);
    mc_model_close(model);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    inspect_settings settings = {0};
    return run_subcommand(self, arguments, &settings, inspect);
}

const subcommand subcommand_inspect = {.name = "inspect",
                                       .arguments = "MODEL [options]",
                                       .help = "Print the contents of a checkpoint.",
                                       .example = "  mergecraft inspect examples/models/rte-1\n",
                                       .options = options,
                                       .run = run};

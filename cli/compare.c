/* mergecraft compare: how models differ from their base and from each other. */
#include "comparison.h"
#include "lookup.h"
#include "output.h"

#include <mergecraft/compare.h>

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct compare_settings {
    common_options common;
    const char *base, *by;
    text_list exclude;
    uint64_t threads;
    bool csv, rank;
} compare_settings;

#define AT(field_) offsetof(compare_settings, field_)
static const option options[] = {
    {"base", '\0', OPTION_TEXT, AT(base), "MODEL", "model that the others were fine-tuned from",
     .details = "Compares task vectors (model minus base). Without it, the other models are "
                "compared with the first."},
    {"by", '\0', OPTION_TEXT, AT(by), "block|role|tensor|total", "rows of the table", "block",
     .details = "Without --base the default is tensor, and tensors that are equal are left out."},
    {"exclude", '\0', OPTION_TEXTS, AT(exclude), "PATTERN", "leave out matching tensors"},
    {"csv", '\0', OPTION_FLAG, AT(csv), NULL, "print the table as CSV, with every number",
     .details = "Numbers have 17 digits, so that they are exact."},
    {"rank", '\0', OPTION_FLAG, AT(rank), NULL, "print effective ranks of the task vectors",
     .details = "The effective rank of a matrix is exp of the entropy of its singular values (Roy "
                "and Vetterli 2007); several matrices have the mean. Needs --base and LAPACK, and "
                "holds a whole "
                "matrix per thread."},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object has models, base, identical, report, total and rows."),
    {NULL}};

/* ---- rows ------------------------------------------------------------------------------------ */

/*
 * One row of the table: a tensor, or the sum of those of one block or role.
 *
 * `memory` belongs to `sum`: mc_compared_add keeps its sums there. Freed by free_groups.
 */
typedef struct group {
    char *label;
    mc_compared sum;
    void *memory;
} group;

typedef struct groups {
    group *items;
    size_t count;
} groups;

static char *label_of(const char *by, const mc_compared *one)
{
    if (strcmp(by, "tensor") == 0)
        return visible_text(one->name);
    if (strcmp(by, "role") == 0)
        return format_text("%s", one->role);
    if (strcmp(by, "total") == 0)
        return format_text("total");
    return one->block < 0 ? format_text("outside") : format_text("%d", one->block);
}

/* The rows of a block need not be neighbours; a tensor has one row (`unique`). */
static group *group_of(groups *all, bool unique, char *label, size_t size)
{
    /*
     * From the end: consecutive tensors mostly belong to the same block, so the search ends at
     * once.
     */
    for (size_t i = unique ? 0 : all->count; i-- > 0;)
        if (strcmp(all->items[i].label, label) == 0) {
            free(label);
            return &all->items[i];
        }
    all->items = reallocate(all->items, (all->count + 1) * sizeof *all->items);
    group *const added = &all->items[all->count++];
    *added = (group){.label = label, .memory = allocate(size)};
    memset(added->memory, 0, size);
    return added;
}

/* Blocks by number, and before them what lies outside of them. */
static int compare_labels(const void *a, const void *b)
{
    const char *const x = ((const group *)a)->label, *const y = ((const group *)b)->label;
    const long left = strcmp(x, "outside") == 0 ? -1 : strtol(x, NULL, 10);
    const long right = strcmp(y, "outside") == 0 ? -1 : strtol(y, NULL, 10);
    return (left > right) - (left < right);
}

/*
 * Sums of squares and products are additive, so rows need one pass over the tensors. `by` decides
 * the label; equal labels share a row.
 */
static groups group_by(const char *by, const mc_comparison *comparison)
{
    groups all = {0};
    const size_t size = mc_comparison_sum_size(comparison);
    for (size_t i = 0; i < mc_comparison_count(comparison); i++) {
        mc_compared one;
        mc_comparison_at(comparison, i, &one);
        group *const into = group_of(&all, strcmp(by, "tensor") == 0, label_of(by, &one), size);
        mc_compared_add(&into->sum, into->memory, &one);
    }
    if (strcmp(by, "block") == 0)
        qsort(all.items, all.count, sizeof *all.items, compare_labels);
    return all;
}

static void free_groups(groups *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->items[i].label);
        free(all->items[i].memory);
    }
    free(all->items);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static int64_t most_different(const mc_compared *one)
{
    int64_t most = 0;
    for (size_t m = 0; m < one->models; m++) {
        const int64_t different = mc_compared_different(one, m);
        most = different > most ? different : most;
    }
    return most;
}

/* ---- JSON and CSV ---------------------------------------------------------------------------- */

static json_t *json_number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null(); /* JSON has no NaN */
}

static json_t *json_cosines(const mc_compared *one)
{
    json_t *const rows = json_array();
    for (size_t a = 0; a < one->models; a++) {
        json_t *const row = json_array();
        for (size_t b = 0; b < one->models; b++)
            json_array_append_new(row, json_number_or_null(mc_compared_cosine(one, a, b)));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *json_row(const group *row, bool rank)
{
    const mc_compared *const one = &row->sum;
    json_t *const norms = json_array(), *const means = json_array();
    json_t *const largest = json_array(), *const different = json_array();
    for (size_t m = 0; m < one->models; m++) {
        json_array_append_new(norms, json_number_or_null(mc_compared_norm(one, m)));
        json_array_append_new(means, json_number_or_null(mc_compared_mean(one, m)));
        json_array_append_new(largest, json_number_or_null(mc_compared_largest(one, m)));
        json_array_append_new(different, json_integer(mc_compared_different(one, m)));
    }
    json_t *const object = json_pack("{s:o, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "name",
                                     json_text(row->label), "elements", (json_int_t)one->elements,
                                     "base_norm", json_number_or_null(one->base_norm), "agree",
                                     (json_int_t)one->agree, "conflict", (json_int_t)one->conflict,
                                     "norms", norms, "mean_difference", means, "largest_difference",
                                     largest, "different", different, "cosines", json_cosines(one));
    json_t *const ranks = json_array();
    for (size_t m = 0; rank && m < one->models; m++)
        json_array_append_new(ranks, json_number_or_null(mc_compared_rank(one, m)));
    if (rank)
        json_object_set(object, "effective_ranks", ranks);
    json_decref(ranks);
    return object;
}

static json_t *json_names(const mc_comparison *comparison)
{
    json_t *const names = json_array();
    for (size_t i = 0; i < mc_comparison_models(comparison); i++)
        json_array_append_new(names, json_text(mc_comparison_model(comparison, i)));
    return names;
}

static json_t *json_report(const mc_report *report)
{
    json_t *const lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        json_array_append_new(lines, json_text(mc_report_line(report, i)));
    return lines;
}

static void print_object(const mc_comparison *comparison, const groups *rows, bool rank)
{
    groups total = group_by("total", comparison);
    json_t *const list = json_array();
    for (size_t i = 0; i < rows->count; i++)
        json_array_append_new(list, json_row(&rows->items[i], rank));
    json_t *const sum = total.count ? json_row(&total.items[0], rank) : json_null();
    const size_t models = mc_comparison_models(comparison);
    print_json(json_pack("{s:o, s:o, s:b, s:o, s:o, s:o}", "models", json_names(comparison), "base",
                         json_text(mc_comparison_model(comparison, models)), "identical",
                         (int)mc_comparison_identical(comparison), "report",
                         json_report(mc_comparison_report(comparison)), "total", sum, "rows",
                         list));
    free_groups(&total);
}

/* RFC 4180: a text with a comma, a quotation mark or a line end is quoted. */
static void print_csv_text(const char *text)
{
    if (!strpbrk(text, ",\"\n\r")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const char *by, const groups *rows, bool rank)
{
    const size_t models = rows->items[0].sum.models;
    printf("%s,elements,base_norm,agree,conflict", by);
    for (size_t m = 1; m <= models; m++)
        printf(",norm_%zu,mean_difference_%zu,largest_difference_%zu,different_%zu", m, m, m, m);
    for (size_t a = 1; a <= models; a++)
        for (size_t b = a + 1; b <= models; b++)
            printf(",cosine_%zu_%zu", a, b);
    for (size_t m = 1; rank && m <= models; m++)
        printf(",effective_rank_%zu", m);
    putchar('\n');
    for (size_t i = 0; i < rows->count; i++) {
        const mc_compared *const one = &rows->items[i].sum;
        print_csv_text(rows->items[i].label);
        printf(",%lld,%.17g,%lld,%lld", (long long)one->elements, one->base_norm,
               (long long)one->agree, (long long)one->conflict);
        for (size_t m = 0; m < models; m++)
            printf(",%.17g,%.17g,%.17g,%lld", mc_compared_norm(one, m), mc_compared_mean(one, m),
                   mc_compared_largest(one, m), (long long)mc_compared_different(one, m));
        for (size_t a = 0; a < models; a++)
            for (size_t b = a + 1; b < models; b++)
                printf(",%.17g", mc_compared_cosine(one, a, b));
        for (size_t m = 0; rank && m < models; m++)
            printf(",%.17g", mc_compared_rank(one, m));
        putchar('\n');
    }
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* A cosine or ratio; "-" where there is none. */
static void add_ratio(table *rows, int digits, double value)
{
    if (isfinite(value))
        table_add(rows, "%.*f", digits, value);
    else
        table_add(rows, "-");
}

static char *title_of(const char *by)
{
    char *const title = format_text("%s", by);
    for (char *c = title; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return title;
}

/*
 * Task vectors: norms relative to the base's, cosines, signs.
 *
 * Model names do not fit above columns, so models are numbered; print_cosines lists the names.
 */
static void print_task_vectors(const char *by, const groups *all, bool rank)
{
    const size_t models = all->items[0].sum.models;
    const size_t columns = models + 4 + (rank ? models : 0);
    char **const titles = allocate((columns + 1) * sizeof *titles);
    titles[0] = title_of(by);
    for (size_t m = 0; m < models; m++)
        titles[1 + m] = format_text("CHANGE %zu", m + 1);
    titles[models + 1] = format_text("COSINE");
    titles[models + 2] = format_text("AGREE");
    titles[models + 3] = format_text("CONFLICT");
    for (size_t m = 0; rank && m < models; m++)
        titles[models + 4 + m] = format_text("RANK %zu", m + 1);
    /*
     * Every column but the first is numeric. The mask has 32 bits: tables that are wider are
     * aligned to the left.
     */
    table rows = {
        .titles = (const char *const *)titles, .columns = columns, .right = columns < 32 ? ~1U : 0};
    for (size_t i = 0; i < all->count; i++) {
        const mc_compared *const one = &all->items[i].sum;
        table_add(&rows, "%s", all->items[i].label);
        for (size_t m = 0; m < models; m++)
            add_ratio(&rows, 4, mc_compared_norm(one, m) / one->base_norm);
        add_ratio(&rows, 3, mc_compared_mean_cosine(one));
        table_add(&rows, "%.1f %%", 100 * share(one->agree, one->elements));
        table_add(&rows, "%.1f %%", 100 * share(one->conflict, one->elements));
        for (size_t m = 0; rank && m < models; m++)
            add_ratio(&rows, 1, mc_compared_rank(one, m));
    }
    table_finish(&rows, stdout);
    for (size_t i = 0; i < columns; i++)
        free(titles[i]);
    free(titles);
}

static void print_cosines(const mc_comparison *comparison)
{
    groups total = group_by("total", comparison);
    const size_t models = mc_comparison_models(comparison);
    table rows = {.columns = models + 1, .indent = 2, .right = models < 31 ? ~1U : 0};
    for (size_t a = 0; a < models; a++) {
        char *const name = visible_text(mc_comparison_model(comparison, a));
        table_add(&rows, "%zu %s", a + 1, name);
        free(name);
        for (size_t b = 0; b < models; b++)
            add_ratio(&rows, 3, mc_compared_cosine(&total.items[0].sum, a, b));
    }
    printf("\ncosines between task vectors\n");
    table_finish(&rows, stdout);
    free_groups(&total);
}

/* Models beside a first one: only what differs. */
static void print_differences(const char *by, const mc_comparison *comparison, const groups *all)
{
    char *const title = title_of(by);
    const char *const titles[] = {title, "MODEL", "DIFFERENT", "LARGEST", "MEAN"};
    table rows = {.titles = titles, .columns = 5, .right = 0x1c};
    for (size_t i = 0; i < all->count; i++) {
        const mc_compared *const one = &all->items[i].sum;
        /*
         * A checkpoint has hundreds of tensors; those that are equal would hide those that differ.
         */
        if (most_different(one) == 0 && strcmp(by, "tensor") == 0)
            continue;
        for (size_t m = 0; m < one->models; m++) {
            char *const name = visible_text(mc_comparison_model(comparison, m));
            table_add(&rows, "%s", all->items[i].label);
            table_add(&rows, "%s", name);
            table_add(&rows, "%.2f %%", 100 * share(mc_compared_different(one, m), one->elements));
            table_add(&rows, "%.3g", mc_compared_largest(one, m));
            table_add(&rows, "%.3g", mc_compared_mean(one, m));
            free(name);
        }
    }
    if (rows.count > 0)
        table_finish(&rows, stdout);
    free(title);
}

static void print_result(const compare_settings *settings, const char *by,
                         const mc_comparison *comparison)
{
    groups rows = group_by(by, comparison);
    const mc_report *const report = mc_comparison_report(comparison);
    for (size_t i = 0; i < mc_report_count(report) && !settings->common.quiet; i++)
        say("note", mc_report_line(report, i));
    if (settings->common.json) {
        print_object(comparison, &rows, settings->rank);
        /* No tensor was compared: the tables and the CSV header need a first row. */
    } else if (rows.count == 0) {
        puts("different");
    } else if (settings->csv) {
        print_csv(by, &rows, settings->rank);
    } else if (settings->base) {
        print_task_vectors(by, &rows, settings->rank);
        if (mc_comparison_models(comparison) > 1)
            print_cosines(comparison);
    } else {
        print_differences(by, comparison, &rows);
        puts(mc_comparison_identical(comparison) ? "identical" : "different");
    }
    free_groups(&rows);
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static mc_status choose_rows(const compare_settings *settings, const char **by, mc_error *error)
{
    static const char *const known[] = {"block", "role", "tensor", "total"};
    *by = settings->by ? settings->by : settings->base ? "block" : "tensor";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(*by, known[i]) == 0)
            return MC_OK;
    return mc_fail(error, MC_USAGE, "--by: expected block, role, tensor or total, found '%s'", *by);
}

static mc_status compare_models(const compare_settings *settings, mc_model *const *models,
                                size_t count, mc_comparison **out, mc_error *error)
{
    const mc_compare_input input = {.models = (const mc_model *const *)models,
                                    .model_count = count - (settings->base != NULL),
                                    .base = settings->base ? models[count - 1] : NULL,
                                    .exclude = settings->exclude.items,
                                    .exclude_count = settings->exclude.count,
                                    .rank = settings->rank};
    return run_comparison(&input, &settings->common, settings->threads, out, error);
}

static mc_status compare(const compare_settings *settings, const text_list *operands, bool *same,
                         mc_error *error)
{
    const size_t count = operands->count + (settings->base != NULL);
    const char *by = NULL;
    mc_status status = choose_rows(settings, &by, error);
    if (settings->rank && !settings->base)
        return mc_fail(error, MC_USAGE, "--rank: expected --base MODEL, found none");
    if (status == MC_OK && count < 2)
        return mc_fail(error, MC_USAGE,
                       "expected two models or more, or models and --base, found %zu model%s",
                       operands->count, plural((int64_t)operands->count));
    if (status != MC_OK)
        return status;
    const char **const names = allocate(count * sizeof *names);
    mc_model **const models = allocate(count * sizeof *models);
    mc_comparison *comparison = NULL;
    for (size_t i = 0; i < operands->count; i++)
        names[i] = operands->items[i];
    if (settings->base)
        /* The base is opened with the models, so that all downloads share one progress display. */
        names[count - 1] = settings->base;
    status = open_models(names, count, &settings->common, false, models, error);
    const size_t opened = status == MC_OK ? count : 0;
    if (status == MC_OK)
        status = compare_models(settings, models, count, &comparison, error);
    if (status == MC_OK) {
        print_result(settings, by, comparison);
        *same = mc_comparison_identical(comparison);
    }
    mc_comparison_free(comparison);
    for (size_t i = 0; i < opened; i++)
        mc_model_close(models[i]);
    free(models);
    free(names);
    return status;
}

/* As cmp: 0 if models are equal, 1 if they differ, 2 after an error. With a base: 0, or 2. */
static int run(const subcommand *self, const char *const *arguments)
{
    compare_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    bool same = true;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        if (compare(&settings, &operands, &same, &error) != MC_OK) {
            status = report_failure(self, &settings.common, &error);
            /* 1 means "different" here. */
            status = status == EXIT_FAILED ? EXIT_USAGE : status;
        } else if (!settings.base && !same) {
            status = EXIT_FAILED;
        }
    }
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_compare = {
    .name = "compare",
    .arguments = "MODEL... [options]",
    .help = "Compare models with their base, or with each other.",
    .text = "With --base, prints per block how far each model moved from the base (norm of\n"
            "its task vector / norm of the base), the mean cosine between task vectors, and\n"
            "the shares of elements whose signs agree and conflict. Without it, prints how\n"
            "the models differ from the first one; exits with 0 if they do not, with 1 if\n"
            "they do, and with 2 after an error.\n",
    .example = "  mergecraft compare examples/models/rte-1 examples/models/rte-2 \\\n"
               "      --base examples/models/base\n"
               "  mergecraft compare examples/models/rte-1 examples/models/rte-1\n",
    .options = options,
    .run = run};

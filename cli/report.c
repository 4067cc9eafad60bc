/* mergecraft report: a merge or a search as one HTML page. */
#include "report.h"

#include "comparison.h"
#include "lookup.h"
#include "output.h"
#include "record.h"
#include "subcommands.h"
#include "written.h"

#include <mergecraft/report.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct report_settings {
    common_options common;
    const char *output, *journal;
    uint64_t threads;
    bool no_compare, overwrite;
} report_settings;

#define AT(field_) offsetof(report_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "FILE", "write the page to a file",
     .details = "Without it, the page goes to standard output."},
    {"journal", '\0', OPTION_TEXT, AT(journal), "FILE", "journal of the search that made the merge",
     .details = "The page then describes the search and the merge."},
    {"no-compare", '\0', OPTION_FLAG, AT(no_compare), NULL, "do not read the models",
     .details = "The page then has no heat maps."},
    {"overwrite", '\0', OPTION_FLAG, AT(overwrite), NULL, "replace an existing file"},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object has output, bytes, compared and note, which is null or explains why "
                   "the models were not compared. Needs -o."),
    {NULL}};

/* ---- the models of a merge or a search ------------------------------------------------------- */

/* Names of models, as open_models takes them, then the base if there is one. */
typedef struct names {
    char **items;
    size_t count;
    bool has_base;
} names;

static void free_names(names *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->items[i]);
    free(all->items);
}

/* An object of mergecraft.json, or a name of a journal. */
static char *name_of(const json_t *model)
{
    return json_is_object(model)
               ? record_model(model)
               : format_text("%s", json_is_string(model) ? json_string_value(model) : "");
}

static names names_of(const json_t *object)
{
    const json_t *const models = json_object_get(object, "models");
    const json_t *const base = json_object_get(object, "base");
    const size_t count = json_array_size(models);
    names all = {.items = allocate((count + 1) * sizeof *all.items)};
    for (size_t i = 0; i < count; i++)
        all.items[all.count++] = name_of(json_array_get(models, i));
    all.has_base = base && !json_is_null(base);
    if (all.has_base)
        all.items[all.count++] = name_of(base);
    return all;
}

/* The first line of a journal; NULL and no error if it is not one: the report itself fails then. */
static json_t *load_header(const char *path)
{
    FILE *const file = fopen(path, "re");
    json_t *const header = file ? json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    if (file)
        fclose(file);
    return header;
}

static mc_status find_models(const report_job *job, names *all, mc_error *error)
{
    json_t *object = NULL;
    mc_status status = MC_OK;
    if (job->folder) {
        char *const path = format_text("%s/mergecraft.json", job->folder);
        status = record_load(path, &object, error);
        free(path);
    } else {
        object = load_header(job->journal);
    }
    if (status == MC_OK)
        *all = names_of(object);
    json_decref(object);
    return status;
}

/* ---- comparison ------------------------------------------------------------------------------ */

static mc_status compare_models(const report_job *job, const names *all, mc_model *const *models,
                                mc_comparison **out, mc_error *error)
{
    const mc_compare_input input = {.models = (const mc_model *const *)models,
                                    .model_count = all->count - all->has_base,
                                    .base = all->has_base ? models[all->count - 1] : NULL};
    return run_comparison(&input, job->common, job->threads, out, error);
}

/* What is on the page, and what it was made from. */
typedef struct page {
    names all;
    mc_model **models; /* NULL: not opened */
    mc_comparison *comparison;
    char *note; /* why there is no comparison */
    char *html;
} page;

static void free_page(page *p)
{
    mc_html_report_free(p->html);
    mc_comparison_free(p->comparison);
    for (size_t i = 0; p->models && i < p->all.count; i++)
        mc_model_close(p->models[i]);
    free(p->models);
    free(p->note);
    free_names(&p->all);
}

/* Only an interruption is an error: a report without the comparison is still worth having. */
static mc_status compare(const report_job *job, page *p, mc_error *error)
{
    mc_model **const models = allocate((p->all.count + 1) * sizeof *models);
    mc_status status = p->all.count < 2
                           ? mc_fail(error, MC_USAGE, "there is nothing to compare the model with")
                           : open_models((const char *const *)p->all.items, p->all.count,
                                         job->common, false, models, error);
    if (status == MC_OK) {
        p->models = models;
        status = compare_models(job, &p->all, models, &p->comparison, error);
    } else {
        free(models);
    }
    if (status == MC_OK || status == MC_INTERRUPTED || status == MC_NO_MEMORY)
        return status;
    char text[6000];
    p->note = format_text("%s", mc_error_message(error, text, sizeof text));
    char *const line = format_text("the models were not compared: %s", p->note);
    if (!job->common->quiet)
        say("note", line);
    free(line);
    return MC_OK;
}

/* ---- output ---------------------------------------------------------------------------------- */

static bool write_page(const void *arg, FILE *file)
{
    return fputs(arg, file) >= 0;
}

static mc_status write_result(const report_job *job, const page *p, mc_error *error)
{
    if (!job->output) {
        fputs(p->html, stdout);
        return MC_OK;
    }
    return written_make(job->output, write_page, p->html, error);
}

static mc_status make_page(const report_job *job, page *p, mc_error *error)
{
    const mc_html_report_input input = {.folder = job->folder,
                                        .journal = job->journal,
                                        .comparison = p->comparison,
                                        .note = p->note};
    mc_status status = mc_html_report(&input, &p->html, error);
    if (status == MC_OK)
        status = write_result(job, p, error);
    return status;
}

static mc_status make_report(const report_job *job, page *p, mc_error *error)
{
    /* Files that are not what they should be are found before the models are read. */
    const mc_html_report_input check = {.folder = job->folder, .journal = job->journal};
    mc_status status = mc_html_report(&check, &p->html, error);
    if (status != MC_OK || !job->compare)
        return status == MC_OK ? write_result(job, p, error) : status;
    mc_html_report_free(p->html);
    p->html = NULL;
    status = find_models(job, &p->all, error);
    if (status == MC_OK)
        status = compare(job, p, error);
    if (status == MC_OK)
        status = make_page(job, p, error);
    return status;
}

mc_status report_write(const report_job *job, mc_error *error)
{
    page p = {0};
    const mc_status status = make_report(job, &p, error);
    free_page(&p);
    return status;
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static mc_status check(const report_settings *settings, const text_list *operands, mc_error *error)
{
    if (operands->count != 1)
        return mc_fail(error, MC_USAGE,
                       "expected the folder of a merged model or the journal of a search, found "
                       "%zu arguments",
                       operands->count);
    if (settings->common.json && !settings->output)
        return mc_fail(error, MC_USAGE, "--json needs a file for the page: give it with -o FILE");
    if (settings->journal && !is_folder(operands->items[0]))
        return mc_fail(error, MC_USAGE,
                       "--journal: expected the folder of a merged model, found '%s'",
                       operands->items[0]);
    return settings->output ? written_check("--output", settings->output, settings->overwrite,
                                            operands->items[0], error)
                            : MC_OK;
}

static mc_status report(const void *chosen, const text_list *operands, mc_error *error)
{
    const report_settings *const settings = chosen;
    page p = {0};
    mc_status status = check(settings, operands, error);
    if (status == MC_OK) {
        const bool folder = is_folder(operands->items[0]);
        const report_job job = {.common = &settings->common,
                                .folder = folder ? operands->items[0] : NULL,
                                .journal = folder ? settings->journal : operands->items[0],
                                .output = settings->output,
                                .compare = !settings->no_compare,
                                .threads = settings->threads};
        status = make_report(&job, &p, error);
    }
    if (status == MC_OK && settings->common.json)
        print_json(json_pack("{s:o, s:I, s:b, s:o}", "output", json_text(settings->output), "bytes",
                             (json_int_t)strlen(p.html), "compared", p.comparison != NULL, "note",
                             json_text(p.note)));
    free_page(&p);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    report_settings settings = {0};
    /* The models are those of a merge that was made: a report does not download them again. */
    setenv("HF_HUB_OFFLINE", "1", 1);
    return run_subcommand(self, arguments, &settings, report);
}

const subcommand subcommand_report = {
    .name = "report",
    .arguments = "DIR|JOURNAL [options]",
    .help = "Write an HTML report on a merge or a search.",
    .text = "DIR is a folder that mergecraft merge wrote, JOURNAL the journal of mergecraft\n"
            "search. The page is one file that needs no network: scores, the search, heat\n"
            "maps of the models by block and role, warnings, and the recipe. The models are\n"
            "compared if they are on this machine.\n",
    .example = "  mergecraft merge ties examples/models/rte-1 examples/models/rte-2 \\\n"
               "      --base examples/models/base -o merged\n"
               "  mergecraft report merged -o report.html\n",
    .options = options,
    .run = run};

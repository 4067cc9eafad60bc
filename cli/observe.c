/* mergecraft observe: statistics of a model on a data set, for data-driven methods. */
#include "observe.h"
#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "progress.h"
#include "signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct observe_settings {
    common_options common;
    const char *output, *form;
    bool gram, fisher, overwrite;
    observe_request request;
} observe_settings;

#define AT(field_) offsetof(observe_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "FILE", "statistics file to write",
     .details = "Without this option, the file is written to the user's cache, where merge --data "
                "finds it, and its path is printed."},
    {"gram", '\0', OPTION_FLAG, AT(gram), NULL, "Gram matrices of the inputs of linear layers",
     .details = "Means over all tokens except padding, as regmean needs them."},
    {"fisher", '\0', OPTION_FLAG, AT(fisher), NULL, "diagonal Fisher information of all weights",
     .details = "The mean over the examples, as fisher needs it."},
    {"form", '\0', OPTION_TEXT, AT(form), "exact|empirical", "kind of Fisher information", "exact",
     .details = "exact: the expectation over the labels that the model predicts; the examples "
                "need no labels. empirical: by the labels of the examples."},
    {"data", '\0', OPTION_TEXT, AT(request.data), "TASK|FILE", "examples: a GLUE task or a file",
     .details = "Required. A task is read from the folder MERGECRAFT_DATA, if it is set, or else "
                "from nyu-mll/glue on the Hub. A file needs --task or --text."},
    {"task", '\0', OPTION_TEXT, AT(request.task), "TASK", "GLUE task whose format the file has"},
    {"text", '\0', OPTION_TEXT, AT(request.columns.text), "COLUMN",
     "own data: column of the texts"},
    {"pair", '\0', OPTION_TEXT, AT(request.columns.pair), "COLUMN",
     "own data: column of the second texts of pairs"},
    {"label", '\0', OPTION_TEXT, AT(request.columns.label), "COLUMN",
     "own data: column of the labels"},
    {"split", '\0', OPTION_TEXT, AT(request.split), "NAME", "split of a task", "validation"},
    {"examples", '\0', OPTION_NUMBER, AT(request.examples), "N", "observe the first N examples",
     "all", 1, 1 << 22},
    {"overwrite", '\0', OPTION_FLAG, AT(overwrite), NULL, "replace an existing file"},
    {"threads", '\0', OPTION_NUMBER, AT(request.threads), "N", "worker threads", "all CPUs", 1,
     1024, .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object has model, path, cached, examples, tokens, truncated and seconds."),
    {NULL}};

/* ---- examples -------------------------------------------------------------------------------- */

static const char *task_of(const observe_request *r)
{
    /* --task names the task of a file; without it, --data may name a task itself. */
    return r->task ? r->task : mc_glue_task_find(r->data) ? r->data : NULL;
}

mc_status observe_check(const observe_request *r, mc_error *error)
{
    if (!r->data)
        return mc_fail(error, MC_USAGE, "expected --data TASK or --data FILE, found none");
    if (!r->columns.text && (r->columns.pair || r->columns.label))
        return mc_fail(error, MC_USAGE, "expected --text COLUMN with --%s, found none",
                       r->columns.pair ? "pair" : "label");
    if (r->columns.text && r->task)
        return mc_fail(error, MC_USAGE, "expected --task or --text, found both");
    if (!r->columns.text && !task_of(r))
        return mc_fail(error, MC_USAGE,
                       "--data: expected a GLUE task, or a file with --task TASK or --text COLUMN, "
                       "found '%s'",
                       r->data);
    return MC_OK;
}

/* Tasks of the user's own data belong to the caller: *own. */
static mc_status load_task(const observe_request *r, const common_options *common,
                           const mc_glue_task **task, mc_glue_data **data, mc_error *error)
{
    const char *split = NULL;
    mc_status status = find_task(task_of(r), task, error);
    if (status == MC_OK)
        status = find_split(*task, r->split, &split, error);
    if (status != MC_OK)
        return status;
    /* With --task, --data is a file or a folder. */
    if (r->task)
        return mc_glue_load(*task, r->data, split, data, error);
    fetch_display display = fetch_begin(common);
    const mc_hub_options hub = fetch_options(&display);
    status = mc_glue_load_default(*task, split, &hub, data, error);
    fetch_end(&display);
    return status;
}

static mc_status load_examples(const observe_request *r, const common_options *common,
                               const mc_pipeline *pipeline, mc_glue_task **own,
                               const mc_glue_task **task, mc_glue_data **data, mc_error *error)
{
    mc_status status = MC_OK;
    if (r->columns.text) {
        status = mc_pipeline_task(pipeline, r->data, &r->columns, own, error);
        *task = *own;
        if (status == MC_OK)
            status = mc_glue_load(*task, r->data, NULL, data, error);
    } else {
        status = load_task(r, common, task, data, error);
    }
    if (status == MC_OK && r->examples)
        mc_glue_limit(*data, r->examples);
    return status;
}

/* ---- a model --------------------------------------------------------------------------------- */

/* Reports a text and frees it; NULL: nothing to report. Under --strict it is an error. */
static mc_status say_one(const observe_request *r, const common_options *common, const char *kind,
                         char *text, mc_error *error)
{
    mc_status status = MC_OK;
    if (text && r->strict)
        status = mc_fail(error, MC_MISMATCH, "%s (strict)", text);
    else if (text && !common->quiet)
        say(kind, text);
    free(text);
    return status;
}

mc_status observe_say(const observe_request *r, const common_options *common,
                      const mc_observe_result *result, mc_error *error)
{
    char *const fewer = r->examples > result->examples
                            ? format_text("--examples: expected %llu, found %zu",
                                          (unsigned long long)r->examples, result->examples)
                            : NULL;
    mc_status status = say_one(r, common, "note", fewer, error);
    if (status == MC_OK && result->truncated)
        status = say_one(
            r, common, "note",
            format_text("%zu of %zu examples were truncated", result->truncated, result->examples),
            error);
    if (status == MC_OK && result->labels_guessed)
        status = say_one(r, common, "warning",
                         format_text("the model's labels have no names: the order of the task's "
                                     "labels is assumed"),
                         error);
    if (status == MC_OK && result->singular)
        status = say_one(r, common, "warning",
                         format_text("the widest layer has more inputs than the %zu tokens: "
                                     "its Gram matrix is singular; observe more examples",
                                     result->tokens),
                         error);
    return status;
}

void observe_close(observed *o)
{
    mc_glue_data_free(o->data);
    mc_glue_task_free(o->own);
    mc_pipeline_close(o->pipeline);
    mc_model_close(o->model);
    *o = (observed){0};
}

mc_status observe_open(const observe_request *r, const char *name, const common_options *common,
                       observed *out, mc_error *error)
{
    /*
     * Without weights: observing reads them from the model in the form that gradients need, and a
     * pipeline's packed copy would take their memory again.
     */
    const mc_pipeline_options plain = {.threads = (int)r->threads};
    mc_status status = open_model(name, common, &out->model, error);
    if (status == MC_OK && !mc_model_config(out->model))
        status = mc_fail(error, MC_NOT_FOUND, "%s: expected config.json, found none", name);
    if (status == MC_OK)
        status = mc_pipeline_new(mc_model_config(out->model), mc_model_folder(out->model), &plain,
                                 &out->pipeline, error);
    if (status == MC_OK)
        status = load_examples(r, common, out->pipeline, &out->own, &out->task, &out->data, error);
    return status;
}

mc_status observe_model(const observe_request *r, const char *name, const char *path,
                        const common_options *common, mc_observe_result *result, mc_error *error)
{
    observed o = {0};
    mc_status status = observe_open(r, name, common, &o, error);
    progress_display display = progress_begin(common);
    mc_pipeline_run run = {.cancel = catch_signals()};
    display.unit = "tokens";
    if (display.bar || display.lines) {
        run.progress = progress_tokens;
        run.user = &display;
    }
    if (status == MC_OK)
        status = mc_pipeline_observe(o.pipeline, mc_model_state_dict(o.model), o.task, o.data,
                                     &r->what, &run, path, result, error);
    progress_end(&display);
    if (status == MC_OK)
        status = observe_say(r, common, result, error);
    observe_close(&o);
    return status;
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static mc_status check_arguments(observe_settings *s, const text_list *operands, mc_error *error)
{
    if (operands->count != 1)
        return mc_fail(error, MC_USAGE, "expected one model, found %zu argument%s", operands->count,
                       plural((int64_t)operands->count));
    if (!s->gram && !s->fisher)
        return mc_fail(error, MC_USAGE, "expected --gram or --fisher, found neither");
    if (s->form && strcmp(s->form, "exact") != 0 && strcmp(s->form, "empirical") != 0)
        return mc_fail(error, MC_USAGE, "--form: expected exact or empirical, found '%s'", s->form);
    if (s->output && !s->overwrite && access(s->output, F_OK) == 0)
        return mc_fail(error, MC_EXISTS, "%s exists; --overwrite replaces it", s->output);
    s->request.what = (mc_observe_options){.grams = s->gram,
                                           .fishers = s->fisher,
                                           .form = s->form && strcmp(s->form, "empirical") == 0
                                                       ? MC_FISHER_EMPIRICAL
                                                       : MC_FISHER_EXACT};
    return observe_check(&s->request, error);
}

static void print_result(const observe_settings *s, const char *model,
                         const mc_observe_result *result)
{
    const double seconds = round(result->seconds * 1000) / 1000;
    if (s->common.json) {
        print_json(json_pack("{s:o, s:o, s:b, s:I, s:I, s:I, s:f}", "model", json_text(model),
                             "path", json_text(result->path), "cached", (int)result->cached,
                             "examples", (json_int_t)result->examples, "tokens",
                             (json_int_t)result->tokens, "truncated", (json_int_t)result->truncated,
                             "seconds", seconds));
        return;
    }
    char *const path = visible_text(result->path);
    if (result->cached)
        printf("%s: cached\n", path);
    else
        printf("%s: %zu example%s, %zu tokens in %.2f s\n", path, result->examples,
               plural((int64_t)result->examples), result->tokens, seconds);
    free(path);
}

static int run(const subcommand *self, const char *const *arguments)
{
    observe_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    mc_observe_result result;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        mc_status done = check_arguments(&settings, &operands, &error);
        if (done == MC_OK)
            done = observe_model(&settings.request, operands.items[0], settings.output,
                                 &settings.common, &result, &error);
        if (done == MC_OK)
            print_result(&settings, operands.items[0], &result);
        else
            status = report_failure(self, &settings.common, &error);
    }
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_observe = {
    .name = "observe",
    .arguments = "MODEL --gram|--fisher --data TASK|FILE [options]",
    .help = "Compute statistics of a model on a data set.",
    .text = "The statistics are side inputs of data-driven methods: merge --stats takes the\n"
            "files. BERT, RoBERTa and DistilBERT models for text classification.\n",
    .example = "  mergecraft observe examples/models/rte-1 --gram --fisher --task rte \\\n"
               "      --data examples/models/data -o rte.stats\n",
    .options = options,
    .run = run};

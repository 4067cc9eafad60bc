/* mergecraft merge: merges several models into one folder. */
#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "progress.h"
#include "score.h"
#include "signals.h"

#include <mergecraft/merge.h>
#include <mergecraft/recipe.h>
#include <mergecraft/text.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct merge_settings {
    common_options common;
    const char *output, *base, *dtype, *keep;
    text_list params, passthrough, exclude, lists;
    int64_t shard_size, memory;
    uint64_t seed, threads;
    bool strict, dry_run, overwrite, no_sync;
    score_settings score;
} merge_settings;

#define AT(field_) offsetof(merge_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "DIR", "output folder",
     .details = "Required unless --dry-run or --eval is given. With --eval and without --output, "
                "the models are merged in memory and nothing is written."},
    {"base", '\0', OPTION_TEXT, AT(base), "MODEL", "pretrained ancestor of the models",
     .details = "No model is ever taken for the base unless this option names it."},
    {"param", 'p', OPTION_TEXTS, AT(params), "NAME=VALUE", "parameter of the method"},
    {"passthrough", '\0', OPTION_TEXTS, AT(passthrough), "PATTERN",
     "average matching tensors instead",
     .details =
         "Tensors whose names match this shell pattern are averaged over the models instead of "
         "merged by the method. Use it for a classifier head."},
    {"exclude", '\0', OPTION_TEXTS, AT(exclude), "PATTERN", "do not merge matching tensors",
     .details = "Tensors whose names match this shell pattern are copied from one model. Use it "
                "for heads of different sizes."},
    {"keep-head", '\0', OPTION_TEXT, AT(keep), "MODEL", "model that --exclude copies from",
     "the last", .details = "The result has this model's configuration, labels and tokenizer."},
    {"list", '\0', OPTION_TEXTS, AT(lists), "NAME=MODEL,...", "further models, one per model",
     .details = "Some methods need such a list, for instance of Hessians."},
    {"dtype", '\0', OPTION_TEXT, AT(dtype), "f32|f16|bf16", "dtype of the result", "widest input",
     .details = "Integer tensors keep their dtype."},
    {"shard-size", '\0', OPTION_SIZE, AT(shard_size), "SIZE", "largest size of a weights file",
     "5GB"},
    {"seed", '\0', OPTION_NUMBER, AT(seed), "N", "seed of random methods", "0", 0, UINT64_MAX,
     .details = "The same seed gives the same result for any number of threads."},
    {"strict", '\0', OPTION_FLAG, AT(strict), NULL, "treat warnings as errors"},
    {"dry-run", '\0', OPTION_FLAG, AT(dry_run), NULL, "print the plan and write nothing",
     .details =
         "The plan lists how each tensor is made, the bytes to read and write, and the memory."},
    {"overwrite", '\0', OPTION_FLAG, AT(overwrite), NULL, "replace an existing output folder",
     .details = "If the folder is a symbolic link, the target of the link is replaced."},
    {"no-sync", '\0', OPTION_FLAG, AT(no_sync), NULL, "do not flush the result to disk"},
    {"memory", '\0', OPTION_SIZE, AT(memory), "SIZE", "memory for tiles", "64MiB",
     .details = "The result does not depend on it."},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    {"eval", '\0', OPTION_TEXT, AT(score.task), "TASK", "score the result on a GLUE task"},
    {"data", '\0', OPTION_TEXT, AT(score.data), "FILE|DIR|-", "examples for --eval"},
    {"split", '\0', OPTION_TEXT, AT(score.split), "NAME", "split of these examples", "validation"},
    {"eval-dtype", '\0', OPTION_TEXT, AT(score.dtype), "f32|bf16|int8", "precision of --eval",
     "f32"},
    {"predictions", '\0', OPTION_TEXT, AT(score.predictions), "FILE",
     "write the predictions of --eval as JSON lines"},
    COMMON_OPTIONS("The object has output, method, parameters, models, base, lists, warnings, "
                   "tensors, bytes_read, "
                   "bytes_written, bytes_resumed and seconds; with --dry-run the plan and the "
                   "memory instead of "
                   "figures of the run; with --eval also the scores, as eval prints them."),
    {NULL}};

/* ---- what is merged -------------------------------------------------------------------------- */

typedef struct model_list {
    mc_model **models;
    size_t count;
} model_list;

/* Everything that a merge holds on to. */
typedef struct merge_job {
    const merge_settings *settings;
    method_choice method;
    mc_recipe *recipe; /* instead of method and operands; NULL without one */
    char **names;      /* of the models, the base and the lists' models, in this order */
    size_t name_count;
    model_list all; /* opened */
    size_t model_count;
    char **list_names; /* as many as settings->lists; so the next */
    size_t *list_sizes;
    mc_plan *plan;
    score_job score;
    mc_pipeline *pipeline;    /* with the result, once it was scored */
    mc_evaluation evaluation; /* of it */
} merge_job;

static void say_opened(const merge_job *job)
{
    if (!job->settings->common.verbose || job->settings->common.quiet)
        return;
    for (size_t i = 0; i < job->all.count; i++) {
        const mc_model *const model = job->all.models[i];
        char *const text = format_text("opened %s: %s, %zu tensors", mc_model_name(model),
                                       mc_model_format(model),
                                       mc_state_dict_count(mc_model_state_dict(model)));
        say("note", text);
        free(text);
    }
}

static void add_name(merge_job *job, const char *name, size_t length)
{
    job->names = reallocate(job->names, (job->all.count + 1) * sizeof *job->names);
    job->names[job->all.count++] = format_text("%.*s", (int)length, name);
}

/* Names the models of "NAME=MODEL,MODEL". */
static mc_status name_list(merge_job *job, size_t index, mc_error *error)
{
    const char *const text = job->settings->lists.items[index];
    const size_t length = strcspn(text, "="), before = job->all.count;
    job->list_names[index] = format_text("%.*s", (int)length, text);
    if (length == 0 || !text[length] || !text[length + 1])
        return mc_fail(error, MC_USAGE, "--list: expected NAME=MODEL,MODEL..., found '%s'", text);
    for (const char *at = text + length + 1; *at;) {
        const size_t size = strcspn(at, ",");
        if (size > 0)
            add_name(job, at, size);
        at += size + (at[size] != '\0');
    }
    job->list_sizes[index] = job->all.count - before;
    return MC_OK;
}

/* All names, in the order models, base, lists: what has to be downloaded is, together. */
static mc_status name_all(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const size_t lists = settings->lists.count;
    job->list_names = allocate(lists * sizeof *job->list_names);
    job->list_sizes = allocate(lists * sizeof *job->list_sizes);
    for (size_t i = 0; i < lists; i++)
        job->list_names[i] = NULL;
    for (size_t i = 1; i < operands->count; i++)
        add_name(job, operands->items[i], strlen(operands->items[i]));
    job->model_count = job->all.count;
    if (settings->base)
        add_name(job, settings->base, strlen(settings->base));
    mc_status status = MC_OK;
    for (size_t i = 0; i < lists && status == MC_OK; i++)
        status = name_list(job, i, error);
    job->name_count = job->all.count;
    job->all.count = 0;
    return status;
}

static void close_models(merge_job *job)
{
    mc_plan_free(job->plan);
    job->plan = NULL;
    for (size_t i = 0; i < job->all.count; i++)
        mc_model_close(job->all.models[i]);
    free(job->all.models);
    job->all = (model_list){0};
}

static mc_status open_all(merge_job *job, bool headers_only, mc_error *error)
{
    job->all.models = allocate(job->name_count * sizeof *job->all.models);
    const mc_status status = open_models((const char *const *)job->names, job->name_count,
                                         &job->settings->common, headers_only, job->all.models,
                                         error);
    job->all.count = status == MC_OK ? job->name_count : 0;
    return status;
}

static bool is_complete(const merge_job *job)
{
    for (size_t i = 0; job->recipe && i < mc_recipe_model_count(job->recipe); i++)
        if (!mc_model_is_complete(mc_recipe_opened(job->recipe, i)))
            return false;
    for (size_t i = 0; i < job->all.count; i++)
        if (!mc_model_is_complete(job->all.models[i]))
            return false;
    return true;
}

static void close_job(merge_job *job)
{
    mc_evaluation_free(&job->evaluation);
    mc_pipeline_close(job->pipeline);
    score_free(&job->score);
    close_models(job);
    mc_recipe_close(job->recipe);
    for (size_t i = 0; i < job->name_count; i++)
        free(job->names[i]);
    for (size_t i = 0; job->list_names && i < job->settings->lists.count; i++)
        free(job->list_names[i]);
    free(job->names);
    free(job->list_names);
    free(job->list_sizes);
    close_method(&job->method);
}

/* ---- what can be seen to be wrong before anything is opened ---------------------------------- */

static mc_status parse_dtype(const char *text, mc_dtype *dtype, mc_error *error)
{
    if (mc_dtype_parse(text, dtype) && (*dtype == MC_F32 || *dtype == MC_F16 || *dtype == MC_BF16))
        return MC_OK;
    return mc_fail(error, MC_USAGE, "--dtype: expected f32, f16 or bf16, found '%s'", text);
}

static bool has_list(const merge_settings *settings, const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < settings->lists.count; i++) {
        const char *const text = settings->lists.items[i];
        if (strncmp(text, name, length) == 0 && text[length] == '=')
            return true;
    }
    return false;
}

static mc_status check_needs(const merge_settings *settings, const mc_method *method,
                             mc_error *error)
{
    if (method->needs_base && !settings->base) {
        mc_fail(error, MC_USAGE, "%s needs a base model", method->name);
        error->hint = MC_HINT_BASE;
        return MC_USAGE;
    }
    for (const mc_side_input *side = method->sides; side && side->name; side++)
        if (!has_list(settings, side->name)) {
            mc_fail(error, MC_USAGE, "%s needs a list of models named '%s'", method->name,
                    side->name);
            error->hint = MC_HINT_LIST;
            return MC_USAGE;
        }
    return MC_OK;
}

static mc_status several_methods(const char *file, const mc_plugin *plugin, mc_error *error)
{
    if (mc_plugin_method_count(plugin) == 0)
        return mc_fail(error, MC_USAGE, "%s has no method", file);
    return mc_fail(error, MC_USAGE, "%s has several methods: name one, as in %s:%s", file, file,
                   mc_plugin_method(plugin, 0)->name);
}

/* A model "k=.2" that does not exist is a parameter without -p. */
static mc_status check_forgotten_option(const text_list *operands, mc_error *error)
{
    for (size_t i = 1; i < operands->count; i++) {
        const char *const text = operands->items[i];
        const size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz_");
        if (length > 0 && text[length] == '=' && access(text, F_OK) != 0)
            return mc_fail(error, MC_USAGE, "expected a model, found '%s'; did you mean '-p %s'?",
                           text, text);
    }
    return MC_OK;
}

static mc_status check_arguments(const merge_settings *settings, const text_list *operands,
                                 mc_error *error)
{
    mc_dtype ignored;
    const mc_status status = check_forgotten_option(operands, error);
    if (status != MC_OK)
        return status;
    if (operands->count == 0)
        return mc_fail(error, MC_USAGE, "expected a method and models, found none");
    if (operands->count == 1)
        return mc_fail(error, MC_USAGE, "expected models after the method '%s', found none",
                       operands->items[0]);
    if (!settings->output && !settings->dry_run && !settings->score.task)
        return mc_fail(error, MC_USAGE, "expected an output folder: give it with -o DIR");
    if (settings->output && !*settings->output)
        return mc_fail(error, MC_USAGE, "--output: expected a folder, found ''");
    const score_settings *const score = &settings->score;
    if (!score->task && (score->data || score->split || score->dtype || score->predictions))
        return mc_fail(error, MC_USAGE, "expected --eval TASK with --%s, found none",
                       score->data    ? "data"
                       : score->split ? "split"
                       : score->dtype ? "eval-dtype"
                                      : "predictions");
    return settings->dtype ? parse_dtype(settings->dtype, &ignored, error) : MC_OK;
}

/* The place, from 1, of the model that --keep-head names; 0 without the option. */
static mc_status find_kept(const merge_job *job, size_t *place, mc_error *error)
{
    const char *const kept = job->settings->keep;
    *place = 0;
    for (size_t i = 0; kept && i < job->model_count; i++)
        if (strcmp(mc_model_name(job->all.models[i]), kept) == 0)
            *place = i + 1;
    if (kept && job->settings->exclude.count == 0)
        return mc_fail(error, MC_USAGE, "--keep-head: expected --exclude PATTERN with it");
    if (kept && *place == 0)
        return mc_fail(error, MC_USAGE, "--keep-head: expected one of the models, found %s", kept);
    return MC_OK;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static mc_status make_plan(merge_job *job, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const size_t list_count = settings->lists.count;
    const mc_model *const *const models = (const mc_model *const *)job->all.models;
    const mc_model *const **const lists = allocate(list_count * sizeof *lists);
    for (size_t i = 0, at = job->model_count + (settings->base != NULL); i < list_count; i++) {
        lists[i] = models + at;
        at += job->list_sizes[i];
    }
    mc_plan_input input = {.method = job->method.method,
                           .models = models,
                           .model_count = job->model_count,
                           .base = settings->base ? models[job->model_count] : NULL,
                           .list_names = (const char *const *)job->list_names,
                           .lists = lists,
                           .list_count = list_count,
                           .params = settings->params.items,
                           .param_count = settings->params.count,
                           .passthrough = settings->passthrough.items,
                           .passthrough_count = settings->passthrough.count,
                           .exclude = settings->exclude.items,
                           .exclude_count = settings->exclude.count,
                           .seed = settings->seed,
                           .strict = settings->strict,
                           .convert = settings->dtype != NULL};
    mc_status status = settings->dtype ? parse_dtype(settings->dtype, &input.dtype, error) : MC_OK;
    for (size_t i = 0; i < list_count && status == MC_OK; i++)
        if (job->list_sizes[i] != job->model_count)
            status = mc_fail(error, MC_USAGE, "--list: expected %zu models in '%s', found %zu",
                             job->model_count, job->list_names[i], job->list_sizes[i]);
    if (status == MC_OK)
        status = find_kept(job, &input.keep, error);
    if (status == MC_OK)
        status = mc_plan_new(&input, &job->plan, error);
    free(lists);
    return status;
}

static mc_status open_and_plan(merge_job *job, bool headers_only, mc_error *error)
{
    const mc_status status = open_all(job, headers_only, error);
    if (status != MC_OK)
        return status;
    if (job->settings->dry_run || is_complete(job))
        say_opened(job);
    return make_plan(job, error);
}

static mc_run_options run_options(const merge_settings *settings)
{
    mc_run_options run = MC_RUN_DEFAULT;
    run.threads = (int)settings->threads;
    run.memory = settings->memory;
    run.shard_size = settings->shard_size;
    run.overwrite = settings->overwrite;
    run.no_sync = settings->no_sync;
    return run;
}

/* ---- recipes --------------------------------------------------------------------------------- */

static bool is_recipe(const char *name)
{
    const size_t length = strlen(name);
    return (length > 4 && strcmp(name + length - 4, ".yml") == 0) ||
           (length > 5 && strcmp(name + length - 5, ".yaml") == 0);
}

/* A recipe names what is merged and how. */
static mc_status check_recipe_arguments(const merge_settings *settings, const text_list *operands,
                                        mc_error *error)
{
    mc_dtype ignored;
    const char *const ignored_option = settings->base                ? "base"
                                       : settings->params.count      ? "param"
                                       : settings->passthrough.count ? "passthrough"
                                       : settings->lists.count       ? "list"
                                                                     : NULL;
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected no models after the recipe '%s', found '%s'",
                       operands->items[0], operands->items[1]);
    if (ignored_option)
        return mc_fail(error, MC_USAGE, "--%s does not apply to a recipe: write it in '%s'",
                       ignored_option, operands->items[0]);
    if (!settings->output && !settings->dry_run && !settings->score.task)
        return mc_fail(error, MC_USAGE, "expected an output folder: give it with -o DIR");
    return settings->dtype ? parse_dtype(settings->dtype, &ignored, error) : MC_OK;
}

static mc_status plan_recipe(merge_job *job, bool headers_only, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    fetch_display display = fetch_begin(&settings->common);
    const mc_hub_options hub = fetch_options(&display);
    mc_recipe_options chosen = {.hub = &hub,
                                .headers_only = headers_only,
                                .seed = settings->seed,
                                .strict = settings->strict,
                                .convert = settings->dtype != NULL};
    mc_status status = settings->dtype ? parse_dtype(settings->dtype, &chosen.dtype, error) : MC_OK;
    mc_plan_free(job->plan);
    job->plan = NULL;
    if (status == MC_OK)
        status = mc_recipe_plan(job->recipe, &chosen, &job->plan, error);
    fetch_end(&display);
    return status;
}

static void name_recipe_models(merge_job *job)
{
    for (size_t i = 0; i < mc_recipe_model_count(job->recipe); i++) {
        const char *const name = mc_recipe_model(job->recipe, i);
        add_name(job, name, strlen(name));
    }
    job->model_count = job->name_count = job->all.count;
    job->all.count = 0;
}

static mc_status prepare_recipe(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const mc_run_options run = run_options(settings);
    mc_status status = check_recipe_arguments(settings, operands, error);
    if (status == MC_OK)
        status = mc_recipe_open(operands->items[0], &job->recipe, error);
    if (status == MC_OK && settings->score.task)
        status = score_prepare(&settings->score, &settings->common, &job->score, error);
    if (status == MC_OK) {
        name_recipe_models(job);
        status = plan_recipe(job, true, error);
    }
    if (status == MC_OK && settings->output)
        status = mc_plan_check_target(job->plan, settings->output, &run, error);
    if (status == MC_OK && !settings->dry_run && !is_complete(job))
        status = plan_recipe(job, false, error);
    return status;
}

/* From the command line to a plan. */
static mc_status prepare(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    if (operands->count > 0 && is_recipe(operands->items[0]))
        return prepare_recipe(job, operands, error);
    mc_status status = check_arguments(settings, operands, error);
    if (status == MC_OK)
        status = find_method(operands->items[0], &job->method, error);
    if (status == MC_OK && !job->method.method)
        return several_methods(operands->items[0], job->method.plugin, error);
    if (status == MC_OK)
        status = check_needs(settings, job->method.method, error);
    if (status == MC_OK && settings->score.task)
        status = score_prepare(&settings->score, &settings->common, &job->score, error);
    if (status == MC_OK)
        status = name_all(job, operands, error);
    if (status == MC_OK)
        status = open_and_plan(job, true, error);
    const mc_run_options run = run_options(settings);
    if (status == MC_OK && settings->output)
        status = mc_plan_check_target(job->plan, settings->output, &run, error);
    /* Now everything but the values is known to be right: they may travel. */
    if (status == MC_OK && !settings->dry_run && !is_complete(job)) {
        close_models(job);
        status = open_and_plan(job, false, error);
    }
    return status;
}

/* ---- results --------------------------------------------------------------------------------- */

/* What made the result, in new memory. */
static char *job_name(const merge_job *job)
{
    return job->recipe ? format_text("recipe") : method_name(job->method.method);
}

static json_t *json_model_names(const merge_job *job, size_t from, size_t count)
{
    json_t *const names = json_array();
    for (size_t i = from; i < from + count; i++)
        json_array_append_new(names, json_text(job->names[i]));
    return names;
}

static json_t *json_lists(const merge_job *job)
{
    json_t *const lists = json_object();
    size_t at = job->model_count + (job->settings->base != NULL);
    for (size_t i = 0; i < job->settings->lists.count; i++) {
        json_object_set_new(lists, job->list_names[i],
                            json_model_names(job, at, job->list_sizes[i]));
        at += job->list_sizes[i];
    }
    return lists;
}

static json_t *json_report(const mc_report *report)
{
    json_t *const lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        json_array_append_new(lines, json_text(mc_report_line(report, i)));
    return lines;
}

/* What plan and result have in common. */
static json_t *json_job(const merge_job *job)
{
    char *const method = job_name(job);
    json_t *const object = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "output", json_text(job->settings->output), "method",
        json_text(method), "parameters",
        json_loads(mc_plan_parameters(job->plan), JSON_DECODE_ANY, NULL), "models",
        json_model_names(job, 0, job->model_count), "base", json_text(job->settings->base), "lists",
        json_lists(job), "warnings", json_report(mc_plan_report(job->plan)));
    free(method);
    return object;
}

static double to_milliseconds(double seconds)
{
    return round(seconds * 1000) / 1000;
}

static void print_result_json(const merge_job *job, const mc_run_result *result)
{
    json_t *const object = json_job(job);
    json_object_set_new(object, "tensors", json_integer((json_int_t)result->tensors));
    json_object_set_new(object, "bytes_read", json_integer(result->bytes_read));
    json_object_set_new(object, "bytes_written", json_integer(result->bytes_written));
    json_object_set_new(object, "bytes_resumed", json_integer(result->bytes_resumed));
    json_object_set_new(object, "seconds", json_real(to_milliseconds(result->seconds)));
    if (job->pipeline)
        json_object_set_new(object, "eval",
                            score_json(&job->score, job->pipeline, &job->evaluation));
    print_json(object);
}

/* What was merged in memory, to be scored. */
static void print_memory_summary(const merge_job *job, const mc_run_result *result)
{
    char *const method = job_name(job);
    printf("%s of %zu models: %zu tensor%s in memory in %.2f s\n", method, job->model_count,
           result->tensors, plural((int64_t)result->tensors), result->seconds);
    free(method);
}

static void print_summary(const merge_job *job, const mc_run_result *result)
{
    char written[16], resumed[16], rate[16];
    char *const folder = visible_text(job->settings->output);
    const double seconds = result->seconds > 1e-6 ? result->seconds : 1e-6;
    mc_format_bytes(result->bytes_written, written, sizeof written);
    mc_format_bytes(result->bytes_resumed, resumed, sizeof resumed);
    mc_format_bytes((int64_t)((double)result->bytes_written / seconds), rate, sizeof rate);
    printf("%s: %zu tensor%s, %s in %.2f s (%s/s)", folder, result->tensors,
           plural((int64_t)result->tensors), written, result->seconds, rate);
    if (result->bytes_resumed > 0)
        printf(", and %s from an earlier run", resumed);
    putchar('\n');
    free(folder);
}

static void print_plan_json(const merge_job *job, const mc_run_options *run)
{
    json_t *const object = json_job(job), *const lines = json_array();
    int64_t read, written, memory;
    mc_plan_bytes(job->plan, run, &read, &written, &memory);
    for (size_t i = 0; i < mc_plan_count(job->plan); i++) {
        mc_plan_line line;
        char how[1024];
        mc_plan_line_at(job->plan, i, &line);
        json_array_append_new(
            lines, json_pack("{s:o, s:s, s:o, s:I, s:o}", "name", json_text(line.name), "dtype",
                             mc_dtype_name(line.dtype), "shape", json_shape(line.rank, line.shape),
                             "bytes", (json_int_t)line.bytes, "how",
                             json_text(mc_plan_line_text(&line, how, sizeof how))));
    }
    json_object_set_new(object, "tensors", json_integer((json_int_t)mc_plan_count(job->plan)));
    json_object_set_new(object, "bytes_read", json_integer(read));
    json_object_set_new(object, "bytes_written", json_integer(written));
    json_object_set_new(object, "memory", json_integer(memory));
    json_object_set_new(object, "plan", lines);
    print_json(object);
}

static void print_plan(const merge_job *job, const mc_run_options *run)
{
    static const char *const titles[] = {"TENSOR", "DTYPE", "SHAPE", "BYTES", "HOW"};
    table rows = {.titles = titles, .columns = 5, .right = 1 << 3};
    char read_text[16], written_text[16], memory_text[16];
    int64_t read, written, memory;
    mc_plan_bytes(job->plan, run, &read, &written, &memory);
    for (size_t i = 0; i < mc_plan_count(job->plan); i++) {
        mc_plan_line line;
        char how[1024];
        mc_plan_line_at(job->plan, i, &line);
        table_add(&rows, "%s", line.name);
        table_add(&rows, "%s", mc_dtype_name(line.dtype));
        table_add_shape(&rows, line.rank, line.shape);
        table_add(&rows, "%lld", (long long)line.bytes);
        table_add(&rows, "%s", mc_plan_line_text(&line, how, sizeof how));
    }
    table_finish(&rows, stdout);
    printf("%zu tensor%s: reads %s, writes %s, holds at most %s; parameters %s\n",
           mc_plan_count(job->plan), plural((int64_t)mc_plan_count(job->plan)),
           mc_format_bytes(read, read_text, sizeof read_text),
           mc_format_bytes(written, written_text, sizeof written_text),
           mc_format_bytes(memory, memory_text, sizeof memory_text), mc_plan_parameters(job->plan));
}

static void print_report(const merge_job *job)
{
    const mc_report *const report = mc_plan_report(job->plan);
    for (size_t i = 0; !job->settings->common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
}

/* ---- run ------------------------------------------------------------------------------------- */

static mc_status write_result(const merge_job *job, mc_run_options *run, mc_run_result *result,
                              mc_error *error)
{
    progress_display display = progress_begin(&job->settings->common);
    run->cancel = catch_signals();
    if (display.bar || display.lines) {
        run->progress = progress_update;
        run->user = &display;
    }
    const mc_status status = mc_plan_run(job->plan, job->settings->output, run, result, error);
    progress_end(&display);
    return status;
}

static mc_status open_written(merge_job *job, mc_error *error)
{
    mc_model *model = NULL;
    mc_status status = mc_model_open(job->settings->output, &model, error);
    if (status == MC_OK)
        status = mc_pipeline_open(model, &job->score.options, &job->pipeline, error);
    mc_model_close(model);
    return status;
}

/* The merge is read from the folder that was written, or made in the encoder's memory. */
static mc_status score_result(merge_job *job, mc_run_result *result, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    job->score.options.cancel = catch_signals();
    mc_status status = settings->output ? open_written(job, error)
                                        : mc_pipeline_from_plan(job->plan, &job->score.options,
                                                                &job->pipeline, result, error);
    if (status == MC_OK)
        status = score_run(&settings->score, &job->score, job->pipeline, &settings->common,
                           &job->evaluation, error);
    return status;
}

static void print_score(const merge_job *job)
{
    score_print(&job->score, job->settings->output ? job->settings->output : "merged",
                &job->evaluation);
}

static mc_status run_plan(merge_job *job, mc_run_options *run, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    mc_run_result result = {0};
    mc_status status = settings->output ? write_result(job, run, &result, error) : MC_OK;
    if (status == MC_OK && settings->score.task)
        status = score_result(job, &result, error);
    if (status != MC_OK)
        return status;
    if (settings->common.json) {
        print_result_json(job, &result);
        return MC_OK;
    }
    if (!settings->common.quiet && settings->output)
        print_summary(job, &result);
    else if (!settings->common.quiet)
        print_memory_summary(job, &result);
    if (settings->score.task)
        print_score(job);
    return MC_OK;
}

static mc_status merge(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    mc_run_options run = run_options(settings);
    const mc_status status = prepare(job, operands, error);
    if (status != MC_OK)
        return status;
    print_report(job);
    if (!settings->dry_run)
        return run_plan(job, &run, error);
    if (settings->common.json)
        print_plan_json(job, &run);
    else
        print_plan(job, &run);
    return MC_OK;
}

static int run(const subcommand *self, const char *const *arguments)
{
    merge_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        settings.score.threads = settings.threads;
        settings.score.dtype_option = "--eval-dtype";
        settings.score.overwrite = settings.overwrite;
        merge_job job = {.settings = &settings};
        mc_error error = MC_ERROR_NONE;
        if (merge(&job, &operands, &error) != MC_OK)
            status = report_failure(self, &settings.common, &error);
        close_job(&job);
    }
    free_options(self, &settings, &operands);
    return status;
}

/* ---- help ------------------------------------------------------------------------------------ */

static void print_methods(FILE *out)
{
    size_t column = 0;
    fprintf(out, "\n%smethods%s (see mergecraft methods NAME)\n", bold(out), plain(out));
    for (size_t i = 0; i < mc_method_count(); i++) {
        char *const name = method_name(mc_method_at(i));
        const size_t length = strlen(name) + 2;
        if (column + length > 80) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "  %s", name);
        column += length;
        free(name);
    }
    fputc('\n', out);
}

const subcommand subcommand_merge = {
    .name = "merge",
    .arguments = "METHOD|RECIPE.yml MODEL... -o DIR [options]",
    .help = "Merge models into one.",
    .text = "METHOD is a name from the list below or a file: ./mine.c, ./mine.so, or\n"
            "./mine.so:name if the file has several methods. MODEL is a folder, a file of\n"
            "weights, or a model on the Hub: ORG/NAME or ORG/NAME@REVISION.\n"
            "RECIPE.yml is a recipe as mergekit reads them, which names the models itself.\n"
            "An interrupted merge resumes when you run the same command again.\n",
    .example = "  mergecraft merge median examples/models/rte-1 examples/models/rte-2 \\\n"
               "      examples/models/rte-3 examples/models/rte-4 examples/models/rte-5 \\\n"
               "      --passthrough 'classifier.*' -o merged\n",
    .options = options,
    .more_help = print_methods,
    .run = run};

/* mergecraft search: tries parameters of a merge and keeps the best. */
#include "command_line.h"
#include "fetch.h"
#include "merge.h"
#include "output.h"
#include "progress.h"
#include "report.h"
#include "signals.h"
#include "written.h"

#include <mergecraft/search.h>
#include <mergecraft/text.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct search_settings {
    merge_settings merge; /* begins with the common options */
    const char *output, *space, *strategy, *objective, *validate, *journal, *split, *eval_dtype;
    const char *command, *work, *report;
    text_list evals, data, heads;
    uint64_t trials, seed, halving, time_limit;
    bool resume, minimize, parents;
} search_settings;

#define AT(field_) offsetof(search_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "DIR", "write the best merge to DIR",
     .details = "Its mergecraft.json records the search. Without this option only the journal is "
                "written."},
    {"space", '\0', OPTION_TEXT, AT(space), "NAME=VALUES,...", "parameters to search",
     .details =
         "VALUES is a range LOW:HIGH, followed by :log, :int or the number of levels on a "
         "grid; or choices A|B|C. NAME[2] is the value of model 2; NAME[*] has one "
         "dimension per model. NAME@WHERE is the value of some blocks, roles or tensors; "
         "NAME@* has one dimension per block. models=subset searches which models take part."},
    {"strategy", '\0', OPTION_TEXT, AT(strategy),
     "random|grid|coordinate|greedy|nelder-mead|bobyqa|crs|esch", "order of the trials", "random",
     .details = "random: a Sobol sequence. greedy: adds models in the order of their own scores. "
                "The last four need NLopt."},
    {"trials", '\0', OPTION_NUMBER, AT(trials), "N", "merges to try", "20, or the whole grid", 1,
     1000000},
    {"seed", '\0', OPTION_NUMBER, AT(seed), "N", "seed of the strategy", "0", 0, INT64_MAX},
    {"eval", '\0', OPTION_TEXTS, AT(evals), "TASK[:METRIC][=WEIGHT]",
     "score the merges on a GLUE task", .details = "METRIC is one of the task's, or loss."},
    {"data", '\0', OPTION_TEXTS, AT(data), "[TASK=]FILE|DIR", "examples of the tasks"},
    {"head", '\0', OPTION_TEXTS, AT(heads), "TASK=MODEL", "score a task with the head of MODEL",
     .details = "For tasks whose heads differ. The task has the head (with its pooler), the labels "
                "and the tokenizer of MODEL, and all other tensors of the merge. Leave heads of "
                "different shapes out of the merge with --exclude."},
    {"split", '\0', OPTION_TEXT, AT(split), "NAME", "split of the examples", "validation"},
    {"objective", '\0', OPTION_TEXT, AT(objective), "mean|min|relative|worst-relative",
     "how to combine the scores of tasks", "mean",
     .details = "relative: score divided by the best score of a single model."},
    {"validate", '\0', OPTION_TEXT, AT(validate), "SHARE|FILE|DIR",
     "hold out examples for the best merge",
     .details = "A share of the examples, such as .3, or a file with other examples. Trials are "
                "not scored on them. Report the score of the best merge on them."},
    {"halving", '\0', OPTION_NUMBER, AT(halving), "STEPS", "stop poor trials early", "1", 1, 8,
     .details = "With 3 steps, a trial is scored on a quarter, a half and all of the examples. It "
                "stops if its score is worse than the median of earlier trials at the same step. "
                "Needs the strategy random or grid."},
    {"parents", '\0', OPTION_FLAG, AT(parents), NULL, "score the single models, too"},
    {"objective-command", '\0', OPTION_TEXT, AT(command), "COMMAND", "score merges by a command",
     .details = "The shell runs it with the folder of the merged model in place of {}. The last "
                "line of its output is the score. Its environment has MERGECRAFT_TRIAL and "
                "MERGECRAFT_PARAMETERS."},
    {"time-limit", '\0', OPTION_NUMBER, AT(time_limit), "SECONDS",
     "time limit of --objective-command", "none", 1, 10000000},
    {"work", '\0', OPTION_TEXT, AT(work), "DIR", "folder of merges for the command", "TMPDIR"},
    {"minimize", '\0', OPTION_FLAG, AT(minimize), NULL, "smaller scores are better",
     .details = "The metric loss is always minimised."},
    {"journal", '\0', OPTION_TEXT, AT(journal), "FILE", "file that records the trials",
     "search.jsonl"},
    {"resume", '\0', OPTION_FLAG, AT(resume), NULL, "continue the search of the journal",
     .details = "Its trials are not repeated. --trials may be larger than before."},
    {"report", '\0', OPTION_TEXT, AT(report), "FILE", "write an HTML report on the search",
     .details = "One page, as mergecraft report writes it. With -o, it includes the best merge."},
    {"base", '\0', OPTION_TEXT, AT(merge.base), "MODEL", "pretrained ancestor of the models"},
    {"param", 'p', OPTION_TEXTS, AT(merge.params), "NAME=VALUE", "fixed parameter of the method"},
    {"passthrough", '\0', OPTION_TEXTS, AT(merge.passthrough), "PATTERN",
     "average matching tensors instead"},
    {"allow-unused", '\0', OPTION_FLAG, AT(merge.allow_unused), NULL,
     "accept patterns that no name matches"},
    {"exclude", '\0', OPTION_TEXTS, AT(merge.exclude), "PATTERN", "do not merge matching tensors"},
    {"keep-head", '\0', OPTION_TEXT, AT(merge.keep), "MODEL", "model that --exclude copies from",
     "the last"},
    {"then", '\0', OPTION_TEXTS, AT(merge.then), "ADD-ON", "change the result by an add-on"},
    {"matrices", '\0', OPTION_TEXTS, AT(merge.matrices), "PATTERN", "matrices to decompose"},
    {"side", '\0', OPTION_TEXTS, AT(merge.sides), "NAME=MODEL,...",
     "further models, one per model"},
    {"stats", '\0', OPTION_TEXT, AT(merge.stats), "FILE,...", "statistics, one file per model"},
    {"tokenizer", '\0', OPTION_TEXT, AT(merge.tokenizer), "union|base|MODEL",
     "merge token by token, with this tokenizer"},
    {"dtype", '\0', OPTION_TEXT, AT(merge.dtype), "f32|f16|bf16", "dtype of the merges",
     "widest input"},
    {"merge-seed", '\0', OPTION_NUMBER, AT(merge.seed), "N", "seed of random methods", "0", 0,
     UINT64_MAX},
    {"strict", '\0', OPTION_FLAG, AT(merge.strict), NULL, "treat warnings as errors"},
    {"overwrite", '\0', OPTION_FLAG, AT(merge.overwrite), NULL,
     "replace an existing output folder"},
    {"eval-dtype", '\0', OPTION_TEXT, AT(eval_dtype), "f32|bf16|int8", "precision of --eval",
     "f32"},
    {"memory", '\0', OPTION_SIZE, AT(merge.memory), "SIZE", "memory for tiles", "64MiB",
     .details = MEMORY_DETAILS},
    {"threads", '\0', OPTION_NUMBER, AT(merge.threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "Trials and scores do not depend on it."},
    COMMON_OPTIONS("Prints the lines of the journal, one object each, as they are written."),
    {NULL}};

/* What a search is made of; zero-initialise, close with search_close. */
typedef struct search_job {
    const search_settings *settings;
    merge_job merge;
    mc_search_task *tasks;
    char **names; /* of the tasks, and of their metrics */
    mc_glue_data **data, **held_out;
    mc_model **heads; /* [head_count], in the order of --head */
    size_t task_count, head_count;
    mc_search_input input;
    mc_recipe_options recipe;
    mc_search *search;
    fetch_display fetch;
    mc_hub_options hub;
} search_job;

static void search_close(search_job *job)
{
    mc_search_free(job->search);
    for (size_t i = 0; i < job->task_count; i++) {
        mc_glue_data_free(job->data[i]);
        mc_glue_data_free(job->held_out[i]);
        free(job->names[i]);
    }
    for (size_t i = 0; i < job->head_count; i++)
        mc_model_close(job->heads[i]);
    free(job->heads);
    free(job->names);
    free(job->data);
    free(job->held_out);
    free(job->tasks);
    merge_close(&job->merge);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static bool parse_share(const char *text, double *share)
{
    char *end = NULL;
    *share = strtod(text, &end);
    return end != text && *end == '\0';
}

/* "TASK[:METRIC][=WEIGHT]" */
static mc_status parse_eval(search_job *job, size_t index, mc_error *error)
{
    const char *const text = job->settings->evals.items[index];
    mc_search_task *const task = &job->tasks[index];
    char *const name = job->names[index] = format_text("%s", text);
    char *const weight = strchr(name, '=');
    if (weight)
        *weight = '\0';
    char *const metric = strchr(name, ':');
    if (metric)
        *metric = '\0';
    *task = (mc_search_task){.metric = metric ? metric + 1 : NULL};
    if (weight &&
        (!parse_share(weight + 1, &task->weight) || !(task->weight > 0) || !isfinite(task->weight)))
        return mc_fail(error, MC_USAGE, "--eval: expected a weight above 0, found '%s'", text);
    const mc_status status = find_task(name, &task->task, error);
    return status == MC_OK ? find_split(task->task, job->settings->split, &task->split, error)
                           : status;
}

/* The path in --data for a task; NULL: its own data. The last one that fits counts. */
static const char *path_of(const search_settings *settings, const mc_glue_task *task)
{
    const char *path = NULL;
    for (size_t i = 0; i < settings->data.count; i++) {
        const char *const text = settings->data.items[i], *const equals = strchr(text, '=');
        char *const name = format_text("%.*s", equals ? (int)(equals - text) : 0, text);
        const mc_glue_task *const named = equals ? mc_glue_task_find(name) : NULL;
        if (named == task)
            path = equals + 1;
        else if (!named && (!path || !strchr(path, '=')))
            path = text;
        free(name);
    }
    return path;
}

static mc_status load_task(search_job *job, size_t index, mc_error *error)
{
    const search_settings *const settings = job->settings;
    mc_search_task *const task = &job->tasks[index];
    const char *const path = path_of(settings, task->task);
    double share;
    mc_status status = path ? mc_glue_load(task->task, path, task->split, &job->data[index], error)
                            : mc_glue_load_default(task->task, task->split, &job->hub,
                                                   &job->data[index], error);
    if (status == MC_OK && settings->validate && !parse_share(settings->validate, &share))
        status = mc_glue_load(task->task, settings->validate, task->split, &job->held_out[index],
                              error);
    task->data = job->data[index];
    task->held_out = job->held_out[index];
    return status;
}

static mc_status load_tasks(search_job *job, mc_error *error)
{
    const size_t count = job->settings->evals.count;
    job->tasks = allocate(count * sizeof *job->tasks);
    job->names = allocate(count * sizeof *job->names);
    job->data = allocate(count * sizeof *job->data);
    job->held_out = allocate(count * sizeof *job->held_out);
    mc_status status = MC_OK;
    for (; status == MC_OK && job->task_count < count; job->task_count++) {
        job->data[job->task_count] = job->held_out[job->task_count] = NULL;
        status = parse_eval(job, job->task_count, error);
        if (status == MC_OK)
            status = load_task(job, job->task_count, error);
    }
    return status;
}

/* Gives the tasks that "TASK=MODEL" names their head; NULL: only checks that there are some. */
static mc_status give_head(search_job *job, const char *text, const mc_model *head, mc_error *error)
{
    char *const name = format_text("%.*s", (int)strcspn(text, "="), text);
    const mc_glue_task *const task = strchr(text, '=') ? mc_glue_task_find(name) : NULL;
    size_t found = 0;
    free(name);
    for (size_t i = 0; task && i < job->task_count; i++)
        if (job->tasks[i].task == task && !job->tasks[i].head) {
            job->tasks[i].head = head;
            found++;
        }
    return found
               ? MC_OK
               : mc_fail(error, MC_USAGE,
                         "--head: expected TASK=MODEL, once per task of --eval, found '%s'", text);
}

static mc_status load_heads(search_job *job, mc_error *error)
{
    const text_list *const heads = &job->settings->heads;
    const char **const names = allocate((heads->count + 1) * sizeof *names);
    mc_status status = MC_OK;
    job->heads = allocate((heads->count + 1) * sizeof *job->heads);
    for (size_t i = 0; status == MC_OK && i < heads->count; i++) {
        status = give_head(job, heads->items[i], NULL, error);
        names[i] = status == MC_OK ? strchr(heads->items[i], '=') + 1 : NULL;
    }
    if (status == MC_OK && heads->count > 0)
        status = open_models(names, heads->count, &job->settings->merge.common, false, job->heads,
                             error);
    job->head_count = status == MC_OK ? heads->count : 0;
    for (size_t i = 0; status == MC_OK && i < job->head_count; i++)
        status = give_head(job, heads->items[i], job->heads[i], error);
    free(names);
    return status;
}

/* ---- the input ------------------------------------------------------------------------------- */

static mc_status parse_objective(const char *text, mc_search_objective *out, mc_error *error)
{
    static const char *const names[] = {"mean", "min", "relative", "worst-relative"};
    *out = MC_SEARCH_MEAN;
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (mc_search_objective)i;
            return MC_OK;
        }
    return text ? mc_fail(error, MC_USAGE,
                          "--objective: expected mean, min, relative or worst-relative, found '%s'",
                          text)
                : MC_OK;
}

/* A recipe names what is merged and how. */
static mc_status check_recipe(const search_settings *settings, const text_list *operands,
                              mc_error *error)
{
    const merge_settings *const merge = &settings->merge;
    const char *const ignored = merge->base                ? "base"
                                : merge->params.count      ? "param"
                                : merge->passthrough.count ? "passthrough"
                                : merge->exclude.count     ? "exclude"
                                : merge->then.count        ? "then"
                                : merge->sides.count       ? "side"
                                : merge->tokenizer         ? "tokenizer"
                                                           : NULL;
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected no models after the recipe '%s', found '%s'",
                       operands->items[0], operands->items[1]);
    return ignored ? mc_fail(error, MC_USAGE, "--%s does not apply to a recipe: write it in '%s'",
                             ignored, operands->items[0])
                   : MC_OK;
}

/* The file of the best recipe, beside the output folder. The caller frees it. */
static char *recipe_path(const char *output)
{
    size_t length = strlen(output);
    while (length > 1 && output[length - 1] == '/')
        length--;
    return format_text("%.*s.yml", (int)length, output);
}

/* The best recipe must not replace the one that is searched, which has the space. */
static mc_status check_recipe_path(const char *output, bool overwrite, const char *recipe,
                                   mc_error *error)
{
    struct stat own, written;
    if (!output)
        return MC_OK;
    char *const path = recipe_path(output);
    const bool same = stat(recipe, &own) == 0 && stat(path, &written) == 0 &&
                      own.st_dev == written.st_dev && own.st_ino == written.st_ino;
    const mc_status status = same ? mc_fail(error, MC_USAGE,
                                            "--output: expected another name than '%s': the best "
                                            "recipe would replace '%s'",
                                            output, recipe)
                                  : written_check("--output", path, overwrite, recipe, error);
    free(path);
    return status;
}

static mc_status take_recipe(search_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const merge = &job->settings->merge;
    mc_status status = check_recipe(job->settings, operands, error);
    if (status == MC_OK)
        status = check_recipe_path(job->settings->output, merge->overwrite, operands->items[0],
                                   error);
    job->recipe = (mc_recipe_options){.hub = &job->hub,
                                      .seed = merge->seed,
                                      .strict = merge->strict,
                                      .convert = merge->dtype != NULL};
    if (status == MC_OK && merge->dtype)
        status = merge_parse_dtype(merge->dtype, &job->recipe.dtype, error);
    job->input.recipe = operands->items[0];
    job->input.recipe_options = &job->recipe;
    return status;
}

static mc_status take_models(search_job *job, const text_list *operands, mc_error *error)
{
    const mc_status status = merge_prepare(&job->merge, operands, error);
    job->input.merge = &job->merge.input;
    return status;
}

/* Before anything is merged: the search may take hours. */
static mc_status check_output(const search_settings *settings, mc_error *error)
{
    if (!settings->output || settings->merge.overwrite || access(settings->output, F_OK) != 0)
        return MC_OK;
    mc_fail(error, MC_EXISTS, "the output folder exists");
    snprintf(error->file, sizeof error->file, "%s", settings->output);
    error->hint = MC_HINT_OVERWRITE;
    return MC_EXISTS;
}

static mc_status prepare(search_job *job, const text_list *operands, mc_error *error)
{
    const search_settings *const settings = job->settings;
    mc_search_input *const input = &job->input;
    if (operands->count == 0)
        return mc_fail(error, MC_USAGE, "expected a method and models, or a recipe, found none");
    if (settings->evals.count == 0 && !settings->command)
        return mc_fail(error, MC_USAGE, "expected --eval TASK or --objective-command COMMAND");
    *input = (mc_search_input){.space = settings->space,
                               .strategy = settings->strategy,
                               .seed = settings->seed,
                               .trials = settings->trials,
                               .halving = settings->halving,
                               .parents = settings->parents,
                               .command = settings->command,
                               .command_seconds = (double)settings->time_limit,
                               .command_folder = settings->work,
                               .minimize = settings->minimize};
    mc_status status = parse_objective(settings->objective, &input->objective, error);
    if (status == MC_OK)
        status = parse_precision("--eval-dtype", settings->eval_dtype, &input->precision, error);
    if (status == MC_OK)
        status = check_output(settings, error);
    double share;
    if (settings->validate && parse_share(settings->validate, &share))
        input->validate = share;
    if (status == MC_OK)
        status = load_tasks(job, error);
    if (status == MC_OK)
        status = load_heads(job, error);
    input->tasks = job->tasks;
    input->task_count = job->task_count;
    if (status != MC_OK)
        return status;
    return merge_is_recipe(operands->items[0]) ? take_recipe(job, operands, error)
                                               : take_models(job, operands, error);
}

/* ---- progress -------------------------------------------------------------------------------- */

typedef struct display {
    const common_options *common;
    progress_display progress;
    double begin;   /* of the first trial that was made now */
    size_t resumed; /* trials of the journal */
} display;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* " 1:23 left", from the time of the trials that were made now; "" before the first one. */
static void time_left(const display *d, const mc_search_trial *trial, char *out, size_t size)
{
    const size_t made = trial->number - d->resumed;
    *out = '\0';
    if (trial->total == 0 || made == 0)
        return;
    const double each = (seconds_now() - d->begin) / (double)made;
    const long long left = (long long)(each * (double)(trial->total - trial->number) + .5);
    snprintf(out, size, "  %lld:%02lld left", left / 60, left % 60);
}

static void format_line(const display *d, const mc_search_trial *trial, char *out, size_t size)
{
    char total[32] = "", best[64] = "", left[64];
    if (trial->total > 0)
        snprintf(total, sizeof total, " of %zu", trial->total);
    if (trial->best > 0)
        snprintf(best, sizeof best, "  best %.6g (trial %zu)", trial->best_score, trial->best);
    time_left(d, trial, left, sizeof left);
    snprintf(out, size, "trial %zu%s%s%s", trial->number, total, best, left);
}

static void on_trial(const mc_search_trial *trial, void *user)
{
    display *const d = user;
    char line[256];
    if (trial->resumed)
        d->resumed = trial->number;
    format_line(d, trial, line, sizeof line);
    if (d->progress.bar) {
        const size_t width = terminal_width();
        /* ASCII only, so that bytes are columns; some terminals wrap in the last one. */
        fprintf(stderr, "\r%.*s\033[K", (int)(width > 0 ? width - 1 : 0), line);
        d->progress.begun = true;
    } else if (d->progress.lines && !trial->resumed) {
        fprintf(stderr, "%s\n", line);
    }
    if (!d->common->json)
        return;
    puts(trial->line);
    fflush(stdout);
}

/* ---- results --------------------------------------------------------------------------------- */

static void print_scores(const char *label, const json_t *scores)
{
    size_t i;
    const json_t *one;
    json_array_foreach(scores, i, one)
    {
        char *const task = visible_text(json_string_value(json_object_get(one, "task")));
        const json_t *const value = json_object_get(one, "value");
        const json_t *const error = json_object_get(one, "standard_error");
        printf("%s: %s %s ", label, task, json_string_value(json_object_get(one, "metric")));
        if (json_is_number(value))
            printf("%.4f", json_number_value(value));
        else
            printf("not defined");
        if (json_is_number(error))
            printf(" ± %.4f", json_number_value(error));
        printf(" on %lld examples\n",
               (long long)json_integer_value(json_object_get(one, "examples")));
        free(task);
    }
}

static void print_parameters(const json_t *parameters)
{
    const char *name, *separator = "";
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parameters, name, value)
    {
        char *const shown = visible_text(name);
        char *const text = json_is_string(value)
                               ? visible_text(json_string_value(value))
                               : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("%s%s = %s", separator, shown, text ? text : "");
        separator = ", ";
        free(text);
        free(shown);
    }
    putchar('\n');
}

/* Prints the warnings from index `from`. */
static void print_warnings(const search_job *job, size_t from)
{
    const mc_report *const report = mc_search_report(job->search);
    for (size_t i = from; !job->settings->merge.common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
}

static void print_result(const search_job *job)
{
    double score;
    const size_t best = mc_search_best(job->search, &score);
    json_t *const result = json_loads(mc_search_result(job->search), 0, NULL);
    printf("best: trial %zu, score %.6g: ", best, score);
    print_parameters(json_object_get(result, "parameters"));
    print_scores("trials", json_object_get(result, "scores"));
    print_scores("held out", json_object_get(result, "held_out"));
    json_decref(result);
}

static bool write_text(const void *arg, FILE *file)
{
    return fputs(arg, file) >= 0;
}

static mc_status write_recipe(const search_job *job, mc_error *error)
{
    const char *const text = mc_search_recipe(job->search);
    if (!text)
        return MC_OK;
    char *const path = recipe_path(job->settings->output);
    const mc_status status = written_make(path, write_text, text, error);
    free(path);
    return status;
}

/* Of several processes, one writes what is beside the merge. */
static bool is_first(void)
{
    return !command_comm || command_comm->rank == 0;
}

static mc_status write_best(const search_job *job, mc_error *error)
{
    const search_settings *const settings = job->settings;
    mc_run_options run = merge_run_options(&settings->merge);
    const size_t printed = mc_report_count(mc_search_report(job->search));
    mc_run_result result = {0};
    run.cancel = catch_signals();
    run.comm = command_comm;
    mc_status status = mc_search_write(job->search, settings->output, &run, &result, error);
    if (status == MC_OK && is_first())
        status = write_recipe(job, error);
    if (status == MC_OK)
        print_warnings(job, printed); /* what only the values show */
    if (status != MC_OK || settings->merge.common.json || settings->merge.common.quiet)
        return status;
    char written[16];
    char *const folder = visible_text(settings->output);
    printf("%s: %zu tensor%s, %s\n", folder, result.tensors, plural((int64_t)result.tensors),
           mc_format_bytes(result.bytes_written, written, sizeof written));
    free(folder);
    return MC_OK;
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static const char *journal_path(const search_settings *settings)
{
    return settings->journal ? settings->journal : "search.jsonl";
}

static mc_status write_report(const search_settings *settings, mc_error *error)
{
    const report_job report = {.common = &settings->merge.common,
                               .folder = settings->output,
                               .journal = journal_path(settings),
                               .output = settings->report,
                               .compare = true,
                               .threads = settings->merge.threads};
    return report_write(&report, error);
}

static mc_status run_search(search_job *job, mc_error *error)
{
    const search_settings *const settings = job->settings;
    const common_options *const common = &settings->merge.common;
    display shown = {.common = common, .progress = progress_begin(common), .begin = seconds_now()};
    const mc_search_options how = {.journal = journal_path(settings),
                                   .resume = settings->resume,
                                   .threads = (int)settings->merge.threads,
                                   .memory = settings->merge.memory,
                                   .cancel = catch_signals(),
                                   .trial = on_trial,
                                   .user = &shown,
                                   .comm = command_comm};
    const mc_status status = mc_search_run(&job->input, &how, &job->search, error);
    progress_end(&shown.progress);
    if (status == MC_EXISTS)
        mc_fail(error, MC_EXISTS, "the journal %s exists; --resume continues it", how.journal);
    return status;
}

static mc_status search(search_job *job, const text_list *operands, mc_error *error)
{
    const common_options *const common = &job->settings->merge.common;
    const char *const report = job->settings->report;
    mc_status status = report ? written_check("--report", report, job->settings->merge.overwrite,
                                              NULL, error)
                              : MC_OK;
    job->fetch = fetch_begin(common);
    job->hub = fetch_options(&job->fetch);
    /* Trials of a recipe may open further models, each process in its own time. */
    job->hub.comm = NULL;
    if (status == MC_OK)
        status = prepare(job, operands, error);
    fetch_end(&job->fetch);
    if (status == MC_OK)
        status = run_search(job, error);
    if (status == MC_OK)
        print_warnings(job, 0);
    if (status == MC_OK && common->json)
        puts(mc_search_result(job->search));
    else if (status == MC_OK)
        print_result(job);
    if (status == MC_OK && job->settings->output)
        status = write_best(job, error);
    if (status == MC_OK && report && is_first())
        status = write_report(job->settings, error);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    search_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        settings.merge.no_plan = true;
        search_job job = {.settings = &settings,
                          .merge = {.settings = &settings.merge, .own_settings = &settings.merge}};
        if (search(&job, &operands, &error) != MC_OK)
            status = report_failure(self, &settings.merge.common, &error);
        search_close(&job);
    }
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_search = {
    .name = "search",
    .arguments = "METHOD|RECIPE.yml MODEL... [options]",
    .help = "Search for the parameters of the best merge.",
    .text = "Tries merges with parameters from a space, scores each on --eval or by a\n"
            "command, and keeps the best. A recipe has ${NAME} or ${NAME=VALUES} in place\n"
            "of values. Every trial is added to the journal, which --resume continues.\n"
            "--validate holds out examples for the score of the best merge.\n",
    .example = "  mergecraft search task examples/models/rte-1 examples/models/rte-2 \\\n"
               "      examples/models/rte-3 --base examples/models/base \\\n"
               "      --passthrough 'classifier.*' --eval rte --data examples/models/data \\\n"
               "      --validate .3 --space 'scale=.1:2' --trials 8 --journal trials.jsonl\n",
    .options = options,
    .run = run};

/* mergecraft eval: scores a model on a GLUE task or on own data. */
#include "lookup.h"
#include "output.h"
#include "score.h"
#include "signals.h"

typedef struct eval_settings {
    common_options common;
    score_settings score;
} eval_settings;

#define AT(field_) offsetof(eval_settings, score.field_)
static const option options[] = {
    {"data", '\0', OPTION_TEXT, AT(data), "FILE|DIR|-", "examples: Parquet, TSV, CSV or JSON lines",
     .details = "A folder must contain a file of the split. - reads standard input."},
    {"text", '\0', OPTION_TEXT, AT(columns.text), "COLUMN", "own data: column of the texts",
     .details = "There is no TASK then, and --data is required."},
    {"pair", '\0', OPTION_TEXT, AT(columns.pair), "COLUMN",
     "own data: column of the second texts of pairs"},
    {"label", '\0', OPTION_TEXT, AT(columns.label), "COLUMN", "own data: column of the labels",
     .details = "Labels are names of the model's labels or their numbers, and values for a "
                "regression. If all names begin with numbers, as in 1 star, numbers mean those. "
                "Without this option there are predictions and no score."},
    {"limit", '\0', OPTION_NUMBER, AT(limit), "N", "score the first N examples only", "all", 1,
     1 << 22},
    {"split", '\0', OPTION_TEXT, AT(split), "NAME", "split of the examples", "validation",
     .details = "A split without labels gives predictions and no score."},
    {"dtype", '\0', OPTION_TEXT, AT(dtype), "f32|bf16|int8", "precision of matrix products", "f32",
     .details = "bf16 and int8 are faster, need a CPU with these instructions, and change logits "
                "slightly. "
                "int8 rounds each row of a matrix to 255 steps."},
    {"predictions", '\0', OPTION_TEXT, AT(predictions), "FILE",
     "write the predictions as JSON lines",
     .details =
         "Each line has index, label, prediction and scores. Labels are numbers of the task; "
         "scores are in the order of the model's labels. The file appears when it is complete. "
         "A pipe or a device such as /dev/stdout is written to directly."},
    {"overwrite", '\0', OPTION_FLAG, AT(overwrite), NULL,
     "replace an existing file of --predictions"},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object has model, task and split, or data, examples, unlabelled, metrics, "
                   "standard_errors, loss, labels, labels_guessed, truncated and seconds."),
    {NULL}};

static mc_status score_model(const eval_settings *settings, score_job *job, const mc_model *model,
                             mc_error *error)
{
    mc_pipeline *pipeline = NULL;
    mc_evaluation result;
    mc_status status = mc_pipeline_open(model, &job->options, &pipeline, error);
    if (status == MC_OK)
        status = score_load_own(&settings->score, pipeline, job, error);
    if (status == MC_OK)
        status = score_run(&settings->score, job, pipeline, &settings->common, &result, error);
    if (status == MC_OK && settings->common.json) {
        json_t *const object = score_json(job, pipeline, &result);
        json_object_set_new(object, "model", json_text(mc_model_name(model)));
        print_json(object);
    } else if (status == MC_OK) {
        score_print(job, mc_model_name(model), &result);
    }
    if (status == MC_OK)
        mc_evaluation_free(&result);
    mc_pipeline_close(pipeline);
    return status;
}

static mc_status check_arguments(const score_settings *score, const text_list *operands,
                                 mc_error *error)
{
    const mc_glue_columns *const columns = &score->columns;
    if (operands->count == 2 && mc_glue_task_find(operands->items[0]) &&
        !mc_glue_task_find(operands->items[1]))
        return mc_fail(error, MC_USAGE,
                       "expected a model, then a task; did you mean 'mergecraft eval %s %s'?",
                       operands->items[1], operands->items[0]);
    if (operands->count == 2 && !columns->text && !columns->pair && !columns->label)
        return MC_OK;
    if (!columns->text && (columns->pair || columns->label))
        return mc_fail(error, MC_USAGE, "expected --text COLUMN with --%s, found none",
                       columns->pair ? "pair" : "label");
    if (!columns->text)
        return mc_fail(error, MC_USAGE,
                       "expected a model and a task, or a model, --data and --text, found %zu "
                       "argument%s",
                       operands->count, plural((int64_t)operands->count));
    if (operands->count != 1)
        return mc_fail(
            error, MC_USAGE,
            "expected a model only, since --text describes own data, found %zu argument%s",
            operands->count, plural((int64_t)operands->count));
    if (!score->data)
        return mc_fail(error, MC_USAGE, "expected --data FILE with --text, found none");
    return score->split ? mc_fail(error, MC_USAGE, "--split: own data (--text) have no splits")
                        : MC_OK;
}

static mc_status eval(eval_settings *settings, const text_list *operands, mc_error *error)
{
    score_job job = {0};
    mc_model *model = NULL;
    mc_status status = check_arguments(&settings->score, operands, error);
    if (status != MC_OK)
        return status;
    settings->score.task = operands->count == 2 ? operands->items[1] : NULL;
    settings->score.dtype_option = "--dtype";
    /*
     * Task, split, precision and examples are checked before a model is opened, which may be a
     * download.
     */
    status = score_prepare(&settings->score, &settings->common, &job, error);
    job.options.cancel = catch_signals();
    if (status == MC_OK)
        status = open_model(operands->items[0], &settings->common, &model, error);
    if (status == MC_OK)
        status = score_model(settings, &job, model, error);
    mc_model_close(model);
    score_free(&job);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    eval_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status) &&
        eval(&settings, &operands, &error) != MC_OK)
        status = report_failure(self, &settings.common, &error);
    free_options(self, &settings, &operands);
    return status;
}

static void print_tasks(FILE *out)
{
    fprintf(out, "\n%stasks%s\n ", bold(out), plain(out));
    for (size_t i = 0; i < mc_glue_task_count(); i++)
        fprintf(out, " %s", mc_glue_task_at(i)->name);
    fputc('\n', out);
}

const subcommand subcommand_eval = {
    .name = "eval",
    .arguments = "MODEL [TASK] [options]",
    .help = "Score a model on a GLUE task or on own data.",
    .text = "Without --data, the examples are read from the folder MERGECRAFT_DATA, if it is\n"
            "set, or else from nyu-mll/glue on the Hub. With --text, there is no TASK: --data\n"
            "is a file of your own. Scores are printed with their standard errors.\n",
    .example = "  mergecraft eval examples/models/rte-1 rte --data examples/models/data\n"
               "  mergecraft eval examples/models/rte-1 --text sentence1 --pair sentence2 \\\n"
               "      --label label --data examples/models/data/validation.tsv\n",
    .options = options,
    .more_help = print_tasks,
    .run = run};

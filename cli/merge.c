/* mergecraft merge: merges several models into one folder. */
#include "merge.h"
#include "command_line.h"
#include "output.h"
#include "progress.h"
#include "report.h"
#include "signals.h"
#include "written.h"

#include <stdlib.h>

#define AT(field_) offsetof(merge_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "DIR", "output folder",
     .details = "Required unless --dry-run or --eval is given. With --eval and without --output, "
                "the models are merged in memory and nothing is written."},
    {"from", '\0', OPTION_TEXT, AT(from), "FILE", "repeat the merge of a mergecraft.json",
     .details = "Also repeats a transplant. Give no METHOD and no models. Inputs from the Hub are "
                "those of the recorded commits. It is an error if the weights differ from those "
                "that FILE records."},
    {"base", '\0', OPTION_TEXT, AT(base), "MODEL", "pretrained ancestor of the models",
     .details = "No model is ever taken for the base unless this option names it."},
    {"param", 'p', OPTION_TEXTS, AT(params), "NAME=VALUE", "parameter of the method",
     .details = "A list has one value per model; NAME[2] is that of model 2. NAME@WHERE is the "
                "value of some tensors: blocks (3, 0-5), a role (attention, mlp, embedding, norm, "
                "query, mlp-up), both (0-5/mlp), or a shell pattern of names."},
    {"passthrough", '\0', OPTION_TEXTS, AT(passthrough), "PATTERN",
     "average matching tensors instead",
     .details =
         "Tensors whose names match this shell pattern are averaged over the models instead of "
         "merged by the method. Use it for a classifier head."},
    {"allow-unused", '\0', OPTION_FLAG, AT(allow_unused), NULL,
     "accept patterns that no name matches",
     .details =
         "Without it, such a pattern of --passthrough or --exclude is wrong usage, unless it "
         "matches the usual name of a head, such as classifier.weight."},
    {"exclude", '\0', OPTION_TEXTS, AT(exclude), "PATTERN", "do not merge matching tensors",
     .details = "Tensors whose names match this shell pattern are copied from one model. Use it "
                "for heads of different sizes."},
    {"keep-head", '\0', OPTION_TEXT, AT(keep), "MODEL", "model that --exclude copies from",
     "the last", .details = "The result has this model's configuration, labels and tokenizer."},
    {"then", '\0', OPTION_TEXTS, AT(then), "ADD-ON", "change the result by an add-on",
     .details = "One of lines, svc and boost, or several in order. Its parameters are given as "
                "-p ADD-ON.NAME=VALUE. Needs --base."},
    {"matrices", '\0', OPTION_TEXTS, AT(matrices), "PATTERN", "matrices to decompose",
     .details = "Tensors of rank 2 whose names match this shell pattern count as matrices to "
                "methods that decompose matrices."},
    {"side", '\0', OPTION_TEXTS, AT(sides), "NAME=MODEL,...", "further models, one per model",
     .details = "Some methods need such side inputs, for instance Hessians."},
    {"tokenizer", '\0', OPTION_TEXT, AT(tokenizer), "union|base|MODEL",
     "merge token by token, with this tokenizer",
     .details = "For models whose vocabularies differ. union: the tokenizer of the base, or of the "
                "last model, with the tokens of the others added."},
    {"token", '\0', OPTION_TEXTS, AT(tokens), "TOKEN=SOURCE", "where the row of a token comes from",
     .details = "The source is zero, MODEL, MODEL:TOKEN or MODEL:#ROW. It is for models that lack "
                "the token, or for all models if ',force' follows. Needs --tokenizer."},
    {"pad-vocab", '\0', OPTION_NUMBER, AT(pad_vocabulary), "N",
     "rows of the vocabulary: a multiple of N", NULL, 1, 1 << 20,
     .details = "Rows that are added hold the mean of the others. Needs --tokenizer."},
    {"chat-template", '\0', OPTION_TEXT, AT(chat_template), "NAME|TEXT",
     "chat template of the result",
     .details =
         "alpaca, chatml, exaone, llama3 or mistral; auto, the one that most models have; or "
         "a template itself. Its special tokens must be in the vocabulary."},
    {"stats", '\0', OPTION_TEXT, AT(stats), "FILE,...", "statistics, one file per model",
     .details = "Files of mergecraft observe in the order of the models: the side inputs of "
                "fisher, regmean and other methods."},
    {"dtype", '\0', OPTION_TEXT, AT(dtype), "f32|f16|bf16", "dtype of the result", "widest input",
     .details = "Integer tensors keep their dtype."},
    {"shard-size", '\0', OPTION_SHARD_SIZE, AT(shard_size), "SIZE",
     "largest size of a weights file", "5GB", .details = "0 means no limit."},
    {"keep-stages", '\0', OPTION_TEXT, AT(stages), "DIR",
     "write the documents of a recipe to DIR/NAME",
     .details = "Of a recipe of several documents, the result of each document with a name is "
                "written to DIR/NAME and read from there. Without this option no intermediate "
                "result is written."},
    {"seed", '\0', OPTION_NUMBER, AT(seed), "N", "seed of random methods", "0", 0, UINT64_MAX,
     .details = "The same seed gives the same result for any number of threads."},
    {"strict", '\0', OPTION_FLAG, AT(strict), NULL, "treat warnings as errors"},
    {"dry-run", '\0', OPTION_FLAG, AT(dry_run), NULL, "print the plan and write nothing",
     .details =
         "The plan lists how each tensor is made, the bytes to read and write, and the memory."},
    {"overwrite", '\0', OPTION_FLAG, AT(overwrite), NULL, "replace an existing output folder",
     .details = "Only a folder that holds a model and nothing else is replaced: weights, "
                "configuration, and files that save_pretrained or mergecraft writes. If it is a "
                "symbolic link, the target of the link is replaced."},
    {"no-sync", '\0', OPTION_FLAG, AT(no_sync), NULL, "do not flush the result to disk"},
    {"memory", '\0', OPTION_SIZE, AT(memory), "SIZE", "memory for tiles", "64MiB",
     .details = MEMORY_DETAILS},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    {"eval", '\0', OPTION_TEXT, AT(score.task), "TASK", "score the result on a GLUE task"},
    {"data", '\0', OPTION_TEXT, AT(score.data), "TASK|FILE|DIR|-",
     "examples for --eval, or to observe",
     .details = "Without --eval and for a method that needs statistics: a GLUE task, or a file "
                "with --task or --text; or a comma-separated list, one item per model. The models "
                "are observed on these examples; the statistics are cached by the contents of "
                "models and data. For greedy_soup, models are selected on these examples."},
    {"task", '\0', OPTION_TEXT, AT(observe.task), "TASK,...",
     "GLUE task of the file, or one per model"},
    {"text", '\0', OPTION_TEXT, AT(observe.columns.text), "COLUMN",
     "file to observe: column of the texts"},
    {"pair", '\0', OPTION_TEXT, AT(observe.columns.pair), "COLUMN",
     "file to observe: column of the second texts"},
    {"label", '\0', OPTION_TEXT, AT(observe.columns.label), "COLUMN",
     "file to observe: column of the labels"},
    {"examples", '\0', OPTION_NUMBER, AT(observe.examples), "N", "examples to observe", "all", 1,
     1 << 22},
    {"split", '\0', OPTION_TEXT, AT(score.split), "NAME", "split of these examples", "validation"},
    {"eval-dtype", '\0', OPTION_TEXT, AT(score.dtype), "f32|bf16|int8", "precision of --eval",
     "f32"},
    {"predictions", '\0', OPTION_TEXT, AT(score.predictions), "FILE",
     "write the predictions of --eval as JSON lines"},
    {"report", '\0', OPTION_TEXT, AT(report), "FILE", "write an HTML report on the merge",
     .details = "One page, as mergecraft report writes it. The models are read once more for the "
                "comparison. Needs --output."},
    COMMON_OPTIONS("The object has output, method, parameters, models, base, sides, warnings, "
                   "tensors, bytes_read, "
                   "bytes_written, bytes_resumed and seconds; with --dry-run the plan and the "
                   "memory instead of "
                   "figures of the run; with --eval also the scores, as eval prints them. "
                   "mergecraft-mpi adds processes: rank, host, bytes_read, bytes_written, seconds "
                   "and memory of each; with --dry-run rank, bytes_read, bytes_written and "
                   "memory."),
    {NULL}};

/* ---- run ------------------------------------------------------------------------------------- */

static mc_status write_result(merge_job *job, mc_run_options *run, mc_run_result *result,
                              mc_error *error)
{
    progress_display display = progress_begin(&job->settings->common);
    run->cancel = catch_signals();
    if (command_comm)
        job->processes = allocate((size_t)command_comm->size * sizeof *job->processes);
    run->processes = job->processes;
    signals_report_folder(job->settings->output);
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

/* Writes the scores into the model card and mergecraft.json. */
static mc_status record_scores(const merge_job *job, mc_error *error)
{
    const mc_evaluation *const found = &job->evaluation;
    mc_score scores[MC_GLUE_METRICS];
    for (size_t i = 0; i < found->metric_count; i++)
        scores[i] = (mc_score){.task = job->score.task->name,
                               .split = job->score.split,
                               .metric = found->metrics[i].name,
                               .value = found->metrics[i].value,
                               .standard_error = found->metrics[i].standard_error,
                               .examples = found->examples,
                               .own_data = job->settings->score.data != NULL};
    if (found->metric_count == 0)
        return MC_OK;
    return mc_add_scores(job->settings->output, scores, found->metric_count, error);
}

static mc_status run_plan(merge_job *job, mc_run_options *run, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    mc_run_result result = {0};
    /* Warnings of the plan were printed before the run; the run may add some. */
    const size_t printed = mc_report_count(mc_plan_report(job->plan));
    mc_status status = settings->output ? write_result(job, run, &result, error) : MC_OK;
    /* One process scores what all have written. */
    if (command_comm && command_comm->rank > 0)
        return status;
    if (status == MC_OK && settings->score.task)
        status = score_result(job, &result, error);
    /* After scoring: the scores are part of the files that are written. */
    if (status == MC_OK && settings->score.task && settings->output)
        status = record_scores(job, error);
    if (status != MC_OK)
        return status;
    merge_print_warnings(job, printed); /* what only the values show */
    if (settings->report) {
        const report_job report = {.common = &settings->common,
                                   .folder = settings->output,
                                   .output = settings->report,
                                   .compare = true,
                                   .threads = settings->threads};
        status = report_write(&report, error);
    }
    if (status != MC_OK)
        return status;
    return merge_print_result(job, &result, error);
}

static mc_status check_report(const merge_settings *settings, mc_error *error)
{
    if (settings->report && !settings->output)
        return mc_fail(error, MC_USAGE, "--report needs an output folder: give it with -o DIR");
    return settings->report
               ? written_check("--report", settings->report, settings->overwrite, NULL, error)
               : MC_OK;
}

static mc_status merge(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    mc_run_options run = merge_run_options(settings);
    mc_status status = check_report(settings, error);
    if (status == MC_OK)
        status = merge_prepare(job, operands, error);
    if (status != MC_OK)
        return status;
    merge_print_warnings(job, 0);
    return settings->dry_run ? merge_print_plan(job, &run, error) : run_plan(job, &run, error);
}

static int run(const subcommand *self, const char *const *arguments)
{
    merge_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    json_t *record = NULL;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        settings.score.threads = settings.threads;
        settings.score.dtype_option = "--eval-dtype";
        settings.score.overwrite = settings.overwrite;
        merge_job job = {.settings = &settings, .own_settings = &settings};
        mc_error error = MC_ERROR_NONE;
        /*
         * In this order: the record gives the operands, the merge writes, and the result is
         * compared with the record. Each step needs the one before it.
         */
        if ((settings.from && merge_take_record(&settings, &operands, &record, &error) != MC_OK) ||
            merge(&job, &operands, &error) != MC_OK ||
            (record && settings.output && !settings.dry_run &&
             merge_compare_record(&settings, record, &error) != MC_OK))
            status = report_failure(self, &settings.common, &error);
        merge_close(&job);
        merge_free_record(&settings, record);
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
            "--from FILE repeats the merge that a mergecraft.json records.\n"
            "An interrupted merge resumes when you run the same command again.\n",
    .example = "  mergecraft merge median examples/models/rte-1 examples/models/rte-2 \\\n"
               "      examples/models/rte-3 examples/models/rte-4 examples/models/rte-5 \\\n"
               "      --passthrough 'classifier.*' -o merged\n",
    .options = options,
    .more_help = print_methods,
    .run = run};

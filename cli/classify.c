/* mergecraft classify: the labels that a model predicts for texts. */
#include "lookup.h"
#include "output.h"
#include "signals.h"

#include <mergecraft/pipeline.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Lines of standard input that are computed together: enough to fill the batches of the encoder,
 * few enough that results of a slow producer appear soon.
 */
enum { BLOCK = 256 };

typedef struct classify_settings {
    common_options common;
    const char *dtype;
    uint64_t threads, top_k;
} classify_settings;

#define AT(field_) offsetof(classify_settings, field_)
static const option options[] = {
    {"top-k", '\0', OPTION_NUMBER, AT(top_k), "N", "number of labels to print", "all", 1, 1000000},
    {"dtype", '\0', OPTION_TEXT, AT(dtype), "f32|bf16|int8", "precision of matrix products", "f32",
     .details = "bf16 and int8 are faster, need a CPU with these instructions, and change logits "
                "slightly. "
                "int8 rounds each row of a matrix to 255 steps."},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object has results: per text, the text, its pair, and labels, a list of "
                   "label and score."),
    {NULL}};

typedef struct classify_job {
    const classify_settings *settings;
    mc_pipeline *pipeline;
    bool lines;       /* texts are read from standard input */
    json_t *results;  /* NULL: print text */
    size_t truncated; /* number of texts */
} classify_job;

/* ---- results --------------------------------------------------------------------------------- */

typedef struct scored_label {
    const char *name;
    float score;
    size_t index;
} scored_label;

static int best_first(const void *left, const void *right)
{
    const scored_label *const a = left, *const b = right;
    if (a->score != b->score)
        return a->score < b->score ? 1 : -1;
    /* qsort is not stable: equal scores keep the order of the labels. */
    return a->index < b->index ? -1 : 1;
}

/* Returns the labels, best first; *count: the number to print. The caller frees them. */
static scored_label *sort_labels(const classify_job *job, const float *scores, size_t *count)
{
    const size_t labels = mc_pipeline_label_count(job->pipeline);
    scored_label *const sorted = allocate(labels * sizeof *sorted);
    for (size_t i = 0; i < labels; i++)
        sorted[i] = (scored_label){mc_pipeline_label(job->pipeline, i), scores[i], i};
    qsort(sorted, labels, sizeof *sorted, best_first);
    const size_t wanted = job->settings->top_k;
    *count = wanted && wanted < labels ? wanted : labels;
    return sorted;
}

static void add_json(classify_job *job, const mc_text_input *text, const scored_label *labels,
                     size_t count)
{
    json_t *const list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:o, s:f}", "label", json_text(labels[i].name),
                                              "score", (double)labels[i].score));
    json_t *const result = json_pack("{s:o, s:o}", "text", json_text(text->text), "labels", list);
    if (text->pair)
        json_object_set_new(result, "pair", json_text(text->pair));
    json_array_append_new(job->results, result);
}

/* One line per text, so that `paste` can put them beside the input. */
static void print_line(const scored_label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *const name = visible_text(labels[i].name);
        printf("%s%s\t%.4f", i ? "\t" : "", name, (double)labels[i].score);
        free(name);
    }
    putchar('\n');
}

static void print_labels(const scored_label *labels, size_t count)
{
    table rows = {.columns = 2};
    for (size_t i = 0; i < count; i++) {
        table_add(&rows, "%s", labels[i].name);
        table_add(&rows, "%.4f", (double)labels[i].score);
    }
    table_finish(&rows, stdout);
}

static void show(classify_job *job, const mc_text_input *text, const float *scores)
{
    size_t count;
    scored_label *const labels = sort_labels(job, scores, &count);
    if (job->results)
        add_json(job, text, labels, count);
    else if (job->lines)
        print_line(labels, count);
    else
        print_labels(labels, count);
    free(labels);
}

static mc_status classify_texts(classify_job *job, const mc_text_input *texts, size_t count,
                                const volatile int *cancel, mc_error *error)
{
    const size_t labels = mc_pipeline_label_count(job->pipeline);
    float *const scores = allocate(count * labels * sizeof *scores);
    size_t truncated = 0;
    const mc_pipeline_run run = {.cancel = cancel, .truncated = &truncated};
    const mc_status status = mc_pipeline_classify(job->pipeline, texts, count, &run, scores, error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        show(job, &texts[i], scores + i * labels);
    job->truncated += truncated;
    free(scores);
    return status;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static mc_text_input make_text(const char *text, const char *pair)
{
    return (mc_text_input){text, strlen(text), pair, pair ? strlen(pair) : 0};
}

/* Splits "text<TAB>pair\n". */
static mc_text_input split_line(char *line, size_t length)
{
    /* Files from other systems end lines with "\r\n"; the last line may have no end. */
    while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
        line[--length] = '\0';
    char *const tab = memchr(line, '\t', length);
    if (!tab)
        return (mc_text_input){line, length, NULL, 0};
    *tab = '\0';
    return (mc_text_input){line, (size_t)(tab - line), tab + 1, length - (size_t)(tab - line) - 1};
}

/* Reads up to BLOCK lines of standard input; fewer only at its end. */
static size_t read_block(char *lines[BLOCK], mc_text_input texts[BLOCK])
{
    size_t count = 0;
    for (; count < BLOCK; count++) {
        size_t capacity = 0;
        lines[count] = NULL;
        const ssize_t length = getline(&lines[count], &capacity, stdin);
        if (length < 0) {
            free(lines[count]);
            break;
        }
        texts[count] = split_line(lines[count], (size_t)length);
    }
    return count;
}

static mc_status classify_input(classify_job *job, const volatile int *cancel, mc_error *error)
{
    char *lines[BLOCK];
    mc_text_input texts[BLOCK];
    mc_status status = MC_OK;
    size_t count = BLOCK;
    job->lines = true;
    while (status == MC_OK && count == BLOCK && !*cancel) {
        count = read_block(lines, texts);
        if (count && !*cancel)
            status = classify_texts(job, texts, count, cancel, error);
        for (size_t i = 0; i < count; i++)
            free(lines[i]);
        /*
         * Results of a block appear before the next one is read, which may take as long as its
         * producer.
         */
        fflush(stdout);
    }
    if (status == MC_OK && *cancel)
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    if (status == MC_OK && ferror(stdin))
        return mc_fail(error, MC_IO, "standard input: cannot read: %s", strerror(errno));
    return status;
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static void finish(classify_job *job)
{
    if (job->truncated && !job->settings->common.quiet) {
        char *const text = format_text("truncated %zu text%s longer than %zu tokens",
                                       job->truncated, plural((int64_t)job->truncated),
                                       mc_pipeline_max_length(job->pipeline));
        say("note", text);
        free(text);
    }
    if (job->results)
        print_json(json_pack("{s:O}", "results", job->results));
}

static mc_status run_job(classify_job *job, const text_list *operands, const volatile int *cancel,
                         mc_error *error)
{
    /* Waiting for input must end at Ctrl-C. Everywhere else, interrupted system calls restart. */
    if (operands->count == 1)
        return classify_input(job, catch_signals_in_reads(), error);
    const mc_text_input text = make_text(operands->items[1],
                                         operands->count > 2 ? operands->items[2] : NULL);
    return classify_texts(job, &text, 1, cancel, error);
}

static mc_status open_pipeline(const classify_settings *settings, const char *name,
                               const volatile int *cancel, mc_pipeline **out, mc_error *error)
{
    mc_pipeline_options with = {.threads = (int)settings->threads, .cancel = cancel};
    mc_model *model = NULL;
    mc_status status = parse_precision("--dtype", settings->dtype, &with.precision, error);
    if (status == MC_OK)
        status = open_model(name, &settings->common, &model, error);
    if (status == MC_OK)
        status = mc_pipeline_open(model, &with, out, error);
    /* The pipeline has copies of the weights, and keeps what it needs of the model. */
    mc_model_close(model);
    return status;
}

static mc_status check_arguments(const text_list *operands, mc_error *error)
{
    if (operands->count == 0)
        return mc_fail(error, MC_USAGE, "expected a model, found none");
    if (operands->count > 3)
        return mc_fail(error, MC_USAGE,
                       "expected a model, a text and its pair, found %zu arguments",
                       operands->count);
    const char *const *const given = operands->items;
    /* A first argument that does not exist and a second one that does are in the wrong order. */
    if (operands->count > 1 && access(given[0], F_OK) != 0 && access(given[1], F_OK) == 0)
        return mc_fail(
            error, MC_USAGE,
            "expected a model, then a text; did you mean 'mergecraft classify %s \"%s\"'?",
            given[1], given[0]);
    return MC_OK;
}

static mc_status classify(const classify_settings *settings, const text_list *operands,
                          mc_error *error)
{
    classify_job job = {.settings = settings};
    const mc_status checked = check_arguments(operands, error);
    if (checked != MC_OK)
        return checked;
    const volatile int *const cancel = catch_signals();
    mc_status status = open_pipeline(settings, operands->items[0], cancel, &job.pipeline, error);
    job.results = settings->common.json ? json_array() : NULL;
    if (status == MC_OK)
        status = run_job(&job, operands, cancel, error);
    if (status == MC_OK)
        finish(&job);
    json_decref(job.results);
    mc_pipeline_close(job.pipeline);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    classify_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status) &&
        classify(&settings, &operands, &error) != MC_OK)
        status = report_failure(self, &settings.common, &error);
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_classify = {
    .name = "classify",
    .arguments = "MODEL [TEXT [PAIR]] [options]",
    .help = "Classify texts with a model.",
    .text = "Without TEXT, each line of standard input is a text, or a text, a tab and its\n"
            "pair. One line of results is printed per line of input.\n",
    .example = "  mergecraft classify examples/models/rte-1 \\\n"
               "      \"Every surgeon slept.\" \"A medic slept.\"\n",
    .options = options,
    .run = run};

/* mergecraft lora: merges LoRA adapters, extracts one, bakes them into their base. */
#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "plan_run.h"
#include "progress.h"
#include "signals.h"

#include <mergecraft/lora.h>
#include <mergecraft/text.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct lora_settings {
    plan_settings plan;
    const char *base, *dtype, *energy;
    text_list params, exclude, save;
    uint64_t rank, max_rank, seed;
    bool exact, embeddings;
} lora_settings;

#define AT(field_) offsetof(lora_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(plan.output), "DIR", "output folder",
     .details = "Required unless --dry-run is given."},
    {"base", '\0', OPTION_TEXT, AT(base), "MODEL", "base model of extract and bake",
     .details = "extract needs it; it is what the fine-tuned model was trained from. The default "
                "of bake is the base model that the first adapter names."},
    {"param", 'p', OPTION_TEXTS, AT(params), "NAME=VALUE", "parameter of the method of merge"},
    {"rank", 'r', OPTION_NUMBER, AT(rank), "N", "rank of the result", NULL, 1, INT32_MAX,
     .details = "The default of merge is the largest rank of the adapters, that of extract 32. A "
                "module with fewer rows or columns has a smaller rank."},
    {"energy", '\0', OPTION_TEXT, AT(energy), "SHARE", "keep this share of each update",
     .details =
         "Each module gets the smallest rank whose singular values have this share, such "
         "as 0.95, of the sum of all squared singular values. Updates are decomposed twice."},
    {"max-rank", '\0', OPTION_NUMBER, AT(max_rank), "N", "largest rank with --energy", "none", 1,
     INT32_MAX},
    {"exact", '\0', OPTION_FLAG, AT(exact), NULL, "decompose large matrices exactly",
     .details = "By default they are decomposed by randomised block Krylov iteration, until half a "
                "pass lowers the squared error by less than 0.1 %. The error is measured and "
                "reported in either case."},
    {"exclude", '\0', OPTION_TEXTS, AT(exclude), "PATTERN", "extract: leave out tensors",
     .details = "Tensors whose names match this shell pattern stay as they are in the base."},
    {"save", '\0', OPTION_TEXTS, AT(save), "PATTERN", "extract: save matching tensors"},
    {"embeddings", '\0', OPTION_FLAG, AT(embeddings), NULL, "extract: adapt embeddings, too",
     .details = "By default embeddings that changed are saved whole."},
    {"dtype", '\0', OPTION_TEXT, AT(dtype), "f32|f16|bf16", "dtype of the result",
     .details = "The default of merge and bake is the widest dtype of the inputs, that of extract "
                "f32."},
    {"shard-size", '\0', OPTION_SHARD_SIZE, AT(plan.shard_size), "SIZE",
     "bake: largest size of a weights file", "5GB", .details = "0 means no limit."},
    {"seed", '\0', OPTION_NUMBER, AT(seed), "N", "seed of random numbers", "0", 0, INT64_MAX,
     .details = "The same seed gives the same result for any number of threads."},
    {"strict", '\0', OPTION_FLAG, AT(plan.strict), NULL, "treat warnings as errors"},
    {"dry-run", '\0', OPTION_FLAG, AT(plan.dry_run), NULL, "print the plan and write nothing",
     .details = "extract reads the models to find the tensors that differ."},
    {"overwrite", '\0', OPTION_FLAG, AT(plan.overwrite), NULL, "replace an existing output folder"},
    {"no-sync", '\0', OPTION_FLAG, AT(plan.no_sync), NULL, "do not flush the result to disk"},
    {"memory", '\0', OPTION_SIZE, AT(plan.memory), "SIZE", "memory for tiles", "64MiB",
     .details = "If given, SIZE also limits what the decompositions of merge and extract hold, all "
                "together; by default they have no limit. A module that needs more is an error. "
                "The result does not depend on it."},
    {"threads", '\0', OPTION_NUMBER, AT(plan.threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object of merge and extract has output, method, parameters, rank, adapters "
                   "or model and base, warnings, modules (path, shape, rank, experts, energy), "
                   "blocks (block, energy), saved and seconds. That of bake is that of merge (see "
                   "mergecraft-merge(1))."),
    {NULL}};

/* The objects of a run, of any of the three verbs; close_job frees them. */
typedef struct lora_job {
    const lora_settings *settings;
    const char *verb;
    mc_lora **adapters;
    size_t adapter_count;
    mc_model *models[2];
    char *name; /* of bake: BASE+ADAPTER… */
    mc_lora_plan *plan;
    mc_plan *baking;
} lora_job;

static void close_job(lora_job *job)
{
    /* Plans first: they read adapters and models until they are freed. */
    mc_lora_plan_free(job->plan);
    mc_plan_free(job->baking);
    for (size_t i = 0; i < job->adapter_count; i++)
        mc_lora_close(job->adapters[i]);
    free(job->adapters);
    for (size_t i = 0; i < 2; i++)
        mc_model_close(job->models[i]);
    free(job->name);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static mc_status find_dtype(const lora_settings *settings, bool *convert, mc_dtype *dtype,
                            mc_error *error)
{
    *convert = settings->dtype != NULL;
    if (!*convert)
        return MC_OK;
    if (mc_dtype_parse(settings->dtype, dtype) &&
        (*dtype == MC_F32 || *dtype == MC_F16 || *dtype == MC_BF16))
        return MC_OK;
    return mc_fail(error, MC_USAGE, "--dtype: expected f32, f16 or bf16, found '%s'",
                   settings->dtype);
}

static mc_status find_rank(const lora_settings *settings, mc_lora_rank *rank, mc_error *error)
{
    char *end = NULL;
    *rank = (mc_lora_rank){.rank = (int64_t)settings->rank,
                           .max_rank = (int64_t)settings->max_rank,
                           .exact = settings->exact,
                           .seed = settings->seed,
                           .memory = settings->plan.memory};
    if (settings->energy) {
        /* NaN fails both comparisons and is rejected, too. */
        rank->energy = strtod(settings->energy, &end);
        if (end == settings->energy || *end || !(rank->energy > 0 && rank->energy <= 1))
            return mc_fail(error, MC_USAGE,
                           "--energy: expected a number above 0 and at most 1, found '%s'",
                           settings->energy);
        if (settings->rank > 0)
            return mc_fail(error, MC_USAGE, "expected --rank or --energy, found both");
    } else if (settings->max_rank > 0) {
        return mc_fail(error, MC_USAGE, "expected --energy with --max-rank, found none");
    }
    return MC_OK;
}

/* Options that mean nothing to the verb. */
static mc_status check_options(const lora_job *job, mc_error *error)
{
    const lora_settings *const s = job->settings;
    /* One table of options serves three verbs, so --help shows all of them. */
    const bool merge = strcmp(job->verb, "merge") == 0, extract = strcmp(job->verb, "extract") == 0;
    /* An option that has no effect is an error, since its user expects one. */
    const struct {
        const char *name;
        bool given, allowed;
    } rows[] = {{"base", s->base, !merge},
                {"param", s->params.count > 0, merge},
                {"rank", s->rank > 0, merge || extract},
                {"energy", s->energy, merge || extract},
                {"max-rank", s->max_rank > 0, merge || extract},
                {"exact", s->exact, merge || extract},
                {"exclude", s->exclude.count > 0, extract},
                {"save", s->save.count > 0, extract},
                {"embeddings", s->embeddings, extract},
                {"shard-size", s->plan.shard_size > 0, !merge && !extract},
                {"seed", s->seed > 0, merge || extract}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].given && !rows[i].allowed)
            return mc_fail(error, MC_USAGE, "expected options of lora %s, found --%s", job->verb,
                           rows[i].name);
    return check_plan_output(&s->plan, error);
}

/* ---- plans ----------------------------------------------------------------------------------- */

static mc_status open_adapter(const char *name, const common_options *common, mc_lora **out,
                              mc_error *error)
{
    fetch_display display = fetch_begin(common);
    const mc_hub_options hub = fetch_options(&display);
    const mc_status status = mc_lora_open(name, &hub, out, error);
    fetch_end(&display);
    return status;
}

static mc_status plan_merge(lora_job *job, const text_list *operands, mc_error *error)
{
    const lora_settings *const settings = job->settings;
    mc_lora_merge_input input = {.params = settings->params.items,
                                 .param_count = settings->params.count,
                                 .strict = settings->plan.strict};
    if (operands->count < 3)
        return mc_fail(error, MC_USAGE,
                       "expected a method and adapters after merge, found %zu "
                       "argument%s",
                       operands->count - 1, plural((int64_t)operands->count - 1));
    mc_status status = find_dtype(settings, &input.convert, &input.dtype, error);
    if (status == MC_OK)
        status = find_rank(settings, &input.rank, error);
    job->adapters = allocate(operands->count * sizeof *job->adapters);
    for (size_t i = 2; status == MC_OK && i < operands->count; i++) {
        status = open_adapter(operands->items[i], &settings->plan.common,
                              &job->adapters[job->adapter_count], error);
        /* close_job must close exactly those that were opened. */
        job->adapter_count += status == MC_OK;
    }
    input.method = operands->items[1];
    input.adapters = (const mc_lora *const *)job->adapters;
    input.adapter_count = job->adapter_count;
    return status == MC_OK ? mc_lora_merge(&input, &job->plan, error) : status;
}

static mc_status plan_extract(lora_job *job, const text_list *operands, mc_error *error)
{
    const lora_settings *const settings = job->settings;
    mc_lora_extract_input input = {.save = settings->save.items,
                                   .save_count = settings->save.count,
                                   .exclude = settings->exclude.items,
                                   .exclude_count = settings->exclude.count,
                                   .embeddings = settings->embeddings,
                                   .threads = (int)settings->plan.threads,
                                   .strict = settings->plan.strict};
    if (operands->count != 2)
        return mc_fail(error, MC_USAGE, "expected one fine-tuned model after extract, found %zu",
                       operands->count - 1);
    if (!settings->base) {
        mc_fail(error, MC_USAGE, "extract needs a base model");
        error->hint = MC_HINT_BASE;
        return MC_USAGE;
    }
    mc_status status = find_dtype(settings, &input.convert, &input.dtype, error);
    if (status == MC_OK)
        status = find_rank(settings, &input.rank, error);
    const char *const names[] = {operands->items[1], settings->base};
    if (status == MC_OK)
        /* Together, so that both are downloaded at once. */
        status = open_models(names, 2, &settings->plan.common, false, job->models, error);
    input.model = job->models[0];
    input.base = job->models[1];
    return status == MC_OK ? mc_lora_extract(&input, &job->plan, error) : status;
}

/* BASE+ADAPTER[+ADAPTER…] of the operands; an operand may have this form itself. */
static mc_status name_baked(lora_job *job, const text_list *operands, mc_error *error)
{
    const char *const base = job->settings->base;
    char *name = NULL;
    if (operands->count < 2)
        return mc_fail(error, MC_USAGE, "expected adapters after bake, found none");
    if (base)
        name = format_text("%s", base);
    for (size_t i = 1; i < operands->count; i++) {
        char *const longer = name ? format_text("%s+%s", name, operands->items[i])
                                  : format_text("%s", operands->items[i]);
        free(name);
        name = longer;
    }
    job->name = name;
    /*
     * One operand without --base is BASE+ADAPTER, or an adapter whose configuration names its base.
     */
    if (base || operands->count == 2)
        return MC_OK;
    /* Several adapters of one base, which the first names. */
    mc_lora *first = NULL;
    mc_status status = strchr(operands->items[1], '+')
                           ? MC_OK
                           : open_adapter(operands->items[1], &job->settings->plan.common, &first,
                                          error);
    if (first && !mc_lora_base(first))
        status = mc_fail(error, MC_USAGE, "%s names no base model: give it with --base",
                         operands->items[1]);
    else if (first) {
        job->name = format_text("%s+%s", mc_lora_base(first), name);
        free(name);
    }
    mc_lora_close(first);
    return status;
}

/* Baking is a merge of one model by a method that copies it. */
static mc_status plan_bake(lora_job *job, const text_list *operands, mc_error *error)
{
    /* Opening BASE+ADAPTER applies the adapters; the merge of one model copies the result. */
    mc_plan_input input = {.method = mc_method_find("mergekit:passthrough"),
                           .strict = job->settings->plan.strict,
                           .model_count = 1};
    mc_status status = find_dtype(job->settings, &input.convert, &input.dtype, error);
    if (status == MC_OK)
        status = name_baked(job, operands, error);
    const char *const name = job->name;
    if (status == MC_OK)
        status = open_models(&name, 1, &job->settings->plan.common, false, job->models, error);
    input.models = (const mc_model *const *)job->models;
    return status == MC_OK ? mc_plan_new(&input, &job->baking, error) : status;
}

static mc_status plan(lora_job *job, const text_list *operands, mc_error *error)
{
    mc_status status = check_options(job, error);
    if (status != MC_OK)
        return status;
    if (strcmp(job->verb, "merge") == 0)
        return plan_merge(job, operands, error);
    return strcmp(job->verb, "extract") == 0 ? plan_extract(job, operands, error)
                                             : plan_bake(job, operands, error);
}

/* ---- output ---------------------------------------------------------------------------------- */

static const mc_report *report_of(const lora_job *job)
{
    return job->baking ? mc_plan_report(job->baking) : mc_lora_plan_report(job->plan);
}

static void print_warnings(const lora_job *job, size_t first)
{
    const mc_report *const report = report_of(job);
    for (size_t i = first; !job->settings->plan.common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
}

static mc_status print_json_plan(const lora_job *job, const mc_run_result *result, mc_error *error)
{
    char *text = NULL;
    const mc_status status = job->baking ? mc_plan_json(job->baking, NULL, &text, error)
                                         : mc_lora_plan_json(job->plan, &text, error);
    if (status != MC_OK)
        return status;
    json_t *const object = json_of_plan(job->settings->plan.output, text);
    if (result) {
        json_object_set_new(object, "bytes_written", json_integer(result->bytes_written));
        json_object_set_new(object, "seconds", json_real(round(result->seconds * 1000) / 1000));
    }
    print_json(object);
    return MC_OK;
}

/* A table of modules; energies are known after a run. */
static void print_modules(const mc_lora_plan *plan)
{
    static const char *const titles[] = {"MODULE", "UPDATE", "RANK"};
    table rows = {.titles = titles, .columns = 3, .right = 1 << 2};
    for (size_t i = 0; i < mc_lora_plan_count(plan); i++) {
        mc_lora_line line;
        mc_lora_plan_line(plan, i, &line);
        table_add(&rows, "%s", line.path);
        if (line.whole)
            table_add(&rows, "saved whole");
        else
            table_add_shape(&rows, 2, (const int64_t[]){line.rows, line.columns});
        if (line.whole)
            table_add(&rows, "%s", "");
        else
            table_add(&rows, "%lld", (long long)line.rank);
    }
    table_finish(&rows, stdout);
}

static mc_status print_plan(const lora_job *job, mc_error *error)
{
    if (job->settings->plan.common.json)
        return print_json_plan(job, NULL, error);
    if (job->plan) {
        print_modules(job->plan);
        return MC_OK;
    }
    static const char *const titles[] = {"TENSOR", "HOW"};
    table rows = {.titles = titles, .columns = 2};
    for (size_t i = 0; i < mc_plan_count(job->baking); i++) {
        mc_plan_line line;
        char how[1024];
        mc_plan_line_at(job->baking, i, &line);
        table_add(&rows, "%s", line.name);
        table_add(&rows, "%s", mc_plan_line_text(&line, how, sizeof how));
    }
    table_finish(&rows, stdout);
    return MC_OK;
}

/* The energy that is kept per block. */
static void print_blocks(const mc_lora_plan *plan)
{
    static const char *const titles[] = {"BLOCK", "ENERGY KEPT"};
    table rows = {.titles = titles, .columns = 2, .right = 1 << 1, .indent = 2};
    char *text = NULL;
    if (mc_lora_plan_json(plan, &text, NULL) != MC_OK)
        return;
    /* The plan's JSON is the public interface to energies per block. */
    json_t *const json = json_loads(text, 0, NULL), *const blocks = json_object_get(json, "blocks");
    mc_plan_json_free(text);
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        const json_t *const block = json_array_get(blocks, i);
        const json_t *const energy = json_object_get(block, "energy");
        table_add(&rows, "%s", json_string_value(json_object_get(block, "block")));
        if (json_is_null(energy))
            table_add(&rows, "unknown");
        else
            table_add(&rows, "%.2f %%", 100 * json_number_value(energy));
    }
    table_finish(&rows, stdout);
    json_decref(json);
}

static mc_status print_result(const lora_job *job, const mc_run_result *result, mc_error *error)
{
    char bytes[16];
    if (job->settings->plan.common.json)
        return print_json_plan(job, result, error);
    if (job->settings->plan.common.quiet)
        return MC_OK;
    char *const folder = visible_text(job->settings->plan.output);
    /* The size is that of the adapter, also if an earlier run wrote a part of it. */
    printf("%s: %zu tensor%s, %s in %.2f s\n", folder, result->tensors,
           plural((int64_t)result->tensors),
           mc_format_bytes(result->bytes_written + result->bytes_resumed, bytes, sizeof bytes),
           result->seconds);
    free(folder);
    if (job->plan && strcmp(job->verb, "extract") == 0)
        print_blocks(job->plan);
    return MC_OK;
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static mc_status write_result(lora_job *job, mc_error *error)
{
    mc_run_options run = plan_run_options(&job->settings->plan);
    mc_run_result result = {0};
    progress_display display = progress_begin(&job->settings->plan.common);
    run.cancel = catch_signals();
    signals_report_folder(job->settings->plan.output);
    if (display.bar || display.lines) {
        run.progress = progress_update;
        run.user = &display;
    }
    const char *const output = job->settings->plan.output;
    const size_t printed = mc_report_count(report_of(job));
    const mc_status status = job->baking ? mc_plan_run(job->baking, output, &run, &result, error)
                                         : mc_lora_run(job->plan, output, &run, &result, error);
    progress_end(&display);
    if (status != MC_OK)
        return status;
    print_warnings(job, printed); /* what only the values show */
    return print_result(job, &result, error);
}

static mc_status lora(lora_job *job, const text_list *operands, mc_error *error)
{
    static const char *const verbs[] = {"merge", "extract", "bake"};
    for (size_t i = 0; operands->count > 0 && i < 3; i++)
        if (strcmp(operands->items[0], verbs[i]) == 0)
            job->verb = verbs[i];
    if (!job->verb)
        return mc_fail(error, MC_USAGE, "expected merge, extract or bake, found %s",
                       operands->count > 0 ? operands->items[0] : "none");
    const mc_status status = plan(job, operands, error);
    if (status != MC_OK)
        return status;
    print_warnings(job, 0);
    return job->settings->plan.dry_run ? print_plan(job, error) : write_result(job, error);
}

static int run(const subcommand *self, const char *const *arguments)
{
    lora_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        lora_job job = {.settings = &settings};
        mc_error error = MC_ERROR_NONE;
        if (lora(&job, &operands, &error) != MC_OK)
            status = report_failure(self, &settings.plan.common, &error);
        close_job(&job);
    }
    free_options(self, &settings, &operands);
    return status;
}

static void print_lora_methods(FILE *out)
{
    fprintf(out, "\n%smethods of merge%s\n", bold(out), plain(out));
    for (size_t i = 0; i < mc_lora_method_count(); i++) {
        const mc_method *const method = mc_lora_method_at(i);
        fprintf(out, "  %-20s %s\n", method->name, method->help);
    }
    fputs("  METHOD               the updates by a method of mergecraft merge, truncated\n", out);
}

const subcommand subcommand_lora = {
    .name = "lora",
    .arguments = "merge|extract|bake NAME... -o DIR [options]",
    .help = "Merge, extract and bake LoRA adapters.",
    .text = "lora merge METHOD ADAPTER...  merges adapters into one adapter\n"
            "lora extract MODEL            makes an adapter of a fine-tuned model, for --base\n"
            "lora bake ADAPTER...          applies adapters to their base, or --base\n"
            "ADAPTER is a folder as PEFT saves it, or a repository on the Hub. The results of\n"
            "merge and extract are such folders. An interrupted run resumes when you run the\n"
            "same command again.\n",
    .example = "  mergecraft lora extract examples/models/rte-1 --base examples/models/rte-2 \\\n"
               "      --rank 8 -o merged\n",
    .options = options,
    .more_help = print_lora_methods,
    .run = run};

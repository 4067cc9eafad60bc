/*
 * mergecraft mergekit-yaml, mergekit-multi, mergekit-pytorch: the commands of mergekit, with their
 * options. Also run under these names, by links to the command.
 */
#include "output.h"
#include "recipe_run.h"

#include <stdlib.h>

typedef struct mergekit_settings {
    common_options common;
    bool copy_tokenizer, write_card, safe_serialization, truncate;
    bool lazy, intersection, tensor_union;
    bool ignored, loud;
    const char *ignored_text, *cache, *intermediate, *output;
    int64_t shard_size;
    uint64_t seed, threads, ignored_number;
} mergekit_settings;

#define AT(field_) offsetof(mergekit_settings, field_)
/* Accepted so that scripts that were written for mergekit run unchanged. */
#define NO_EFFECT(name_)                                                                           \
    {                                                                                              \
        name_, '\0', OPTION_SWITCH, AT(ignored), NULL, "no effect"                                 \
    }

/* The options that mergekit's commands share. */
#define SHARED_OPTIONS                                                                             \
    {"out-shard-size",                                                                             \
     '\0',                                                                                         \
     OPTION_SHARD_SIZE,                                                                            \
     AT(shard_size),                                                                               \
     "SIZE",                                                                                       \
     "largest size of a weights file",                                                             \
     "5B",                                                                                         \
     .details = "0 means no limit."},                                                              \
        {"random-seed", '\0', OPTION_NUMBER, AT(seed), "N", "seed of random methods",              \
         "0",           0,    UINT64_MAX},                                                         \
        {"num-threads", 'j', OPTION_NUMBER, AT(threads), "N", "worker threads",                    \
         "all CPUs",    1,   1024},                                                                \
        {"copy-tokenizer",                                                                         \
         '\0',                                                                                     \
         OPTION_SWITCH,                                                                            \
         AT(copy_tokenizer),                                                                       \
         NULL,                                                                                     \
         "copy the tokenizer of the base",                                                         \
         "on"},                                                                                    \
        {"write-model-card",                                                                       \
         '\0',                                                                                     \
         OPTION_SWITCH,                                                                            \
         AT(write_card),                                                                           \
         NULL,                                                                                     \
         "write README.md and mergekit_config.yml",                                                \
         "on"},                                                                                    \
        {"safe-serialization",                                                                     \
         '\0',                                                                                     \
         OPTION_SWITCH,                                                                            \
         AT(safe_serialization),                                                                   \
         NULL,                                                                                     \
         "write safetensors, the only format",                                                     \
         "on"},                                                                                    \
        {"unsafe-truncate-embeddings",         '\0', OPTION_SWITCH, AT(truncate), NULL,            \
         "not supported: use tokenizer_source"},                                                   \
        {"transformers-cache", '\0', OPTION_TEXT, AT(cache), "DIR", "folder for downloads"},       \
        NO_EFFECT("allow-crimes"), NO_EFFECT("trust-remote-code"), NO_EFFECT("cuda"),              \
        NO_EFFECT("low-cpu-memory"), NO_EFFECT("lazy-unpickle"), NO_EFFECT("read-to-gpu"),         \
        NO_EFFECT("multi-gpu"), NO_EFFECT("gpu-rich"), NO_EFFECT("async-write"),                   \
        NO_EFFECT("clone-tensors"),                                                                \
        {"device", '\0', OPTION_TEXT, AT(ignored_text), "NAME", "no effect"},                      \
        {"lora-merge-cache", '\0', OPTION_TEXT, AT(ignored_text), "DIR", "no effect"},             \
        {"lora-merge-dtype", '\0', OPTION_TEXT, AT(ignored_text), "DTYPE", "no effect"},           \
        {"write-threads", '\0', OPTION_NUMBER, AT(ignored_number), "N", "no effect", NULL, 0,      \
         UINT64_MAX},                                                                              \
        {"no-quiet", '\0', OPTION_FLAG, AT(loud), NULL, "print messages, as by default"},          \
        COMMON_OPTIONS("The object has output."),                                                  \
    {                                                                                              \
        NULL                                                                                       \
    }

static const option yaml_options[] = {SHARED_OPTIONS};

static const option multi_options[] = {
    {"intermediate-dir", 'I', OPTION_TEXT, AT(intermediate), "DIR",
     "folder for documents with a name"},
    {"out-path", '\0', OPTION_TEXT, AT(output), "DIR", "folder for the document without a name"},
    {"lazy", '\0', OPTION_SWITCH, AT(lazy), NULL, "keep results that exist already", "on"},
    SHARED_OPTIONS};

static const option pytorch_options[] = {{"tensor-intersection", 'i', OPTION_FLAG, AT(intersection),
                                          NULL, "drop tensors that a file lacks"},
                                         {"tensor-union", 'u', OPTION_FLAG, AT(tensor_union), NULL,
                                          "merge tensors of the files that have them"},
                                         SHARED_OPTIONS};

/* ---- runs ------------------------------------------------------------------------------------ */
typedef mc_status (*runner)(const mergekit_settings *settings, recipe_run *r,
                            const text_list *operands, mc_error *error);

static mc_status check_settings(const mergekit_settings *settings, mc_error *error)
{
    if (!settings->safe_serialization)
        return mc_fail(error, MC_USAGE, "--no-safe-serialization: only safetensors are written");
    if (settings->truncate)
        return mc_fail(error, MC_USAGE,
                       "--unsafe-truncate-embeddings is not supported: align vocabularies with "
                       "'tokenizer_source' in the recipe");
    return MC_OK;
}

/* mergekit writes into folders that exist: here a model is replaced, and nothing else is. */
static recipe_run run_of(const mergekit_settings *settings)
{
    recipe_run r = {.common = &settings->common};
    r.options.seed = settings->seed;
    r.options.no_card = !settings->write_card;
    r.options.no_tokenizer = !settings->copy_tokenizer;
    r.run.threads = (int)settings->threads;
    r.run.shard_size = settings->shard_size;
    r.run.overwrite = true;
    return r;
}

static mc_status run_yaml(const mergekit_settings *settings, recipe_run *r,
                          const text_list *operands, mc_error *error)
{
    (void)settings;
    if (mc_recipe_stage_count(r->recipe) > 1)
        return mc_fail(error, MC_USAGE, "%s: expected one document, found %zu: use mergekit-multi",
                       operands->items[0], mc_recipe_stage_count(r->recipe));
    return recipe_write(r, 0, operands->items[1], error);
}

static mc_status run_multi(const mergekit_settings *settings, recipe_run *r,
                           const text_list *operands, mc_error *error)
{
    const size_t count = mc_recipe_stage_count(r->recipe);
    /* No document can read the one without a name, so it comes last. */
    const bool unnamed = !mc_recipe_stage_name(r->recipe, count - 1);
    if (unnamed && !settings->output)
        return mc_fail(error, MC_USAGE, "%s: expected --out-path for the document without a name",
                       operands->items[0]);
    if (!settings->intermediate && count > (size_t)unnamed)
        return mc_fail(error, MC_USAGE,
                       "%s: expected --intermediate-dir for the documents with a "
                       "name",
                       operands->items[0]);
    mc_status status = MC_OK;
    if (settings->intermediate)
        status = recipe_write_stages(r, settings->intermediate, true, settings->lazy, error);
    if (status == MC_OK && unnamed)
        status = recipe_write(r, 0, settings->output, error);
    return status;
}

static mc_status run_pytorch(const mergekit_settings *settings, recipe_run *r,
                             const text_list *operands, mc_error *error)
{
    /* Its inputs are files of weights, and it writes no model card. */
    r->options.raw = true;
    r->options.no_card = true;
    r->options.missing = settings->intersection   ? MC_MISSING_DROP
                         : settings->tensor_union ? MC_MISSING_MERGE
                                                  : MC_MISSING_FAIL;
    return recipe_write(r, 0, operands->items[1], error);
}

static mc_status run_config(const mergekit_settings *settings, const text_list *operands,
                            runner run, mc_error *error)
{
    recipe_run r = run_of(settings);
    mc_status status = check_settings(settings, error);
    /* The Hub's code reads this variable when a model is opened. */
    if (settings->cache && setenv("HF_HUB_CACHE", settings->cache, 1) != 0)
        status = mc_fail(error, MC_NO_MEMORY, "no memory");
    if (status == MC_OK)
        status = mc_recipe_open(operands->items[0], &r.recipe, error);
    if (status == MC_OK)
        status = run(settings, &r, operands, error);
    mc_recipe_close(r.recipe);
    if (status == MC_OK && settings->common.json)
        print_json(
            json_pack("{s:o}", "output",
                      json_text(operands->count > 1 ? operands->items[1] : settings->output)));
    return status;
}

static int run_as(const subcommand *self, const char *const *arguments, size_t expected, runner run)
{
    /* The defaults of mergekit's commands; --no-NAME clears them. */
    mergekit_settings settings = {
        .copy_tokenizer = true, .write_card = true, .safe_serialization = true, .lazy = true};
    text_list operands = {0};
    int status = EXIT_DONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        settings.common.quiet = settings.common.quiet && !settings.loud;
        mc_error error = MC_ERROR_NONE;
        mc_status done = operands.count == expected
                             ? run_config(&settings, &operands, run, &error)
                             : mc_fail(&error, MC_USAGE, "expected %s, found %zu arguments",
                                       self->arguments, operands.count);
        if (done != MC_OK)
            status = report_failure(self, &settings.common, &error);
    }
    free_options(self, &settings, &operands);
    return status;
}

static int run_as_yaml(const subcommand *self, const char *const *arguments)
{
    return run_as(self, arguments, 2, run_yaml);
}

static int run_as_multi(const subcommand *self, const char *const *arguments)
{
    return run_as(self, arguments, 1, run_multi);
}

static int run_as_pytorch(const subcommand *self, const char *const *arguments)
{
    return run_as(self, arguments, 2, run_pytorch);
}

#define SWITCHES "Options that are on by default are switched off by --no-NAME.\n"

const subcommand subcommand_mergekit_yaml = {
    .name = "mergekit-yaml",
    .arguments = "CONFIGFILE OUTDIR [options]",
    .help = "Run a recipe as mergekit-yaml does.",
    .text = "Merges what the recipe CONFIGFILE describes into OUTDIR, and takes all options\n"
            "of mergekit's command of this name. A model in OUTDIR is replaced.\n" SWITCHES,
    .example = "  mergecraft mergekit-yaml examples/ties.yml merged --copy-tokenizer\n",
    .options = yaml_options,
    .run = run_as_yaml};

const subcommand subcommand_mergekit_multi = {
    .name = "mergekit-multi",
    .arguments = "CONFIGFILE [options]",
    .help = "Run a recipe of several documents as mergekit-multi does.",
    .text = "Merges the documents of the recipe CONFIGFILE one after the other, and takes\n"
            "all options of mergekit's command of this name.\n" SWITCHES,
    .example = "  mergecraft mergekit-multi examples/ties.yml --out-path merged\n",
    .options = multi_options,
    .run = run_as_multi};

const subcommand subcommand_mergekit_pytorch = {
    .name = "mergekit-pytorch",
    .arguments = "CONFIGFILE OUTDIR [options]",
    .help = "Merge files of weights as mergekit-pytorch does.",
    .text = "Merges the files of weights that the recipe CONFIGFILE names into OUTDIR, and\n"
            "takes all options of mergekit's command of this name.\n" SWITCHES,
    .example = "  mergecraft mergekit-pytorch examples/ties.yml merged --tensor-union\n",
    .options = pytorch_options,
    .run = run_as_pytorch};

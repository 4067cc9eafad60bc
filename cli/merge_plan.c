/* mergecraft merge: from the command line to a plan. */
#include "command_line.h"
#include "merge.h"
#include "output.h"

#include <mergecraft/transplant.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

void merge_add_name(merge_job *job, const char *name, size_t length)
{
    job->names = reallocate(job->names, (job->all.count + 1) * sizeof *job->names);
    job->names[job->all.count++] = format_text("%.*s", (int)length, name);
}

/* Lists of parse_options have no spare room. Those that grow are short. */
void merge_append(text_list *list, const char *text)
{
    list->items = reallocate(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = text;
}

void merge_free_texts(text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((char *)(uintptr_t)list->items[i]);
    free(list->items);
    *list = (text_list){0};
}

/*
 * Lists all names in the order models, base, sides. They are opened together, so that downloads run
 * at once.
 */
static void name_all(merge_job *job, const text_list *operands)
{
    const merge_settings *const settings = job->settings;
    for (size_t i = 1; i < operands->count; i++)
        merge_add_name(job, operands->items[i], strlen(operands->items[i]));
    job->model_count = job->all.count;
    if (settings->base)
        merge_add_name(job, settings->base, strlen(settings->base));
    for (size_t i = 0; i < job->side_files.count; i++)
        merge_add_name(job, job->side_files.items[i], strlen(job->side_files.items[i]));
    job->name_count = job->all.count;
    /* The count served as that of names; from here on it counts models that are open. */
    job->all.count = 0;
}

static void close_models(merge_job *job)
{
    /* The plan reads the models, so it goes first. */
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

bool merge_is_complete(const merge_job *job)
{
    for (size_t i = 0; job->recipe && i < mc_recipe_model_count(job->recipe); i++) {
        const mc_model *const model = mc_recipe_opened(job->recipe, i);
        if (model && !mc_model_is_complete(model))
            return false;
    }
    for (size_t i = 0; i < job->all.count; i++)
        if (!mc_model_is_complete(job->all.models[i]))
            return false;
    return true;
}

void merge_close(merge_job *job)
{
    /*
     * In the reverse order of their making: a plan goes before the models and the recipe that it
     * reads.
     */
    mc_evaluation_free(&job->evaluation);
    free(job->processes);
    mc_pipeline_close(job->pipeline);
    score_free(&job->score);
    close_models(job);
    mc_recipe_close(job->recipe);
    for (size_t i = 0; i < job->name_count; i++)
        free(job->names[i]);
    merge_free_texts(&job->side_names);
    merge_free_texts(&job->side_files);
    free(job->names);
    free(job->side_models);
    close_method(&job->method);
}

/* ---- what can be seen to be wrong before anything is opened ---------------------------------- */

mc_status merge_parse_dtype(const char *text, mc_dtype *dtype, mc_error *error)
{
    if (mc_dtype_parse(text, dtype) && (*dtype == MC_F32 || *dtype == MC_F16 || *dtype == MC_BF16))
        return MC_OK;
    return mc_fail(error, MC_USAGE, "--dtype: expected f32, f16 or bf16, found '%s'", text);
}

static bool has_side(const merge_settings *settings, const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < settings->sides.count; i++) {
        const char *const text = settings->sides.items[i];
        if (strncmp(text, name, length) == 0 && text[length] == '=')
            return true;
    }
    return false;
}

static bool has_setting(const merge_settings *settings, const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < settings->params.count; i++)
        if (strncmp(settings->params.items[i], name, length) == 0 &&
            settings->params.items[i][length] == '=')
            return true;
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
    /* add_statistics makes these side inputs later. */
    const bool computed = settings->stats || settings->observe.data;
    for (const mc_side_input *side = method->sides; side && side->name; side++)
        if (!has_side(settings, side->name) && !computed) {
            mc_fail(error, MC_USAGE, "%s needs the side input '%s'", method->name, side->name);
            error->hint = MC_HINT_SIDE;
            return MC_USAGE;
        }
    return MC_OK;
}

/*
 * Length of the first item of a list with commas. A comma may also be part of a path: an item is
 * then the shortest one that exists.
 */
static size_t length_of_item(const char *list)
{
    const size_t first = strcspn(list, ",");
    size_t length = first;
    for (bool found = first == 0; !found;) {
        char *const path = format_text("%.*s", (int)length, list);
        found = access(path, F_OK) == 0;
        free(path);
        if (!found && !list[length])
            return first; /* a name on the Hub, or an error of opening it */
        if (!found)
            length += 1 + strcspn(list + length + 1, ",");
    }
    return length;
}

/* Adds the items of a list with commas; empty ones do not count: "a,,b," has two. */
static void split(const char *list, text_list *out)
{
    while (*list) {
        const size_t size = length_of_item(list);
        if (size > 0)
            merge_append(out, format_text("%.*s", (int)size, list));
        list += size + (list[size] != '\0');
    }
}

static size_t count_names(const char *list)
{
    text_list items = {0};
    split(list, &items);
    const size_t count = items.count;
    merge_free_texts(&items);
    return count;
}

/* A side input has one member per model. */
static mc_status check_sides(const merge_settings *settings, size_t models, mc_error *error)
{
    const char *const plural = models == 1 ? "" : "s";
    for (size_t i = 0; i < settings->sides.count; i++) {
        const char *const text = settings->sides.items[i], *const list = strchr(text, '=');
        const size_t found = list ? count_names(list + 1) : 0;
        if (found == 0 || list == text)
            return mc_fail(error, MC_USAGE, "--side: expected NAME=MODEL,MODEL..., found '%s'",
                           text);
        if (found != models)
            return mc_fail(error, MC_USAGE, "--side: expected %zu model%s in '%s', found %zu",
                           models, plural, text, found);
    }
    const size_t files = settings->stats ? count_names(settings->stats) : models;
    return files == models ? MC_OK
                           : mc_fail(error, MC_USAGE, "--stats: expected %zu file%s, found %zu",
                                     models, plural, files);
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

/* A method's name after the models, which are paths. */
static mc_status check_method_first(const text_list *operands, mc_error *error)
{
    const char *const first = operands->items[0];
    if (mc_method_find(first) || access(first, F_OK) != 0 || !strchr(first, '/'))
        return MC_OK;
    for (size_t i = 1; i < operands->count; i++)
        if (mc_method_find(operands->items[i]) && access(operands->items[i], F_OK) != 0)
            return mc_fail(error, MC_USAGE,
                           "expected a method, then models, found '%s' first; did you mean "
                           "'mergecraft merge %s %s …'?",
                           first, operands->items[i], first);
    return MC_OK;
}

static mc_status check_arguments(const merge_settings *settings, const text_list *operands,
                                 mc_error *error)
{
    mc_dtype ignored;
    mc_status status = check_forgotten_option(operands, error);
    if (status != MC_OK)
        return status;
    if (operands->count == 0)
        return mc_fail(error, MC_USAGE, "expected a method and models, found none");
    if (operands->count == 1)
        return mc_fail(error, MC_USAGE, "expected models after the method '%s', found none",
                       operands->items[0]);
    status = check_method_first(operands, error);
    if (status != MC_OK)
        return status;
    if (!settings->output && !settings->dry_run && !settings->score.task && !settings->no_plan)
        return mc_fail(error, MC_USAGE, "expected an output folder: give it with -o DIR");
    if (settings->output && !*settings->output)
        return mc_fail(error, MC_USAGE, "--output: expected a folder, found ''");
    return settings->dtype ? merge_parse_dtype(settings->dtype, &ignored, error) : MC_OK;
}

/*
 * --data has the examples of --eval; without it, those of the statistics that a method needs as
 * side inputs.
 */
static mc_status check_data(merge_settings *settings, const mc_method *method, mc_error *error)
{
    const score_settings *const score = &settings->score;
    const bool selects = merge_selects_models(method) && !has_setting(settings, "weights");
    const bool statistics = selects ||
                            (method->sides && !settings->stats && !settings->sides.count);
    if (!score->task && score->data && statistics) {
        settings->observe.data = score->data;
        settings->observe.split = score->split;
        settings->observe.threads = settings->threads;
        settings->observe.strict = settings->strict;
        return merge_check_examples(settings, error);
    }
    if (merge_selects_models(method) && !selects && score->data && !score->task)
        return mc_fail(error, MC_USAGE, "%s: expected --data or -p weights=..., found both",
                       method->name);
    if (settings->observe.examples || settings->observe.task || settings->observe.columns.text)
        return mc_fail(error, MC_USAGE,
                       "expected --data and a method that needs statistics with --%s",
                       settings->observe.examples ? "examples"
                       : settings->observe.task   ? "task"
                                                  : "text");
    if (selects && !score->task)
        return mc_fail(error, MC_USAGE,
                       "%s: expected --data with held-out examples, or -p weights=..., found "
                       "neither",
                       method->name);
    if (settings->stats && !method->sides)
        return mc_fail(error, MC_USAGE, "--stats: %s takes no side inputs", method->name);
    if (!score->task && (score->data || score->split || score->dtype || score->predictions))
        return mc_fail(error, MC_USAGE, "expected --eval TASK with --%s, found none",
                       score->data    ? "data"
                       : score->split ? "split"
                       : score->dtype ? "eval-dtype"
                                      : "predictions");
    return MC_OK;
}

/* ---- statistics as side inputs --------------------------------------------------------------- */

/* "NAME=MODEL,MODEL", which check_sides has seen. */
static void add_side(merge_job *job, const char *text)
{
    const size_t length = strcspn(text, "=");
    merge_append(&job->side_names, format_text("%.*s", (int)length, text));
    split(text + length + 1, &job->side_files);
}

static void add_files(merge_job *job, const char *name, const text_list *files)
{
    merge_append(&job->side_names, format_text("%s", name));
    for (size_t i = 0; i < files->count; i++)
        merge_append(&job->side_files, format_text("%s", files->items[i]));
}

/* Side inputs that --side does not give come from --stats or, by --data, from observing. */
static mc_status add_statistics(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const mc_side_input *const sides = job->method.method->sides;
    text_list files = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; i < settings->sides.count; i++)
        add_side(job, settings->sides.items[i]);
    if (settings->stats)
        split(settings->stats, &files);
    else if (settings->observe.data)
        status = merge_observe(job, operands, &files, error);
    for (size_t k = 0; status == MC_OK && files.count && sides && sides[k].name; k++)
        if (!has_side(settings, sides[k].name))
            add_files(job, sides[k].name, &files);
    merge_free_texts(&files);
    return status;
}

/* The models of side inputs; of statistics, the tensors of that side input. */
static mc_status take_sides(merge_job *job, mc_error *error)
{
    /* Behind the models and the base, as name_all lists them. */
    size_t at = job->model_count + (job->settings->base != NULL);
    for (size_t k = 0; k < job->side_names.count; k++)
        for (size_t i = 0; i < job->model_count; i++, at++) {
            const mc_status status = mc_model_take_side(job->all.models[at],
                                                        job->side_names.items[k], error);
            if (status != MC_OK)
                return status;
        }
    return MC_OK;
}

/* The place, from 1, of the model that --keep-head names; 0 without the option. */
static mc_status find_kept(const merge_job *job, size_t *place, mc_error *error)
{
    const char *const kept = job->settings->keep;
    *place = 0;
    /* Of models with the same name, the last one counts. */
    for (size_t i = 0; kept && i < job->model_count; i++)
        if (strcmp(mc_model_name(job->all.models[i]), kept) == 0)
            *place = i + 1;
    if (kept && job->settings->exclude.count == 0)
        return mc_fail(error, MC_USAGE, "--keep-head: expected --exclude PATTERN with it");
    if (kept && *place == 0)
        return mc_fail(error, MC_USAGE, "--keep-head: expected one of the models, found %s", kept);
    return MC_OK;
}

/* The methods that --then names. */
static mc_status find_add_ons(const merge_settings *settings, const mc_method **then,
                              mc_error *error)
{
    if (settings->then.count > MERGE_MAX_THEN)
        return mc_fail(error, MC_USAGE, "--then: expected at most %d add-ons, found %zu",
                       MERGE_MAX_THEN, settings->then.count);
    for (size_t i = 0; i < settings->then.count; i++) {
        then[i] = mc_method_find(settings->then.items[i]);
        if (!then[i] || !then[i]->add_on)
            return mc_fail(error, MC_USAGE, "--then: expected lines, svc or boost, found '%s'",
                           settings->then.items[i]);
    }
    return MC_OK;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static mc_status make_plan(merge_job *job, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const size_t side_count = job->side_names.count;
    const mc_model *const *const models = (const mc_model *const *)job->all.models;
    const mc_model *const **const sides = allocate(side_count * sizeof *sides);
    /* A plan that was made with headers only is made again with values. */
    free(job->side_models);
    job->side_models = sides;
    for (size_t i = 0, at = job->model_count + (settings->base != NULL); i < side_count; i++) {
        sides[i] = models + at;
        at += job->model_count;
    }
    mc_status status = find_add_ons(settings, job->then, error);
    job->input = (mc_plan_input){.method = job->method.method,
                                 .then = job->then,
                                 .then_count = settings->then.count,
                                 .matrices = settings->matrices.items,
                                 .matrix_count = settings->matrices.count,
                                 .models = models,
                                 .model_count = job->model_count,
                                 .base = settings->base ? models[job->model_count] : NULL,
                                 .side_names = job->side_names.items,
                                 .sides = sides,
                                 .side_count = side_count,
                                 .params = settings->params.items,
                                 .param_count = settings->params.count,
                                 .passthrough = settings->passthrough.items,
                                 .passthrough_count = settings->passthrough.count,
                                 .exclude = settings->exclude.items,
                                 .exclude_count = settings->exclude.count,
                                 .tokenizer = settings->tokenizer,
                                 .tokens = settings->tokens.items,
                                 .token_count = settings->tokens.count,
                                 .pad_vocabulary = (int64_t)settings->pad_vocabulary,
                                 .chat_template = settings->chat_template,
                                 .seed = settings->seed,
                                 .strict = settings->strict,
                                 .allow_unused = settings->allow_unused,
                                 .report_repeated = true,
                                 .convert = settings->dtype != NULL};
    if (status == MC_OK && settings->dtype)
        status = merge_parse_dtype(settings->dtype, &job->input.dtype, error);
    if (status == MC_OK)
        status = find_kept(job, &job->input.keep, error);
    if (status == MC_OK && !settings->no_plan)
        status = mc_plan_new(&job->input, &job->plan, error);
    return status;
}

/* A transplant that --from repeats: the second model is the donor. */
static mc_status make_transplant(merge_job *job, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const mc_transplant_input input = {.model = job->all.models[0],
                                       .donor = job->all.models[1],
                                       .method = settings->transplant,
                                       .neighbours = settings->neighbours,
                                       .threads = (int)settings->threads,
                                       .strict = settings->strict};
    return mc_transplant_plan(&input, &job->plan, error);
}

static mc_status open_and_plan(merge_job *job, bool headers_only, mc_error *error)
{
    const mc_status status = open_all(job, headers_only, error);
    if (status != MC_OK)
        return status;
    if (job->settings->dry_run || merge_is_complete(job))
        say_opened(job);
    if (job->settings->transplant)
        return make_transplant(job, error);
    const mc_status taken = take_sides(job, error);
    return taken == MC_OK ? make_plan(job, error) : taken;
}

mc_run_options merge_run_options(const merge_settings *settings)
{
    mc_run_options run = MC_RUN_DEFAULT;
    run.threads = (int)settings->threads;
    run.memory = settings->memory;
    run.shard_size = settings->shard_size;
    run.overwrite = settings->overwrite;
    run.no_sync = settings->no_sync;
    run.comm = command_comm;
    return run;
}

static mc_status prepare_method(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    mc_status status = find_method(operands->items[0], &job->method, error);
    if (status == MC_OK && !job->method.method)
        return several_methods(operands->items[0], job->method.plugin, error);
    if (status == MC_OK)
        status = check_data(job->own_settings, job->method.method, error);
    if (status == MC_OK)
        status = check_needs(settings, job->method.method, error);
    if (status == MC_OK)
        status = check_sides(settings, operands->count - 1, error);
    /* Checked now, before downloads; make_plan looks them up again. */
    const mc_method *ignored[MERGE_MAX_THEN];
    return status == MC_OK ? find_add_ons(settings, ignored, error) : status;
}

/*
 * From the command line to a plan. Cheap checks come first, downloads of values last:
 *
 *   arguments ──▶ method ──▶ options ──▶ examples ──▶ statistics ──▶ headers ──▶ plan ──▶ target
 *                                                                                           │
 *                                               values ──▶ plan ◀── if a model has no values ┘
 */
mc_status merge_prepare(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    if (operands->count > 0 && merge_is_recipe(operands->items[0]))
        return merge_prepare_recipe(job, operands, error);
    mc_status status = check_arguments(settings, operands, error);
    if (status == MC_OK && !settings->transplant)
        status = prepare_method(job, operands, error);
    if (status == MC_OK && settings->score.task)
        status = score_prepare(&settings->score, &settings->common, &job->score, error);
    if (status == MC_OK && !settings->transplant)
        status = add_statistics(job, operands, error);
    if (status == MC_OK) {
        name_all(job, operands);
        /*
         * First with headers only: names, shapes and the output folder are checked before values
         * are downloaded.
         */
        status = open_and_plan(job, true, error);
    }
    const mc_run_options run = merge_run_options(settings);
    if (status == MC_OK && settings->output)
        status = mc_plan_check_target(job->plan, settings->output, &run, error);
    /* Now everything but the values is known to be right: they may travel. */
    if (status == MC_OK && !settings->dry_run && !merge_is_complete(job)) {
        close_models(job);
        status = open_and_plan(job, false, error);
    }
    return status;
}

#include <mergecraft/recipe.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/agreement.h"
#include "merge/align.h"
#include "merge/plan.h"
#include "merge/report.h"
#include "recipe/conflicts.h"
#include "recipe/equal.h"
#include "recipe/filters.h"
#include "recipe/folders.h"
#include "recipe/outfit.h"
#include "recipe/rows.h"
#include "recipe/schema.h"
#include "tensor/cast.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * A stage whose plan is made; later stages read it as a model. Everything in it is owned: the model
 * refers to the dict, and the dict's sources to the plan.
 */
typedef struct made_stage {
    mc_plan *plan;
    mc_state_dict *dict;
    mc_model *model;
    bool written; /* the model is a folder that holds the result, not the plan's */
} made_stage;

struct mc_recipe {
    mc_recipe_schema *schema;
    char **warnings;
    char **names; /* of models that are not stages, each once */
    size_t name_count, name_capacity;
    mc_model **models; /* as many; NULL while closed */
    /* As many; by the plan at hand: bit 1 << part for every part that a stage takes from it. */
    unsigned *needed;
    made_stage *made; /* per stage */
    size_t *order;    /* stages, each after those that it reads */
    bool *visited;    /* per stage; while they are ordered or searched for models */
    size_t ordered;
};

/*
 * The models of a plan in its order: those that are merged, then bases, then one of which only the
 * tokenizer is used. Each model occurs once.
 */
typedef struct cast {
    const char **names;
    const mc_model **models;
    const mc_outfit **outfits; /* NULL: the model is not a stage's result */
    size_t count, name_capacity, model_capacity, outfit_capacity;
    size_t merged; /* how many come before the bases */
    size_t read;   /* how many have tensors in the plan */
} cast;

/* ---- references ------------------------------------------------------------------------------ */
/*
 * The document of that name; schema->count if there is none. The name of a document hides a model
 * of the same name.
 */
static size_t stage_of(const mc_recipe_schema *schema, const char *text)
{
    for (size_t i = 0; i < schema->count; i++)
        if (schema->stages[i].name && strcmp(schema->stages[i].name, text) == 0)
            return i;
    return schema->count;
}

/* What a stage takes from a model. */
typedef enum part_of_stage { MERGED, BASE, TOKENIZER } part_of_stage;

typedef mc_status (*visitor)(void *user, const mc_reference *reference, part_of_stage part,
                             mc_error *error);

static mc_status visit_slice(const mc_recipe_stage *stage, const mc_recipe_slice *slice,
                             visitor visit, void *user, mc_error *error)
{
    const mc_reference *const base = slice->base.text ? &slice->base : &stage->base;
    const bool uses = stage->method->needs_base || stage->method->takes_base;
    for (size_t i = 0; i < slice->count; i++) {
        const mc_reference *const model = &slice->sources[i].model;
        const bool is_base = uses && base->text && strcmp(base->text, model->text) == 0;
        MC_TRY(visit(user, model, is_base ? BASE : MERGED, error));
    }
    return slice->base.text ? visit(user, &slice->base, BASE, error) : MC_OK;
}

/*
 * Visits every model of a stage: its sources, its base, then the one whose tokenizer the result
 * gets. One model may be visited several times.
 */
static mc_status visit_stage(const mc_recipe_stage *stage, visitor visit, void *user,
                             mc_error *error)
{
    for (size_t m = 0; m < stage->count; m++)
        for (size_t s = 0; s < stage->modules[m].count; s++)
            MC_TRY(visit_slice(stage, &stage->modules[m].slices[s], visit, user, error));
    if (stage->base.text)
        MC_TRY(visit(user, &stage->base, BASE, error));
    const mc_reference *const tokenizer = &stage->tokenizer.model;
    return tokenizer->text ? visit(user, tokenizer, TOKENIZER, error) : MC_OK;
}

static mc_status note_name(void *user, const mc_reference *reference, part_of_stage part,
                           mc_error *error)
{
    mc_recipe *const recipe = user;
    (void)part;
    if (stage_of(recipe->schema, reference->text) < recipe->schema->count)
        return MC_OK;
    for (size_t i = 0; i < recipe->name_count; i++)
        if (strcmp(recipe->names[i], reference->text) == 0)
            return MC_OK;
    if (!MC_GROW(recipe->names, recipe->name_count, recipe->name_capacity))
        return mc_fail_memory(error);
    char *const copy = mc_strdup(reference->text);
    if (!copy)
        return mc_fail_memory(error);
    recipe->names[recipe->name_count++] = copy;
    return MC_OK;
}

/* ---- order ----------------------------------------------------------------------------------- */
/*
 * Orders stages so that each follows those that it reads, by a depth-first search:
 *
 *     not visited ─▶ open ─▶ ordered
 *
 * Reading an open stage is a circle.
 */
typedef struct ordering {
    mc_recipe *recipe;
    bool *open; /* stages that are being visited: whoever reads one of them goes in a circle */
} ordering;

static mc_status order_reference(void *user, const mc_reference *reference, part_of_stage part,
                                 mc_error *error);

static mc_status order_stage(ordering *o, size_t index, mc_error *error)
{
    mc_recipe *const recipe = o->recipe;
    if (recipe->visited[index])
        return MC_OK;
    recipe->visited[index] = o->open[index] = true;
    MC_TRY(visit_stage(&recipe->schema->stages[index], order_reference, o, error));
    o->open[index] = false;
    recipe->order[recipe->ordered++] = index;
    return MC_OK;
}

static mc_status order_reference(void *user, const mc_reference *reference, part_of_stage part,
                                 mc_error *error)
{
    ordering *const o = user;
    const mc_recipe_schema *const schema = o->recipe->schema;
    const size_t index = stage_of(schema, reference->text);
    (void)part;
    if (index == schema->count)
        return MC_OK;
    if (o->open[index])
        return mc_yaml_fail(error, MC_FORMAT, schema->file, reference->at->line,
                            reference->at->column, "'%s' is made of itself", reference->text);
    return order_stage(o, index, error);
}

/* The stage whose result the recipe is for: the one without a name, or the last. */
static size_t final_stage(const mc_recipe_schema *schema)
{
    for (size_t i = 0; i < schema->count; i++)
        if (!schema->stages[i].name)
            return i;
    return schema->count - 1;
}

static mc_status order_stages(mc_recipe *recipe, mc_error *error)
{
    const size_t count = recipe->schema->count, last = final_stage(recipe->schema);
    ordering o = {recipe, mc_alloc_zero(count, sizeof *o.open)};
    mc_status status = o.open ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        if (i != last)
            status = order_stage(&o, i, error);
    if (status == MC_OK)
        status = order_stage(&o, last, error);
    mc_free(o.open);
    return status;
}

/* ---- opening --------------------------------------------------------------------------------- */
static mc_status set_warnings(mc_recipe *recipe, mc_error *error)
{
    const mc_yaml_file *const yaml = recipe->schema->yaml;
    recipe->warnings = mc_alloc_zero(yaml->warning_count + 1, sizeof *recipe->warnings);
    if (!recipe->warnings)
        return mc_fail_memory(error);
    for (size_t i = 0; i < yaml->warning_count; i++) {
        const mc_yaml_warning *const warning = &yaml->warnings[i];
        recipe->warnings[i] = mc_format("%s:%u:%u: %s", recipe->schema->file, warning->line,
                                        warning->column, warning->text);
        if (!recipe->warnings[i])
            return mc_fail_memory(error);
    }
    return MC_OK;
}

static mc_status fill(mc_recipe *recipe, const char *name, const char *text, size_t size,
                      mc_error *error)
{
    MC_TRY(mc_recipe_schema_read(name, text, size, &recipe->schema, error));
    const size_t count = recipe->schema->count;
    for (size_t i = 0; i < count; i++)
        MC_TRY(visit_stage(&recipe->schema->stages[i], note_name, recipe, error));
    recipe->made = mc_alloc_zero(count, sizeof *recipe->made);
    recipe->order = mc_alloc_zero(count, sizeof *recipe->order);
    recipe->visited = mc_alloc_zero(count, sizeof *recipe->visited);
    recipe->models = mc_alloc_zero(recipe->name_count + 1, sizeof *recipe->models);
    recipe->needed = mc_alloc_zero(recipe->name_count + 1, sizeof *recipe->needed);
    if (!recipe->made || !recipe->order || !recipe->visited || !recipe->models || !recipe->needed)
        return mc_fail_memory(error);
    MC_TRY(order_stages(recipe, error));
    return set_warnings(recipe, error);
}

mc_status mc_recipe_parse(const char *name, const char *text, size_t size, mc_recipe **out,
                          mc_error *error)
{
    mc_recipe *const recipe = mc_alloc_zero(1, sizeof *recipe);
    if (!recipe)
        return mc_fail_memory(error);
    const mc_status status = fill(recipe, name, text, size, error);
    if (status == MC_OK)
        *out = recipe;
    else
        mc_recipe_close(recipe);
    return status;
}

mc_status mc_recipe_open(const char *path, mc_recipe **out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    mc_status status = mc_file_load(path, MC_YAML_LARGEST_FILE, &text, &size, error);
    /* The file is too large: this error has a line, as all errors about the text do. */
    if (status == MC_FORMAT && error)
        snprintf(error->file, sizeof error->file, "%s:1:1", path);
    MC_TRY(status);
    status = mc_recipe_parse(path, text, size, out, error);
    mc_free(text);
    return status;
}

/*
 * Frees all plans, then the models that they read: sources of a plan refer to files of the models.
 */
static void forget(mc_recipe *recipe)
{
    for (size_t i = 0; recipe->made && i < recipe->schema->count; i++) {
        made_stage *const made = &recipe->made[i];
        mc_model_close(made->model);
        mc_state_dict_free(made->dict);
        mc_plan_free(made->plan);
        *made = (made_stage){0};
    }
    for (size_t i = 0; recipe->models && i < recipe->name_count; i++) {
        mc_model_close(recipe->models[i]);
        recipe->models[i] = NULL;
    }
}

void mc_recipe_close(mc_recipe *recipe)
{
    if (!recipe)
        return;
    forget(recipe);
    for (size_t i = 0; recipe->warnings && recipe->warnings[i]; i++)
        mc_free(recipe->warnings[i]);
    for (size_t i = 0; i < recipe->name_count; i++)
        mc_free(recipe->names[i]);
    mc_free(recipe->warnings);
    mc_free(recipe->names);
    mc_free(recipe->models);
    mc_free(recipe->needed);
    mc_free(recipe->made);
    mc_free(recipe->order);
    mc_free(recipe->visited);
    mc_recipe_schema_free(recipe->schema);
    mc_free(recipe);
}

bool mc_recipe_equal(const mc_recipe *a, const mc_recipe *b)
{
    const mc_yaml_file *const one = a->schema->yaml, *const other = b->schema->yaml;
    for (size_t i = 0; i < one->document_count && i < other->document_count; i++)
        if (!mc_yaml_equal(one->documents[i], other->documents[i]))
            return false;
    return one->document_count == other->document_count;
}

size_t mc_recipe_warning_count(const mc_recipe *recipe)
{
    return recipe->schema->yaml->warning_count;
}

const char *mc_recipe_warning(const mc_recipe *recipe, size_t index)
{
    return recipe->warnings[index];
}

size_t mc_recipe_model_count(const mc_recipe *recipe)
{
    return recipe->name_count;
}

const char *mc_recipe_model(const mc_recipe *recipe, size_t index)
{
    return recipe->names[index];
}

size_t mc_recipe_stage_count(const mc_recipe *recipe)
{
    return recipe->schema->count;
}

const char *mc_recipe_stage_name(const mc_recipe *recipe, size_t index)
{
    return recipe->schema->stages[recipe->order[index]].name;
}

const mc_model *mc_recipe_opened(const mc_recipe *recipe, size_t index)
{
    return recipe->models[index];
}

/* ---- a stage's models ------------------------------------------------------------------------ */
static mc_status make_stage(mc_recipe *recipe, size_t index, const mc_recipe_options *options,
                            mc_error *error);

/*
 * Rounds the values of a stage to their dtype on disk. A recipe then gives the same bits whether a
 * stage was written to a folder and read again, or is computed on the fly.
 */
static mc_status round_stage(mc_state_dict *dict, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        mc_source *const source = mc_state_dict_source(dict, i);
        mc_source *rounded = NULL;
        if (source->depth == 0 || mc_source_real(source) == source->dtype)
            continue;
        MC_TRY(mc_source_round(source, &rounded, error));
        const mc_status status = mc_state_dict_set(dict, mc_state_dict_name(dict, i), rounded,
                                                   error);
        mc_source_unref(rounded);
        MC_TRY(status);
    }
    return MC_OK;
}

/* Wraps the plan of a stage as a model. Nothing is computed until it is read. */
static mc_status wrap_stage(made_stage *made, const char *name, mc_error *error)
{
    const json_t *const config = made->plan->outfit.config;
    const mc_model *const donor = mc_plan_donor(made->plan);
    char *const text = config ? json_dumps(config, JSON_REAL_PRECISION(17)) : NULL;
    mc_status status = mc_plan_state_dict(made->plan, &made->dict, error);
    if (status == MC_OK)
        status = round_stage(made->dict, error);
    if (status == MC_OK)
        status = mc_model_wrap(name, made->dict, text, mc_model_folder(donor), &made->model, error);
    free(text);
    return status;
}

/* The result of a stage as a model. */
static mc_status stage_model(mc_recipe *recipe, size_t index, const mc_recipe_options *options,
                             const mc_model **out, mc_error *error)
{
    made_stage *const made = &recipe->made[index];
    if (!made->model) {
        if (!made->plan)
            MC_TRY(make_stage(recipe, index, options, error));
        MC_TRY(wrap_stage(made, recipe->schema->stages[index].name, error));
    }
    *out = made->model;
    return MC_OK;
}

/* A stage's result is made on first use; its name is checked before those of models. */
static mc_status find_model(mc_recipe *recipe, const mc_reference *reference,
                            const mc_recipe_options *options, const mc_model **out, mc_error *error)
{
    const size_t stage = stage_of(recipe->schema, reference->text);
    if (stage < recipe->schema->count)
        return stage_model(recipe, stage, options, out, error);
    size_t i = 0;
    while (strcmp(recipe->names[i], reference->text) != 0)
        i++;
    *out = recipe->models[i];
    return MC_OK;
}

/* What a visit of references needs to gather the models of a stage. */
typedef struct gathering {
    mc_recipe *recipe;
    const mc_recipe_options *options;
    cast *cast;
    part_of_stage part; /* that is gathered this time */
} gathering;

static mc_status gather(void *user, const mc_reference *reference, part_of_stage part,
                        mc_error *error)
{
    gathering *const g = user;
    cast *const all = g->cast;
    if (part != g->part)
        return MC_OK;
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->names[i], reference->text) == 0)
            return MC_OK;
    if (!MC_GROW(all->names, all->count, all->name_capacity) ||
        !MC_GROW(all->models, all->count, all->model_capacity) ||
        !MC_GROW(all->outfits, all->count, all->outfit_capacity))
        return mc_fail_memory(error);
    MC_TRY(find_model(g->recipe, reference, g->options, &all->models[all->count], error));
    /* A stage that was written to a folder has no plan, and its tokenizer in its files. */
    const size_t stage = stage_of(g->recipe->schema, reference->text);
    const mc_plan *const plan = stage < g->recipe->schema->count ? g->recipe->made[stage].plan
                                                                 : NULL;
    all->outfits[all->count] = plan ? &plan->outfit : NULL;
    all->names[all->count++] = reference->text;
    return MC_OK;
}

static mc_status gather_all(mc_recipe *recipe, const mc_recipe_stage *stage,
                            const mc_recipe_options *options, cast *all, mc_error *error)
{
    gathering g = {recipe, options, all, MERGED};
    MC_TRY(visit_stage(stage, gather, &g, error));
    all->merged = all->count;
    g.part = BASE;
    MC_TRY(visit_stage(stage, gather, &g, error));
    all->read = all->count;
    g.part = TOKENIZER;
    return visit_stage(stage, gather, &g, error);
}

/* ---- a stage's plan -------------------------------------------------------------------------- */
static mc_status add_warnings(const mc_recipe *recipe, bool strict, mc_report *report,
                              mc_error *error)
{
    for (size_t i = 0; i < mc_recipe_warning_count(recipe); i++) {
        const char *const text = mc_recipe_warning(recipe, i);
        if (strict)
            return mc_fail(error, MC_MISMATCH, "%s", text);
        MC_TRY(mc_report_add(report, error, "%s", text));
    }
    return MC_OK;
}

static mc_status add_notes(const cast *all, mc_report *report, mc_error *error)
{
    for (size_t i = 0; i < all->read; i++)
        if (strchr(all->names[i], '@') && !mc_model_commit(all->models[i]) &&
            !strchr(mc_model_name(all->models[i]), '@'))
            MC_TRY(mc_report_add(report, error,
                                 "%s: the revision of a local model is ignored: reads '%s'",
                                 all->names[i], mc_model_name(all->models[i])));
    for (size_t i = 0; i < all->read; i++)
        for (size_t k = 0; k < mc_model_note_count(all->models[i]); k++)
            MC_TRY(mc_report_add(report, error, "%s", mc_model_note(all->models[i], k)));
    return MC_OK;
}

/* The models of a stage, with tensors by the names in the donor's files. */
typedef struct aligned_models {
    mc_alignment alignment;
    const mc_model **order; /* the donor last: its names count */
    const mc_state_dict **dicts;
} aligned_models;

static void free_aligned(aligned_models *aligned)
{
    mc_alignment_free(&aligned->alignment);
    mc_free(aligned->order);
    mc_free(aligned->dicts);
}

/*
 * Alignment takes names from the last model, so the donor is last; the dicts are returned in the
 * order of the models.
 */
static mc_status align(const cast *all, const mc_model *donor, aligned_models *out,
                       mc_report *report, mc_error *error)
{
    size_t count = 0;
    out->order = mc_alloc_zero(all->read, sizeof *out->order);
    out->dicts = mc_alloc_zero(all->read, sizeof *out->dicts);
    if (!out->order || !out->dicts)
        return mc_fail_memory(error);
    for (size_t i = 0; i < all->read; i++)
        if (all->models[i] != donor)
            out->order[count++] = all->models[i];
    while (count < all->read)
        out->order[count++] = donor;
    MC_TRY(mc_align(out->order, count, count, &out->alignment, report, error));
    for (size_t i = 0; i < all->read; i++)
        for (size_t k = 0; k < count; k++)
            if (out->order[k] == all->models[i])
                out->dicts[i] = out->alignment.dicts[k];
    return MC_OK;
}

static bool has_slices(const mc_recipe_stage *stage)
{
    for (size_t i = 0; i < stage->count; i++)
        if (!stage->modules[i].slices[0].whole)
            return true;
    return false;
}

static mc_status make_rows(mc_recipe *recipe, const mc_recipe_stage *stage,
                           const mc_recipe_options *options, const cast *all,
                           const aligned_models *aligned, mc_recipe_rows *rows, mc_report *report,
                           mc_error *error)
{
    const mc_recipe_models models = {all->names,   all->models, aligned->dicts,
                                     all->outfits, all->read,   all->read};
    const mc_model *const donor = mc_recipe_donor(stage, &models);
    MC_TRY(mc_agree_on_configs(all->models, all->read, donor, has_slices(stage), options->strict,
                               report, error));
    return mc_recipe_rows_make(recipe->schema, stage, &models, options, rows, report, error);
}

/*
 * Makes the rows from tensors by aligned names. *untied: the donor's head is separate from its
 * embeddings. The rows hold references to what they need, so the alignment can be freed.
 */
static mc_status make_aligned_rows(mc_recipe *recipe, const mc_recipe_stage *stage,
                                   const mc_recipe_options *options, const cast *all,
                                   const mc_model *donor, mc_recipe_rows *rows, mc_report *report,
                                   bool *untied, mc_error *error)
{
    aligned_models aligned = {0};
    mc_status status = align(all, donor, &aligned, report, error);
    if (status == MC_OK) {
        *untied = aligned.alignment.untied[all->read - 1];
        status = make_rows(recipe, stage, options, all, &aligned, rows, report, error);
    }
    free_aligned(&aligned);
    return status;
}

static mc_status fill_plan(mc_recipe *recipe, const mc_recipe_stage *stage,
                           const mc_recipe_options *options, const cast *all, bool is_last,
                           mc_recipe_rows *rows, mc_plan_rows *plan, mc_error *error)
{
    const mc_recipe_models models = {all->names,   all->models, NULL,
                                     all->outfits, all->read,   all->count};
    bool untied = false;
    const mc_model *const donor = mc_recipe_donor(stage, &models);
    MC_TRY(mc_report_new(&plan->report, error));
    mc_recipe_forget_filters(recipe->schema);
    if (is_last)
        MC_TRY(add_warnings(recipe, options->strict, plan->report, error));
    MC_TRY(add_notes(all, plan->report, error));
    MC_TRY(
        make_aligned_rows(recipe, stage, options, all, donor, rows, plan->report, &untied, error));
    if (options->convert && is_last)
        MC_TRY(mc_outputs_convert(&rows->outputs, options->dtype, error));
    /* Vocabularies are checked before shapes: the error then names the option and not a tensor. */
    MC_TRY(mc_outfit_from_model(donor, options->strict, &plan->outfit, plan->report, error));
    if (untied)
        MC_TRY(mc_outfit_untie(&plan->outfit, plan->report, error));
    MC_TRY(mc_recipe_dress(recipe->schema, stage, &models, options, rows, donor, &plan->outfit,
                           plan->report, error));
    if (is_last && !options->no_tokenizer)
        MC_TRY(mc_recipe_report_conflicts(stage, &models, donor, options->strict, &plan->outfit,
                                          plan->report, error));
    MC_TRY(mc_recipe_rows_resolve(recipe->schema, stage, all->names, all->read, &rows->outputs,
                                  error));
    plan->models = all->models;
    plan->model_count = all->merged;
    plan->all_count = all->read;
    plan->base = all->merged < all->read ? all->models[all->merged] : NULL;
    plan->donor = donor;
    plan->recipe = recipe->schema->text;
    plan->no_card = options->no_card;
    plan->strict = options->strict;
    plan->outputs = rows->outputs;
    rows->outputs = (mc_outputs){0};
    return MC_OK;
}

/* Gives an error about what is not supported the line of the stage, unless it has a line. */
static mc_status in_stage(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                          mc_status status, mc_error *error)
{
    return status == MC_UNSUPPORTED ? mc_yaml_in_node(error, schema->file, stage->at, status)
                                    : status;
}

static mc_status make_stage(mc_recipe *recipe, size_t index, const mc_recipe_options *options,
                            mc_error *error)
{
    const mc_recipe_stage *const stage = &recipe->schema->stages[index];
    cast all = {0};
    mc_recipe_rows rows = {0};
    mc_plan_rows plan = {0};
    mc_status status = gather_all(recipe, stage, options, &all, error);
    if (status == MC_OK)
        status = fill_plan(recipe, stage, options, &all, index == final_stage(recipe->schema),
                           &rows, &plan, error);
    if (status == MC_OK) {
        const mc_recipe_models models = {all.names,   all.models, NULL,
                                         all.outfits, all.read,   all.read};
        mc_recipe_options own = *options;
        own.convert = options->convert && index == final_stage(recipe->schema);
        status = mc_plan_from_rows(&plan, &recipe->made[index].plan, error);
        if (status == MC_OK)
            status = mc_recipe_plan_folders(recipe->schema, stage, &models, all.merged, &own,
                                            recipe->made[index].plan, error);
        /* Not before: a filter may match tensors of module folders only. */
        if (status == MC_OK)
            status = mc_recipe_report_filters(recipe->schema, stage, options->strict,
                                              recipe->made[index].plan->report, error);
    } else {
        status = in_stage(recipe->schema, stage, status, error);
        mc_outputs_free(&plan.outputs);
        mc_outfit_free(&plan.outfit);
        mc_report_free(plan.report);
    }
    mc_recipe_rows_free(&rows);
    mc_free(all.names);
    mc_free(all.models);
    mc_free(all.outfits);
    return status;
}

/* ---- what a plan needs ----------------------------------------------------------------------- */
typedef struct search {
    mc_recipe *recipe;
    const char *stages; /* the folder of results; NULL if there is none */
} search;

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/*
 * Takes a stage whose result lies in the folder of results as that model, instead of making it
 * again.
 */
static mc_status find_written(const search *s, size_t index, mc_error *error)
{
    made_stage *const made = &s->recipe->made[index];
    char *const path = mc_format("%s/%s", s->stages, s->recipe->schema->stages[index].name);
    if (!path)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    if (is_folder(path)) {
        status = mc_model_open(path, &made->model, error);
        made->written = status == MC_OK;
    }
    mc_free(path);
    return status;
}

static mc_status need(void *user, const mc_reference *reference, part_of_stage part,
                      mc_error *error)
{
    search *const s = user;
    mc_recipe *const recipe = s->recipe;
    const size_t index = stage_of(recipe->schema, reference->text);
    (void)part;
    if (index == recipe->schema->count) {
        size_t i = 0;
        while (strcmp(recipe->names[i], reference->text) != 0)
            i++;
        recipe->needed[i] |= 1U << part;
        return MC_OK;
    }
    if (recipe->visited[index])
        return MC_OK;
    recipe->visited[index] = true;
    if (s->stages)
        MC_TRY(find_written(s, index, error));
    return recipe->made[index].written
               ? MC_OK
               : visit_stage(&recipe->schema->stages[index], need, user, error);
}

/* An error about a model, and the reference that names the model. */
typedef struct culprit {
    const mc_error *error;
    const mc_reference *reference; /* NULL: not found */
    size_t length;                 /* of its name in the error */
} culprit;

/* The length of `name` if the text is about it, as "m1/config.json" and "org/m@main: …"; else 0. */
static size_t length_in(const char *text, const char *name)
{
    const size_t length = name ? strcspn(name, "@") : 0, shown = strlen(text);
    /* The name was too long for the error, where it ends with an ellipsis. */
    if (shown == sizeof((mc_error *)0)->file - 1 && length > shown &&
        memcmp(text, name, shown - 3) == 0)
        return length;
    return length > 0 && strncmp(text, name, length) == 0 && strchr("/@:+ ", text[length]) ? length
                                                                                           : 0;
}

static mc_status suspect(void *user, const mc_reference *reference, part_of_stage part,
                         mc_error *error)
{
    culprit *const c = user;
    const char *const text = c->error->file[0] ? c->error->file : c->error->text;
    const size_t path = length_in(text, reference->path);
    const size_t adapter = length_in(text, reference->adapter);
    const size_t length = path > adapter ? path : adapter;
    (void)part;
    (void)error;
    /* Of "m" and "m/2" the longer one: the first may contain the second. */
    if (length > c->length) {
        c->reference = reference;
        c->length = length;
    }
    return MC_OK;
}

/* Gives an error about a model the line of the recipe that names the model. */
static mc_status at_reference(const mc_recipe *recipe, mc_status status, mc_error *error)
{
    char text[sizeof error->text];
    culprit c = {.error = error};
    for (size_t i = 0; status != MC_OK && error && i < recipe->schema->count; i++)
        (void)visit_stage(&recipe->schema->stages[i], suspect, &c, NULL);
    if (!c.reference || status == MC_INTERRUPTED)
        return status;
    mc_error_message(error, text, sizeof text);
    error->tensor[0] = '\0';
    memcpy(error->text, text, sizeof text);
    snprintf(error->file, sizeof error->file, "%s:%u:%u", recipe->schema->file,
             c.reference->at->line, c.reference->at->column);
    return status;
}

/*
 * The reference without revisions of paths that exist, in new memory; NULL: no memory. A local
 * folder has one state only; mergekit ignores its revision, too.
 */
static char *without_local_revisions(const char *reference)
{
    mc_text text = {0};
    struct stat status;
    for (const char *at = reference; at;) {
        const size_t length = strcspn(at, "+"), path = strcspn(at, "+@");
        char *const local = mc_strndup(at, path);
        const bool drops = local && path < length && stat(local, &status) == 0;
        text.failed |= !local;
        mc_text_add(&text, "%.*s%s", (int)(drops ? path : length), at, at[length] ? "+" : "");
        mc_free(local);
        at = at[length] ? at + length + 1 : NULL;
    }
    if (text.failed)
        mc_text_free(&text);
    return text.data;
}

/* What to open a model by: the reference, or as much of it as counts, which *own owns. */
static mc_status name_to_open(const char *reference, char **own, const char **out, mc_error *error)
{
    struct stat status;
    *out = reference;
    if (!strchr(reference, '@') || stat(reference, &status) == 0)
        return MC_OK;
    *own = without_local_revisions(reference);
    *out = *own;
    return *own ? MC_OK : mc_fail_memory(error);
}

/*
 * Opens the needed models whose tensors are needed, or all other needed ones, in one call, so that
 * downloads run in parallel.
 */
static mc_status open_some(mc_recipe *recipe, bool tensors, const mc_recipe_options *options,
                           mc_error *error)
{
    const unsigned with_tensors = 1U << MERGED | 1U << BASE;
    size_t *const places = mc_alloc_zero(recipe->name_count + 1, sizeof *places);
    const char **const names = mc_alloc_zero(recipe->name_count + 1, sizeof *names);
    char **const own = mc_alloc_zero(recipe->name_count + 1, sizeof *own);
    mc_model **const models = mc_alloc_zero(recipe->name_count + 1, sizeof *models);
    mc_status status = places && names && own && models ? MC_OK : mc_fail_memory(error);
    size_t count = 0;
    for (size_t i = 0; status == MC_OK && i < recipe->name_count; i++)
        if (recipe->needed[i] && ((recipe->needed[i] & with_tensors) != 0) == tensors) {
            places[count] = i;
            status = name_to_open(recipe->names[i], &own[count], &names[count], error);
            count++;
        }
    if (status == MC_OK && count > 0)
        status = at_reference(recipe,
                              mc_models_open(names, count, options->hub,
                                             options->headers_only || !tensors, models, error),
                              error);
    for (size_t k = 0; status == MC_OK && k < count; k++)
        recipe->models[places[k]] = models[k];
    for (size_t k = 0; own && k < count; k++)
        mc_free(own[k]);
    mc_free(own);
    mc_free(models);
    mc_free(names);
    mc_free(places);
    return status;
}

static mc_status open_needed(mc_recipe *recipe, const mc_recipe_options *options, mc_error *error)
{
    MC_TRY(open_some(recipe, true, options, error));
    return open_some(recipe, false, options, error);
}

static mc_status prepare(mc_recipe *recipe, size_t stage, const mc_recipe_options *options,
                         mc_error *error)
{
    search s = {recipe, options->stages};
    memset(recipe->needed, 0, recipe->name_count * sizeof *recipe->needed);
    memset(recipe->visited, 0, recipe->schema->count * sizeof *recipe->visited);
    MC_TRY(visit_stage(&recipe->schema->stages[stage], need, &s, error));
    return open_needed(recipe, options, error);
}

/* Passes on the reports of stages that are computed on the fly. */
static mc_status add_reports(mc_recipe *recipe, size_t stage, mc_error *error)
{
    for (size_t i = 0; i < recipe->schema->count; i++) {
        const mc_plan *const plan = i == stage ? NULL : recipe->made[i].plan;
        for (size_t k = 0; plan && k < mc_report_count(plan->report); k++)
            MC_TRY(mc_report_add(recipe->made[stage].plan->report, error, "%s: %s",
                                 recipe->schema->stages[i].name, mc_report_line(plan->report, k)));
    }
    return MC_OK;
}

mc_status mc_recipe_plan(mc_recipe *recipe, const mc_recipe_options *options, mc_plan **out,
                         mc_error *error)
{
    const mc_recipe_options plain = {0};
    const mc_recipe_options *const chosen = options ? options : &plain;
    const size_t stage = chosen->stage > 0 ? recipe->order[chosen->stage - 1]
                                           : final_stage(recipe->schema);
    forget(recipe);
    mc_status status = prepare(recipe, stage, chosen, error);
    if (status == MC_OK)
        status = make_stage(recipe, stage, chosen, error);
    if (status == MC_OK)
        status = add_reports(recipe, stage, error);
    if (status != MC_OK) {
        forget(recipe);
        return status;
    }
    *out = recipe->made[stage].plan;
    recipe->made[stage].plan = NULL; /* the caller's */
    return MC_OK;
}

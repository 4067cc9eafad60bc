#include "recipe/rows.h"

#include "base/hash.h"
#include "base/memory.h"
#include "merge/report.h"
#include "model/parts.h"
#include "recipe/blocks.h"
#include "recipe/filters.h"
#include "recipe/modules.h"
#include "recipe/setting.h"

#include <stdio.h>
#include <string.h>

/*
 * What is made, and from what. Lists of names collect what is reported at the end, by the reason.
 */
typedef struct maker {
    const mc_recipe_schema *schema;
    const mc_recipe_stage *stage;
    const mc_recipe_models *models;
    mc_modules kind; /* of the models */
    const mc_recipe_options *options;
    mc_recipe_rows *out;
    mc_report *report;
    mc_error *error;
    mc_index made;     /* names that have a row */
    mc_names averaged; /* tensors that the method cannot make: a model or the base lacks them */
    mc_names partly;   /* tensors that are merged of fewer models */
    mc_names based;    /* tensors that only the base has */
    mc_names absent;   /* tensors that the models of their slices lack, and other models have */
    mc_names integers; /* tensors that are copied, of the models' several ones */
    mc_names tied;     /* tensors that a model has under the name of its input embeddings */
    mc_names unlisted; /* tensors of modules that the recipe does not list */
    mc_params *last;   /* of the row before: rows with the same values share them */
    const char *noted; /* the method's last warning about values */
    const mc_recipe_module *module;
    const mc_recipe_slice *slice;
} maker;

#define FAIL(maker_, node_, ...)                                                                   \
    mc_yaml_fail((maker_)->error, MC_FORMAT, (maker_)->schema->file, (node_)->line,                \
                 (node_)->column, __VA_ARGS__)

/* References of one text are one model: texts are compared, and no paths. */
const mc_model *mc_recipe_find(const mc_recipe_models *models, const char *text)
{
    for (size_t i = 0; i < models->count; i++)
        if (strcmp(models->names[i], text) == 0)
            return models->models[i];
    return NULL;
}

/* The text is always among the names: they were gathered from the same stage. */
static size_t index_of(const mc_recipe_models *models, const char *text)
{
    size_t i = 0;
    while (strcmp(models->names[i], text) != 0)
        i++;
    return i;
}

const mc_model *mc_recipe_donor(const mc_recipe_stage *stage, const mc_recipe_models *models)
{
    return mc_recipe_find(models, stage->base.text
                                      ? stage->base.text
                                      : stage->modules[0].slices[0].sources[0].model.text);
}

static const mc_state_dict *dict_of(const maker *m, const mc_recipe_source *source)
{
    return m->models->dicts[index_of(m->models, source->model.text)];
}

static const char *base_text(const maker *m)
{
    return m->slice->base.text ? m->slice->base.text : m->stage->base.text;
}

/*
 * Whether a source is the base, for a method that uses one. For other methods the base is a model
 * like any other.
 */
static bool is_base(const maker *m, const mc_recipe_source *source)
{
    const mc_method *const method = m->stage->method;
    const char *const base = base_text(m);
    return (method->needs_base || method->takes_base) && base &&
           strcmp(source->model.text, base) == 0;
}

/* ---- parameters ------------------------------------------------------------------------------ */
/* The tensor that a parameter is evaluated for. */
typedef struct subject {
    const char *name;               /* as filters see it */
    double t;                       /* how far along the blocks, 0 to 1 */
    const mc_recipe_source *source; /* NULL: parameters of the whole merge */
} subject;

/* Where a value comes from, for errors about it. */
typedef struct origin {
    const mc_yaml *at; /* NULL: it is the default */
} origin;

/*
 * Levels of precedence, as in mergekit: the source, its slice, the module, the recipe. The first
 * level that has a value for the tensor decides: a filter that does not fit falls through to the
 * next.
 */
enum { LEVELS = 4 };

static mc_status look_up(const maker *m, const mc_param *param, const subject *of, bool *found,
                         double *value, origin *from)
{
    const mc_yaml *const levels[LEVELS] = {of->source ? of->source->parameters : NULL,
                                           m->slice->parameters, m->module->parameters,
                                           m->stage->parameters};
    for (size_t i = 0; i < LEVELS; i++) {
        const mc_yaml *const setting = mc_yaml_get(levels[i], param->name);
        if (!setting)
            continue;
        mc_recipe_note_filters(m->schema, setting, of->name);
        if (*found)
            continue;
        MC_TRY(mc_setting_value(m->schema->file, setting, param->type, of->name, of->t, found,
                                value, m->error));
        from->at = *found ? setting : NULL;
    }
    return MC_OK;
}

static mc_status missing(const maker *m, const mc_param *param, const subject *of)
{
    const mc_yaml *const at = of->source ? of->source->at : m->slice->at;
    if (of->source)
        return FAIL(m, at, "%s needs the parameter '%s' of the model '%s' for the tensor '%s'",
                    m->stage->method->name, param->name, of->source->model.text, of->name);
    return FAIL(m, at, "%s needs the parameter '%s' for the tensor '%s'", m->stage->method->name,
                param->name, of->name);
}

/* Gives an error about a value the line of that value, so that the author finds it. */
static mc_status at_origin(const maker *m, const origin *from, mc_status status)
{
    const mc_yaml *const at = from->at ? from->at : m->slice->at;
    /* On the command line a bad value is wrong usage; here it is an error of the recipe. */
    if (status == MC_USAGE && m->error)
        m->error->code = MC_FORMAT;
    return mc_yaml_in_node(m->error, m->schema->file, at, status == MC_USAGE ? MC_FORMAT : status);
}

static mc_status set_value(const maker *m, mc_params *params, const mc_param *param, size_t input,
                           const subject *of)
{
    bool found = false;
    double value = 0;
    origin from = {0};
    MC_TRY(look_up(m, param, of, &found, &value, &from));
    if (!found)
        return param->required ? missing(m, param, of) : MC_OK;
    return at_origin(m, &from, mc_params_set_number(params, param->name, input, value, m->error));
}

/* One of the tensors that a row is made from. */
typedef struct part {
    const mc_recipe_source *source;
    const char *name; /* in its model */
    mc_source *tensor;
} part;

static bool is_doubtful(const mc_method *method, const mc_value *values)
{
    return (method->check && method->check(values, 1, NULL) != MC_OK) ||
           (method->note && method->note(values, 1));
}

/* The first model whose values are wrong or doubtful even alone; 0 if there is none. */
static size_t culprit(const mc_params *params)
{
    const mc_method *const method = params->method;
    mc_value *const values = mc_alloc((params->count + 1) * sizeof *values);
    size_t m = 0;
    for (; values && m < params->model_count; m++) {
        for (size_t i = 0; i < params->count; i++)
            values[i] = (mc_value){
                params->values[i].numbers + (method->params[i].per_input ? m : 0), 1};
        if (is_doubtful(method, values))
            break;
    }
    mc_free(values);
    return m < params->model_count ? m : 0;
}

/* The parameter that the text of a method begins with; NULL: it is about no single one. */
static const mc_param *blamed(const mc_method *method, const char *text)
{
    for (const mc_param *param = method->params; param && param->name; param++) {
        const size_t length = strlen(param->name);
        if (strncmp(text, param->name, length) == 0 && text[length] == ':')
            return param;
    }
    return NULL;
}

/* Where the recipe has the value that the text is about. */
static origin origin_of(const maker *m, const mc_params *params, const char *text, const char *name,
                        double t, const part *models)
{
    const mc_param *const param = blamed(m->stage->method, text);
    origin from = {.at = m->stage->parameters};
    bool found = false;
    double value;
    if (param) {
        const part *const one = param->per_input ? &models[culprit(params)] : NULL;
        const subject of = {one ? one->name : name, t, one ? one->source : NULL};
        (void)look_up(m, param, &of, &found, &value, &from);
    }
    return from;
}

/* Checks the values together. An error has the line of the parameter that it names. */
static mc_status check_values(const maker *m, const mc_params *params, const char *name, double t,
                              const part *models)
{
    const mc_status status = mc_params_check(params, m->error);
    if (status == MC_OK)
        return MC_OK;
    const origin from = origin_of(m, params, m->error ? m->error->text : "", name, t, models);
    return at_origin(m, &from, status);
}

/* Reports what the method says about values that are valid but doubtful, once for all rows. */
static mc_status report_values(maker *m, const mc_params *params, const char *name, double t,
                               const part *models)
{
    const char *const note = mc_params_note(params);
    if (!note || note == m->noted)
        return MC_OK;
    m->noted = note;
    const origin from = origin_of(m, params, note, name, t, models);
    const mc_yaml *const at = from.at ? from.at : m->slice->at;
    if (m->options->strict)
        return FAIL(m, at, "%s (strict)", note);
    return mc_report_add(m->report, m->error, "%s:%u:%u: %s", m->schema->file, at->line, at->column,
                         note);
}

/*
 * A parameter per model is evaluated with the tensor's name in that model: slices may take other
 * block numbers, and filters see those.
 */
static mc_status set_params(const maker *m, mc_params *params, const char *name, double t,
                            const part *models, size_t count)
{
    const mc_method *const method = m->stage->method;
    for (const mc_param *param = method->params; param && param->name; param++) {
        const subject whole = {.name = name, .t = t};
        if (!param->per_input)
            MC_TRY(set_value(m, params, param, MC_ALL_INPUTS, &whole));
        for (size_t i = 0; param->per_input && i < count; i++) {
            const subject one = {.name = models[i].name, .t = t, .source = models[i].source};
            MC_TRY(set_value(m, params, param, i, &one));
        }
    }
    return check_values(m, params, name, t, models);
}

/*
 * The parameters of a row, borrowed from the maker. Rows with equal values share one object, which
 * saves memory and hashing in plans of thousands of rows.
 */
static mc_status params_of(maker *m, const char *name, double t, const part *models, size_t count,
                           mc_params **out)
{
    mc_params *params = NULL;
    MC_TRY(mc_params_new(m->stage->method, count, &params, m->error));
    mc_status status = set_params(m, params, name, t, models, count);
    if (status == MC_OK)
        status = report_values(m, params, name, t, models);
    if (status != MC_OK || (m->last && mc_params_equal(params, m->last))) {
        mc_params_unref(params);
    } else {
        mc_params_unref(m->last);
        m->last = params;
    }
    *out = m->last;
    return status;
}

/* ---- one row --------------------------------------------------------------------------------- */
/* Tensors of a row: those of the models first, then the base's. */
typedef struct parts {
    part *items;
    size_t count, model_count, capacity;
    bool has_base;
    bool lacking; /* a source of the slice has no such tensor */
    bool tied;    /* a source has it under the name of its input embeddings */
} parts;

static mc_status add_input(const maker *m, mc_output *row, const part *p, mc_role role)
{
    const mc_input input = {.source = p->tensor,
                            .role = role,
                            .model = index_of(m->models, p->source->model.text),
                            .name = (char *)(uintptr_t)p->name};
    return mc_output_add_input(row, &input, m->error);
}

static mc_status add_row(maker *m, const char *name, mc_action action, mc_params *params,
                         const parts *p, size_t count)
{
    mc_output *row = NULL;
    MC_TRY(mc_outputs_add(&m->out->outputs, name, action,
                          action == MC_ACTION_MERGE ? m->stage->method : NULL, params, &row,
                          m->error));
    for (size_t i = 0; i < count; i++)
        MC_TRY(add_input(m, row, &p->items[i],
                         action == MC_ACTION_MERGE && i >= p->model_count ? MC_ROLE_BASE
                                                                          : MC_ROLE_MODEL));
    /* The table's own copy of the name stays where it is. */
    return mc_index_set(&m->made, row->name, m->out->outputs.count - 1) ? MC_OK
                                                                        : mc_fail_memory(m->error);
}

static const char *last_name(const maker *m)
{
    return m->out->outputs.rows[m->out->outputs.count - 1].name;
}

/* Whether the tensors that exist satisfy the method: its base and its number of models. */
static bool method_can(const maker *m, const parts *p)
{
    const mc_method *const method = m->stage->method;
    const size_t least = method->min_models > 0 ? method->min_models : 1;
    const bool based = !method->needs_base || p->has_base;
    return based && p->model_count >= least &&
           (method->max_models == 0 || p->model_count <= method->max_models);
}

/* Whether the row is a copy, bit for bit: passthrough without a scale needs no computation. */
static bool is_copy(const maker *m, const mc_params *params)
{
    return strcmp(m->stage->method->name, "passthrough") == 0 && params->values[0].numbers[0] == 1;
}

static mc_status add_merged(maker *m, const char *name, double t, const parts *p)
{
    mc_params *params = NULL;
    MC_TRY(params_of(m, name, t, p->items, p->model_count, &params));
    if (is_copy(m, params))
        return add_row(m, name, MC_ACTION_COPY, NULL, p, 1);
    MC_TRY(add_row(m, name, MC_ACTION_MERGE, params, p, p->count));
    if (p->tied)
        MC_TRY(mc_names_add(&m->tied, last_name(m), m->error));
    return p->lacking ? mc_names_add(&m->partly, last_name(m), m->error) : MC_OK;
}

static bool is_float(const part *p)
{
    return mc_dtype_kind_of(p->tensor->dtype) == MC_KIND_FLOAT;
}

/* The first part that is not a float tensor although the first of all is, or the reverse. */
static const part *odd_one(const parts *p)
{
    for (size_t i = 1; i < p->count; i++)
        if (is_float(&p->items[i]) != is_float(&p->items[0]))
            return &p->items[i];
    return NULL;
}

static mc_status not_alike(const maker *m, const char *name, const part *first, const part *odd)
{
    return FAIL(m, odd->source->model.at,
                "tensor '%s': expected floats in all models, found %s in '%s' "
                "and %s in '%s'",
                name, mc_dtype_name(first->tensor->dtype), first->source->model.text,
                mc_dtype_name(odd->tensor->dtype), odd->source->model.text);
}

/*
 * Adds the row of a tensor that at least one source has. Values that are not floats cannot be
 * merged: they are copied from the first.
 */
static mc_status add_tensor(maker *m, const char *name, double t, const parts *p)
{
    const part *const odd = odd_one(p);
    if (odd)
        return not_alike(m, name, &p->items[0], odd);
    if (!is_float(&p->items[0])) {
        MC_TRY(add_row(m, name, MC_ACTION_COPY, NULL, p, 1));
        return p->count > 1 ? mc_names_add(&m->integers, last_name(m), m->error) : MC_OK;
    }
    if (p->model_count == 0) { /* only the base */
        MC_TRY(add_row(m, name, MC_ACTION_COPY, NULL, p, 1));
        return p->lacking ? mc_names_add(&m->based, last_name(m), m->error) : MC_OK;
    }
    if (method_can(m, p))
        return add_merged(m, name, t, p);
    MC_TRY(add_row(m, name, MC_ACTION_MEAN, NULL, p, p->model_count));
    return mc_names_add(&m->averaged, last_name(m), m->error);
}

/* ---- the sources' tensors -------------------------------------------------------------------- */
/*
 * Finds a tensor by its name. An output head is also found where a model has tied it to its input
 * embeddings: there it has the partner's name and values.
 */
static mc_source *find_tensor(const mc_state_dict *dict, const char *name, const char **found,
                              bool *tied)
{
    mc_source *const tensor = mc_state_dict_find(dict, name);
    const char *const partner = tensor ? NULL : mc_tied_partner(NULL, dict, name);
    *found = partner ? partner : name;
    *tied = partner != NULL;
    return partner ? mc_state_dict_find(dict, partner) : tensor;
}

static mc_status add_part(maker *m, parts *p, const mc_recipe_source *source, const char *name,
                          bool *tied)
{
    const char *found = name;
    mc_source *const tensor = find_tensor(dict_of(m, source), name, &found, tied);
    if (!tensor) {
        p->lacking = true;
        return MC_OK;
    }
    if (!MC_GROW(p->items, p->count, p->capacity))
        return mc_fail_memory(m->error);
    p->items[p->count++] = (part){source, found, tensor};
    return MC_OK;
}

/*
 * The name of a block's tensor in a source, in new memory: block `index` of the slice is block
 * first + index of the source.
 */
static char *name_in_source(const mc_recipe_source *source, const mc_block_name *block,
                            const char *name, int64_t index)
{
    return block ? mc_format("%.*s%lld%s", (int)block->stack, name,
                             (long long)(source->first + index), block->rest)
                 : mc_strdup(name);
}

/*
 * Gathers a tensor from the sources of the slice, models first. `names` are the sources' names for
 * it, which must stay until the row is made.
 */
static mc_status gather(maker *m, char *const *names, parts *p)
{
    bool tied = false;
    /* Two passes, as merged rows have their base last. */
    for (int base = 0; base < 2; base++) {
        for (size_t i = 0; i < m->slice->count; i++) {
            const mc_recipe_source *const source = &m->slice->sources[i];
            if (is_base(m, source) != (base == 1))
                continue;
            const size_t before = p->count;
            MC_TRY(add_part(m, p, source, names[i], &tied));
            p->tied |= tied;
            p->has_base |= base == 1 && p->count > before;
        }
        if (base == 0)
            p->model_count = p->count;
    }
    return MC_OK;
}

/* Drops or rejects a tensor that a model lacks, if the options do not merge it from the others. */
static mc_status miss_tensor(const maker *m, const char *name)
{
    const mc_recipe_slice *const slice = m->slice;
    if (m->options->missing == MC_MISSING_DROP)
        return mc_report_add(m->report, m->error, "%s: dropped: a model lacks it", name);
    for (size_t i = 0; i < slice->count; i++)
        if (!mc_state_dict_find(dict_of(m, &slice->sources[i]), name))
            return FAIL(m, slice->sources[i].at, "'%s' has no tensor '%s'",
                        slice->sources[i].model.text, name);
    return MC_OK;
}

/*
 * Adds the row `output`. `block` is NULL for a tensor that is in no block; `index` counts the
 * slice's blocks.
 */
static mc_status make_row(maker *m, const char *output, const char *name,
                          const mc_block_name *block, int64_t index, double t)
{
    parts p = {0};
    const size_t count = m->slice->count;
    char **const names = mc_alloc_zero(count, sizeof *names);
    mc_status status = names ? MC_OK : mc_fail_memory(m->error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        names[i] = m->slice->whole ? mc_strdup(name)
                                   : name_in_source(&m->slice->sources[i], block, name, index);
        status = names[i] ? MC_OK : mc_fail_memory(m->error);
    }
    if (status == MC_OK)
        status = gather(m, names, &p);
    if (status == MC_OK && p.lacking && m->options->missing != MC_MISSING_MERGE)
        status = miss_tensor(m, output);
    else if (status == MC_OK)
        status = add_tensor(m, output, m->options->raw ? 0 : t, &p);
    for (size_t i = 0; names && i < count; i++)
        mc_free(names[i]);
    mc_free(names);
    mc_free(p.items);
    return status;
}

static bool is_made(const maker *m, const char *name)
{
    return mc_index_find(&m->made, name) != MC_INDEX_NONE;
}

static bool claims(const maker *m, const mc_recipe_module *module, const char *name)
{
    return strcmp(module->name, "default") != 0 && mc_module_has(m->kind, module->name, name);
}

/*
 * Whether the tensor belongs to the module. `default` has what no other module of the recipe
 * claims.
 */
static bool has_tensor(const maker *m, const mc_recipe_module *module, const char *name)
{
    if (strcmp(module->name, "default") != 0)
        return claims(m, module, name);
    for (size_t i = 0; i < m->stage->count; i++)
        if (claims(m, &m->stage->modules[i], name))
            return false;
    return true;
}

/* ---- whole models ---------------------------------------------------------------------------- */
/* The place of a block in gradients, from 0 to 1. A single block is at the end, as in mergekit. */
static double position(int64_t index, int64_t count)
{
    return count > 1 ? (double)index / (double)(count - 1) : 1;
}

/*
 * The stack of the tensor before: its blocks are counted once per stack rather than once per
 * tensor.
 */
typedef struct stack_cache {
    const char *name;
    size_t length;
    int64_t count;
} stack_cache;

/* Whole models are merged block by block, by number: other depths would pair unrelated blocks. */
static mc_status check_depth(const maker *m, const char *name, const stack_cache *stack)
{
    for (size_t i = 0; i < m->slice->count; i++) {
        const mc_recipe_source *const source = &m->slice->sources[i];
        const int64_t other = mc_block_count(dict_of(m, source), stack->name, stack->length);
        if (other != stack->count && other != 0)
            return FAIL(m, source->at,
                        "models of different depth: '%s' has %lld blocks '%.*s', '%s' has %lld; "
                        "merge them by 'slices'",
                        m->slice->sources[0].model.text, (long long)stack->count,
                        (int)stack->length, name, source->model.text, (long long)other);
    }
    return MC_OK;
}

static mc_status add_whole_name(maker *m, const mc_state_dict *dict, const char *name,
                                stack_cache *stack)
{
    mc_block_name block;
    if (is_made(m, name) || !has_tensor(m, m->module, name))
        return MC_OK;
    if (!mc_block_name_of(name, &block))
        return make_row(m, name, name, NULL, 0, 0);
    if (stack->length != block.stack || memcmp(stack->name, name, block.stack) != 0) {
        *stack = (stack_cache){name, block.stack, mc_block_count(dict, name, block.stack)};
        MC_TRY(check_depth(m, name, stack));
    }
    return make_row(m, name, name, &block, 0, position(block.block, stack->count));
}

/* Whether a source is the base that the recipe does not list among its models. */
static bool is_added_base(const maker *m, size_t source)
{
    return m->slice->sources[source].at == m->stage->base.at;
}

/*
 * Visits the names of all models, so that a tensor of a later one is not lost. `raw` leaves out
 * what only the base has, as mergekit-pytorch does.
 */
static mc_status add_whole(maker *m)
{
    for (size_t i = 0; i < m->slice->count; i++) {
        const mc_state_dict *const dict = dict_of(m, &m->slice->sources[i]);
        stack_cache stack = {0};
        if (m->options->raw && is_added_base(m, i))
            continue;
        for (size_t k = 0; k < mc_state_dict_count(dict); k++)
            MC_TRY(add_whole_name(m, dict, mc_state_dict_name(dict, k), &stack));
    }
    return MC_OK;
}

/* ---- slices ---------------------------------------------------------------------------------- */
/*
 * Finds the one stack of the module in a model; *name is NULL if it has no blocks. Several stacks
 * are MC_UNSUPPORTED: a range of blocks would not say which of them it means.
 */
static mc_status find_stack(const maker *m, const mc_recipe_source *source, const char **name,
                            size_t *length)
{
    const mc_state_dict *const dict = dict_of(m, source);
    *name = NULL;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const tensor = mc_state_dict_name(dict, i);
        mc_block_name block;
        if (!mc_block_name_of(tensor, &block) || !has_tensor(m, m->module, tensor))
            continue;
        if (!*name) {
            *name = tensor;
            *length = block.stack;
        } else if (block.stack != *length || memcmp(*name, tensor, block.stack) != 0) {
            return mc_yaml_fail(m->error, MC_UNSUPPORTED, m->schema->file, source->at->line,
                                source->at->column,
                                "'%s' has the blocks '%.*s' and '%.*s': expected 'modules' with "
                                "the slices of %s, or PREFIX: of names that begin with 'PREFIX.'",
                                source->model.text, (int)*length, *name, (int)block.stack, tensor,
                                mc_modules_text(m->kind));
        }
    }
    return MC_OK;
}

/*
 * A range may begin anywhere, but every source must have its blocks: a plan fails here, before a
 * tensor is missing.
 */
static mc_status check_ranges(const maker *m, const char *stack, size_t length)
{
    for (size_t i = 0; i < m->slice->count; i++) {
        const mc_recipe_source *const source = &m->slice->sources[i];
        const int64_t count = stack ? mc_block_count(dict_of(m, source), stack, length) : 0;
        if (stack && source->first == source->end)
            return FAIL(m, source->at,
                        "expected a first block before the end as 'layer_range', found [0, 0]");
        if (!stack && source->end > 0)
            return FAIL(m, source->at, "'%s' has no blocks", source->model.text);
        if (source->end > count)
            return FAIL(m, source->at,
                        "layer_range [%lld, %lld] reaches beyond the %lld blocks of '%s'",
                        (long long)source->first, (long long)source->end, (long long)count,
                        source->model.text);
    }
    return MC_OK;
}

/* Blocks are numbered anew in the result: the same source block may occur several times. */
static mc_status add_block_tensor(maker *m, const char *tensor, const mc_block_name *block,
                                  int64_t index, int64_t output, double t)
{
    char *const name = mc_format("%.*s%lld%s", (int)block->stack, tensor, (long long)output,
                                 block->rest);
    if (!name)
        return mc_fail_memory(m->error);
    const mc_status status = is_made(m, name) ? MC_OK : make_row(m, name, tensor, block, index, t);
    mc_free(name);
    return status;
}

/* Adds every tensor that a source has in block `index` of the slice, as block `output`. */
static mc_status add_block(maker *m, const char *stack, size_t length, int64_t index,
                           int64_t output)
{
    const int64_t count = m->slice->sources[0].end - m->slice->sources[0].first;
    for (size_t i = 0; i < m->slice->count; i++) {
        const mc_recipe_source *const source = &m->slice->sources[i];
        const mc_state_dict *const dict = dict_of(m, source);
        for (size_t k = 0; k < mc_state_dict_count(dict); k++) {
            const char *const tensor = mc_state_dict_name(dict, k);
            mc_block_name block;
            if (mc_block_name_of(tensor, &block) && block.block == source->first + index &&
                block.stack == length && memcmp(tensor, stack, length) == 0)
                MC_TRY(add_block_tensor(m, tensor, &block, index, output, position(index, count)));
        }
    }
    return MC_OK;
}

/*
 * Adds tensors outside of blocks: those before the blocks come from the first slice, those after
 * them from the last, as in a stacked model.
 */
static mc_status add_others(maker *m, bool first, bool last)
{
    for (size_t i = 0; i < m->slice->count; i++) {
        const mc_state_dict *const dict = dict_of(m, &m->slice->sources[i]);
        for (size_t k = 0; k < mc_state_dict_count(dict); k++) {
            const char *const name = mc_state_dict_name(dict, k);
            mc_block_name block;
            if (mc_block_name_of(name, &block) || is_made(m, name) ||
                !has_tensor(m, m->module, name))
                continue;
            if (mc_is_before_blocks(name) ? first : last)
                MC_TRY(make_row(m, name, name, NULL, 0, 0));
        }
    }
    return MC_OK;
}

/* Records where blocks come from: lists in config.json with an entry per block follow (depth.c). */
static mc_status note_stack(maker *m)
{
    mc_recipe_rows *const out = m->out;
    const mc_recipe_source *const source = &m->slice->sources[0];
    if (!MC_GROW(out->stacks, out->stack_count, out->stack_capacity))
        return mc_fail_memory(m->error);
    out->stacks[out->stack_count++] = (mc_recipe_stack){
        m->module->name, mc_module_usual(m->kind, m->module->name),
        mc_recipe_find(m->models, source->model.text), source->first, source->end - source->first};
    return MC_OK;
}

/* Whether a slice takes the block from a source, and the result has no such tensor. */
static bool lacks_block_tensor(const maker *m, const char *tensor, const mc_block_name *block,
                               bool *failed)
{
    int64_t output = 0;
    for (size_t s = 0; s < m->module->count; s++) {
        const mc_recipe_slice *const slice = &m->module->slices[s];
        for (size_t i = 0; i < slice->count; i++) {
            const mc_recipe_source *const source = &slice->sources[i];
            if (block->block < source->first || block->block >= source->end)
                continue;
            char *const name = mc_format("%.*s%lld%s", (int)block->stack, tensor,
                                         (long long)(output + block->block - source->first),
                                         block->rest);
            const bool lacks = name && !is_made(m, name);
            *failed |= !name;
            mc_free(name);
            if (lacks)
                return true;
        }
        output += slice->sources[0].end - slice->sources[0].first;
    }
    return false;
}

/*
 * Finds tensors that the sources of slices lack. No file lists what a block needs, but models that
 * are stacked should have the same tensors: one that another model has in the block of that number
 * is missing.
 */
static mc_status note_absent(maker *m, const char *stack, size_t length)
{
    bool failed = false;
    for (size_t d = 0; d < m->models->read; d++) {
        const mc_state_dict *const dict = m->models->dicts[d];
        for (size_t k = 0; k < mc_state_dict_count(dict); k++) {
            const char *const name = mc_state_dict_name(dict, k);
            mc_block_name block;
            size_t earlier = 0;
            while (earlier < d && !mc_state_dict_find(m->models->dicts[earlier], name))
                earlier++;
            if (earlier < d || !has_tensor(m, m->module, name))
                continue;
            if (!mc_block_name_of(name, &block)
                    ? is_made(m, name)
                    : block.stack != length || memcmp(name, stack, length) != 0 ||
                          !lacks_block_tensor(m, name, &block, &failed))
                continue;
            MC_TRY(mc_names_add(&m->absent, name, m->error));
        }
    }
    return failed ? mc_fail_memory(m->error) : MC_OK;
}

static mc_status add_slices(maker *m)
{
    const mc_recipe_module *const module = m->module;
    const char *stack = NULL;
    size_t length = 0;
    int64_t output = 0;
    for (size_t s = 0; s < module->count; s++) {
        m->slice = &module->slices[s];
        const int64_t count = m->slice->sources[0].end - m->slice->sources[0].first;
        if (s == 0)
            MC_TRY(find_stack(m, &m->slice->sources[0], &stack, &length));
        MC_TRY(check_ranges(m, stack, length));
        if (stack)
            MC_TRY(note_stack(m));
        for (int64_t i = 0; i < count; i++)
            MC_TRY(add_block(m, stack, length, i, output++));
        MC_TRY(add_others(m, s == 0, s + 1 == module->count));
    }
    return note_absent(m, stack, length);
}

/* ---- all ------------------------------------------------------------------------------------- */
static mc_status check_module(const maker *m)
{
    const mc_recipe_source *const source = &m->slice->sources[0];
    const mc_state_dict *const dict = dict_of(m, source);
    for (size_t i = 0; i < mc_state_dict_count(dict); i++)
        if (has_tensor(m, m->module, mc_state_dict_name(dict, i)))
            return MC_OK;
    return FAIL(
        m, m->module->at,
        "'%s' has no module '%s': expected %s, or the beginning of tensor names up to a dot",
        source->model.text, m->module->name, mc_modules_text(m->kind));
}

static mc_status add_module(maker *m, const mc_recipe_module *module)
{
    m->module = module;
    m->slice = &module->slices[0];
    MC_TRY(check_module(m));
    return m->slice->whole ? add_whole(m) : add_slices(m);
}

static bool is_listed(const maker *m, const char *name)
{
    for (size_t i = 0; i < m->stage->count; i++)
        if (has_tensor(m, &m->stage->modules[i], name))
            return true;
    return false;
}

/* Copies modules that the recipe does not list from the donor: nothing is dropped silently. */
static mc_status add_unlisted(maker *m)
{
    const mc_recipe_stage *const stage = m->stage;
    const mc_recipe_source donor = {
        .model = stage->base.text ? stage->base : stage->modules[0].slices[0].sources[0].model};
    const mc_state_dict *const dict = dict_of(m, &donor);
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        part item = {&donor, name, mc_state_dict_find(dict, name)};
        const parts p = {.items = &item, .count = 1, .model_count = 1};
        if (is_listed(m, name) || is_made(m, name))
            continue;
        MC_TRY(add_row(m, name, MC_ACTION_COPY, NULL, &p, 1));
        MC_TRY(mc_names_add(&m->unlisted, last_name(m), m->error));
    }
    return MC_OK;
}

static mc_status report_all(const maker *m)
{
    MC_TRY(mc_report_names(
        m->report, &m->averaged, m->options->strict,
        "averaged over the models that have them: a model or the base lacks them", m->error));
    MC_TRY(mc_report_names(m->report, &m->partly, m->options->strict,
                           "merged of those models that have them", m->error));
    MC_TRY(mc_report_names(m->report, &m->based, m->options->strict,
                           "copied from the base: the models lack them", m->error));
    MC_TRY(mc_report_names(m->report, &m->absent, m->options->strict,
                           "missing in the result: the models of the slices lack them, but other "
                           "models have them",
                           m->error));
    MC_TRY(mc_report_names(m->report, &m->tied, false,
                           "merged with the input embeddings of models that tie the two",
                           m->error));
    MC_TRY(mc_report_names(m->report, &m->unlisted, false,
                           "copied: in modules that the recipe does not list", m->error));
    return mc_report_names(m->report, &m->integers, false,
                           "copied from the first model: not floats", m->error);
}

static mc_status make(maker *m)
{
    for (size_t i = 0; i < m->stage->count; i++)
        MC_TRY(add_module(m, &m->stage->modules[i]));
    MC_TRY(add_unlisted(m));
    if (m->out->outputs.count == 0)
        return FAIL(m, m->stage->at, "the models have no tensors");
    const mc_recipe_stage *const stage = m->stage;
    /* out_dtype takes precedence; `dtype` alone is also the result's. */
    if (stage->has_out_dtype || stage->has_dtype)
        MC_TRY(mc_outputs_convert(
            &m->out->outputs, stage->has_out_dtype ? stage->out_dtype : stage->dtype, m->error));
    return report_all(m);
}

mc_status mc_recipe_rows_make(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                              const mc_recipe_models *models, const mc_recipe_options *options,
                              mc_recipe_rows *out, mc_report *report, mc_error *error)
{
    maker m = {.schema = schema,
               .stage = stage,
               .models = models,
               .kind = mc_modules_of(mc_model_state_dict(mc_recipe_donor(stage, models))),
               .options = options,
               .out = out,
               .report = report,
               .error = error};
    out->outputs.seed = options->seed;
    const mc_status status = make(&m);
    mc_params_unref(m.last);
    mc_index_free(&m.made);
    mc_names_free(&m.averaged);
    mc_names_free(&m.partly);
    mc_names_free(&m.based);
    mc_names_free(&m.absent);
    mc_names_free(&m.integers);
    mc_names_free(&m.tied);
    mc_names_free(&m.unlisted);
    return status;
}

/* ---- sources --------------------------------------------------------------------------------- */

/* Where the recipe first names a model. */
static const mc_yaml *place_of(const mc_recipe_stage *stage, const char *name)
{
    for (size_t m = 0; m < stage->count; m++)
        for (size_t s = 0; s < stage->modules[m].count; s++) {
            const mc_recipe_slice *const slice = &stage->modules[m].slices[s];
            for (size_t i = 0; i < slice->count; i++)
                if (strcmp(slice->sources[i].model.text, name) == 0)
                    return slice->sources[i].model.at;
            if (slice->base.text && strcmp(slice->base.text, name) == 0)
                return slice->base.at;
        }
    return stage->base.at;
}

mc_status mc_recipe_rows_resolve(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const char *const *names, size_t count, mc_outputs *outputs,
                                 mc_error *error)
{
    char **const places = mc_alloc_zero(count + 1, sizeof *places);
    mc_status status = places ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        const mc_yaml *const at = place_of(stage, names[i]);
        places[i] = at ? mc_format("%s:%u:%u", schema->file, at->line, at->column) : NULL;
        if (at && !places[i])
            status = mc_fail_memory(error);
    }
    const mc_labels labels = {.texts = names, .places = places, .model_count = count};
    if (status == MC_OK)
        status = mc_outputs_resolve(outputs, &labels, error);
    for (size_t i = 0; places && i < count; i++)
        mc_free(places[i]);
    mc_free(places);
    return status;
}

void mc_recipe_rows_free(mc_recipe_rows *rows)
{
    mc_outputs_free(&rows->outputs);
    mc_free(rows->stacks);
    *rows = (mc_recipe_rows){0};
}

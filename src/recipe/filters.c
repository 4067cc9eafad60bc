#include "recipe/filters.h"

#include "recipe/setting.h"

#include <string.h>

void mc_recipe_forget_filters(const mc_recipe_schema *schema)
{
    memset(schema->fitted, 0, schema->yaml->node_count * sizeof *schema->fitted);
}

void mc_recipe_note_filters(const mc_recipe_schema *schema, const mc_yaml *setting,
                            const char *tensor)
{
    const mc_yaml *condition;
    for (size_t i = 0; (condition = mc_setting_condition(setting, i)); i++)
        if (!schema->fitted[condition->index] && mc_setting_fits(condition, tensor))
            schema->fitted[condition->index] = true;
}

typedef struct checker {
    const mc_recipe_schema *schema;
    const mc_recipe_stage *stage;
    bool strict;
    mc_report *report;
    mc_error *error;
} checker;

static mc_status check_condition(const checker *c, const mc_yaml *condition)
{
    static const char what[] = "%s:%u:%u: the filter '%s' matches no merged tensor";
    if (!mc_setting_has_filter(condition) || c->schema->fitted[condition->index])
        return MC_OK;
    const mc_yaml *const filter = mc_yaml_get(condition, "filter");
    return c->strict ? mc_fail(c->error, MC_MISMATCH, what, c->schema->file, filter->line,
                               filter->column, filter->text)
                     : mc_report_add(c->report, c->error, what, c->schema->file, filter->line,
                                     filter->column, filter->text);
}

/* Parameters that have no effect there are reported as such; their filters do not matter. */
static mc_status check_all(const checker *c, const mc_yaml *parameters, bool of_a_model)
{
    const mc_param *param = c->stage->method->params;
    for (; parameters && param && param->name; param++) {
        const mc_yaml *const setting = mc_yaml_get(parameters, param->name), *condition;
        if (!setting || (of_a_model && !param->per_input))
            continue;
        for (size_t i = 0; (condition = mc_setting_condition(setting, i)); i++)
            MC_TRY(check_condition(c, condition));
    }
    return MC_OK;
}

/* The base has no parameters for methods that use one. */
static mc_status check_slice(const checker *c, const mc_recipe_slice *slice)
{
    const mc_method *const method = c->stage->method;
    const char *const base = slice->base.text ? slice->base.text : c->stage->base.text;
    const bool uses = base && (method->needs_base || method->takes_base);
    MC_TRY(check_all(c, slice->parameters, false));
    for (size_t i = 0; i < slice->count; i++)
        if (!uses || strcmp(slice->sources[i].model.text, base) != 0)
            MC_TRY(check_all(c, slice->sources[i].parameters, true));
    return MC_OK;
}

mc_status mc_recipe_report_filters(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                   bool strict, mc_report *report, mc_error *error)
{
    const checker c = {schema, stage, strict, report, error};
    MC_TRY(check_all(&c, stage->parameters, false));
    for (size_t m = 0; m < stage->count; m++) {
        MC_TRY(check_all(&c, stage->modules[m].parameters, false));
        for (size_t s = 0; s < stage->modules[m].count; s++)
            MC_TRY(check_slice(&c, &stage->modules[m].slices[s]));
    }
    return MC_OK;
}

#include "recipe/filters.h"

#include <string.h>

typedef struct checker {
    const mc_recipe_schema *schema;
    const mc_method *method;
    const mc_outputs *outputs;
    bool strict;
    mc_report *report;
    mc_error *error;
} checker;

/* Parameters of one model see its names; those of the merge see the result's. Either is enough. */
static bool fits_any(const mc_outputs *outputs, const char *filter)
{
    for (size_t i = 0; i < outputs->count; i++) {
        const mc_output *const row = &outputs->rows[i];
        if (strstr(row->name, filter))
            return true;
        for (size_t k = 0; k < row->input_count; k++)
            if (row->inputs[k].name && strstr(row->inputs[k].name, filter))
                return true;
    }
    return false;
}

static mc_status check_condition(const checker *c, const mc_yaml *condition)
{
    const mc_yaml *const filter = mc_yaml_get(condition, "filter");
    if (!filter || filter->kind != MC_YAML_STRING || strcmp(filter->text, "*") == 0 ||
        fits_any(c->outputs, filter->text))
        return MC_OK;
    static const char what[] = "%s:%u:%u: the filter '%s' matches no tensor name";
    return c->strict ? mc_fail(c->error, MC_MISMATCH, what, c->schema->file, filter->line,
                               filter->column, filter->text)
                     : mc_report_add(c->report, c->error, what, c->schema->file, filter->line,
                                     filter->column, filter->text);
}

static mc_status check_setting(const checker *c, const mc_yaml *setting)
{
    if (setting->kind == MC_YAML_MAP)
        return check_condition(c, setting);
    for (size_t i = 0; setting->kind == MC_YAML_LIST && i < setting->count; i++)
        if (setting->items[i]->kind == MC_YAML_MAP)
            MC_TRY(check_condition(c, setting->items[i]));
    return MC_OK;
}

/* Parameters that the method does not have are reported as such; their filters do not matter. */
static mc_status check_all(const checker *c, const mc_yaml *parameters)
{
    for (const mc_param *param = c->method->params; parameters && param && param->name; param++) {
        const mc_yaml *const setting = mc_yaml_get(parameters, param->name);
        if (setting)
            MC_TRY(check_setting(c, setting));
    }
    return MC_OK;
}

static mc_status check_slice(const checker *c, const mc_recipe_slice *slice)
{
    MC_TRY(check_all(c, slice->parameters));
    for (size_t i = 0; i < slice->count; i++)
        MC_TRY(check_all(c, slice->sources[i].parameters));
    return MC_OK;
}

mc_status mc_recipe_report_filters(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                   const mc_outputs *outputs, bool strict, mc_report *report,
                                   mc_error *error)
{
    const checker c = {schema, stage->method, outputs, strict, report, error};
    MC_TRY(check_all(&c, stage->parameters));
    for (size_t m = 0; m < stage->count; m++) {
        MC_TRY(check_all(&c, stage->modules[m].parameters));
        for (size_t s = 0; s < stage->modules[m].count; s++)
            MC_TRY(check_slice(&c, &stage->modules[m].slices[s]));
    }
    return MC_OK;
}

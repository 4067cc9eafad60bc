#include "recipe/folders.h"

#include "base/memory.h"
#include "merge/report.h"
#include "model/model.h"

typedef struct planning {
    const mc_recipe_schema *schema;
    const mc_recipe_stage *stage;
    const mc_recipe_models *models;
    size_t merged;
    const mc_recipe_options *options;
} planning;

static mc_status open_all(mc_module *module, const mc_recipe_models *models, mc_error *error)
{
    for (size_t i = 0; i < models->count; i++) {
        bool found;
        MC_TRY(mc_module_open(module, models->models[i], &found, error));
        if (!found)
            return mc_fail(error, MC_MISMATCH, "'%s' has no weights in %s", models->names[i],
                           module->folder);
    }
    return MC_OK;
}

/* Makes the rows of the recipe from the tensors of the module instead of the model's. */
static mc_status make_rows(const planning *p, const mc_module *module, mc_recipe_rows *rows,
                           mc_report *report, mc_error *error)
{
    const mc_state_dict **const dicts = mc_alloc(module->count * sizeof *dicts);
    if (!dicts)
        return mc_fail_memory(error);
    for (size_t i = 0; i < module->count; i++)
        dicts[i] = mc_model_state_dict(module->models[i]);
    const mc_recipe_models models = {.names = p->models->names,
                                     .models = (const mc_model *const *)module->models,
                                     .dicts = dicts,
                                     .outfits = p->models->outfits,
                                     .read = module->count,
                                     .count = module->count};
    mc_status status = mc_recipe_rows_make(p->schema, p->stage, &models, p->options, rows, report,
                                           error);
    if (status == MC_OK && p->options->convert)
        status = mc_outputs_convert(&rows->outputs, p->options->dtype, error);
    if (status == MC_OK)
        status = mc_recipe_rows_resolve(p->schema, p->stage, p->models->names, p->models->count,
                                        &rows->outputs, error);
    mc_free(dicts);
    return status;
}

static mc_status plan_folder(mc_module *module, void *user, mc_error *error)
{
    const planning *const p = user;
    mc_recipe_rows rows = {0};
    const mc_recipe_models *const all = p->models;
    mc_plan_rows plan = {.model_count = p->merged, .all_count = all->count};
    MC_TRY(open_all(module, p->models, error));
    MC_TRY(mc_report_new(&plan.report, error));
    mc_status status = make_rows(p, module, &rows, plan.report, error);
    if (status == MC_OK) {
        plan.models = (const mc_model *const *)module->models;
        plan.base = p->merged < module->count ? module->models[p->merged] : NULL;
        plan.donor = mc_recipe_donor(
            p->stage,
            &(mc_recipe_models){.names = all->names, .models = plan.models, .count = all->count});
        plan.recipe = p->schema->text;
        plan.strict = p->options->strict;
        plan.outputs = rows.outputs;
        rows.outputs = (mc_outputs){0};
        status = mc_plan_from_rows(&plan, &module->plan, error);
    } else {
        mc_report_free(plan.report);
    }
    mc_recipe_rows_free(&rows);
    return status;
}

mc_status mc_recipe_plan_folders(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const mc_recipe_models *models, size_t merged,
                                 const mc_recipe_options *options, mc_plan *plan, mc_error *error)
{
    planning p = {schema, stage, models, merged, options};
    if (!mc_model_is_complete(mc_plan_donor(plan)))
        return MC_OK; /* only headers are here */
    return mc_modules_plan_by(&plan->outfit, plan_folder, &p, options->strict, &plan->modules,
                              plan->report, error);
}

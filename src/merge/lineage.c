#include "merge/lineage.h"

#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/model.h"

#include <string.h>

/* Whether two models have the same files, whatever they are called. */
static bool is_same_model(const mc_model *a, const mc_model *b)
{
    return mc_model_file_count(a) > 0 && mc_model_fingerprint(a) == mc_model_fingerprint(b);
}

/* Reports the text, or fails with it under strict. Takes it over; NULL: no memory. */
static mc_status warn(const mc_plan *plan, char *text, mc_error *error)
{
    const mc_status status = !text          ? mc_fail_memory(error)
                             : plan->strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", text)
                                            : mc_report_add(plan->report, error, "%s", text);
    mc_free(text);
    return status;
}

/*
 * Reports what looks mistyped on the command line: such a merge works, but is not what was meant.
 */
mc_status mc_lineage_check(const mc_plan *plan, mc_error *error)
{
    const size_t count = plan->model_count;
    const mc_model **const models = plan->models;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (is_same_model(models[i], models[k]))
                MC_TRY(warn(plan,
                            mc_format("%s is the same model as %s", mc_model_name(models[i]),
                                      mc_model_name(models[k])),
                            error));
    for (size_t i = 0; plan->base && i < count; i++)
        if (is_same_model(plan->base, models[i]))
            MC_TRY(warn(plan,
                        mc_format("the base %s is the same model as %s", mc_model_name(plan->base),
                                  mc_model_name(models[i])),
                        error));
    if (count == 1 && plan->method->max_models != 1)
        MC_TRY(
            warn(plan, mc_format("only one model is merged: %s", mc_model_name(models[0])), error));
    return MC_OK;
}

/* Whether the model's card names another licence than that of a model before it. */
static bool differs(const mc_plan *plan, size_t index)
{
    const mc_card_values *const mine = &plan->cards[index].license;
    for (size_t i = 0; mine->count > 0 && i < index; i++) {
        const mc_card_values *const other = &plan->cards[i].license;
        if (other->count > 0 && strcmp(other->items[0], mine->items[0]) != 0)
            return true;
    }
    return false;
}

static mc_status report_licences(const mc_plan *plan, mc_error *error)
{
    const size_t count = plan->model_count + (plan->base != NULL);
    bool conflict = false;
    mc_text text = {0};
    for (size_t i = 0; i < count; i++) {
        const mc_card_values *const licence = &plan->cards[i].license;
        conflict = conflict || differs(plan, i);
        if (licence->count > 0)
            mc_text_add(&text, "%s%s: %s", text.length ? ", " : "", mc_model_name(plan->models[i]),
                        licence->items[0]);
    }
    mc_status status = text.failed ? mc_fail_memory(error) : MC_OK;
    if (status == MC_OK && conflict && plan->strict)
        status = mc_fail(error, MC_MISMATCH,
                         "the models' cards name different licences: %s (strict)", text.data);
    else if (status == MC_OK && conflict)
        status = mc_report_add(plan->report, error, "the models' cards name different licences: %s",
                               text.data);
    mc_text_free(&text);
    return status;
}

/* Reads the models' own cards. */
mc_status mc_lineage_read_cards(mc_plan *plan, mc_error *error)
{
    const size_t count = plan->model_count + (plan->base != NULL);
    plan->cards = mc_alloc_zero(count, sizeof *plan->cards);
    if (!plan->cards)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        if (mc_model_folder(plan->models[i]))
            MC_TRY(mc_card_metadata_read(mc_model_folder(plan->models[i]), &plan->cards[i], error));
    return report_licences(plan, error);
}

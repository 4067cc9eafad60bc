/* Every allocation of merging and extraction fails in turn: an error, and nothing leaks. */
#include <mergecraft/lora.h>

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DATA MC_TEST_DATA "/adapters"

/* Makes a plan and reads all its tensors. */
static mc_status use(mc_lora_plan *plan, mc_error *error)
{
    mc_state_dict *dict = NULL, *values = NULL;
    mc_status status = mc_lora_plan_state_dict(plan, &dict, error);
    const mc_run_options one = {.threads = 1};
    if (status == MC_OK)
        status = mc_state_dict_materialize(dict, &one, &values, NULL, error);
    mc_state_dict_free(values);
    mc_state_dict_free(dict);
    mc_lora_plan_free(plan);
    return status;
}

static mc_status merge(const char *method, mc_error *error)
{
    const char *const names[] = {DATA "/plain/adapter", DATA "/patterns/adapter"};
    const char *const params[] = {"weights=1", "density=.5"};
    const bool dense = method[0] != 's';
    mc_lora *loras[2] = {NULL, NULL};
    mc_lora_plan *plan = NULL;
    mc_status status = mc_lora_open(names[0], NULL, &loras[0], error);
    if (status == MC_OK)
        status = mc_lora_open(names[1], NULL, &loras[1], error);
    const mc_lora_merge_input input = {.method = method,
                                       .adapters = (const mc_lora *const *)loras,
                                       .adapter_count = 2,
                                       .params = params,
                                       .param_count = dense ? 2 : 1,
                                       .rank = {.rank = 2}};
    if (status == MC_OK)
        status = mc_lora_merge(&input, &plan, error);
    if (status == MC_OK)
        status = use(plan, error);
    mc_lora_close(loras[0]);
    mc_lora_close(loras[1]);
    return status;
}

static mc_status extract(const char *unused, mc_error *error)
{
    const char *const names[] = {DATA "/plain/base", DATA "/patterns/base"};
    mc_model *models[2] = {NULL, NULL};
    mc_lora_plan *plan = NULL;
    (void)unused;
    mc_status status = mc_models_open(names, 2, NULL, false, models, error);
    const mc_lora_extract_input input = {
        .model = models[0], .base = models[1], .rank = {.rank = 2}, .threads = 1};
    if (status == MC_OK)
        status = mc_lora_extract(&input, &plan, error);
    if (status == MC_OK)
        status = use(plan, error);
    mc_model_close(models[0]);
    mc_model_close(models[1]);
    return status;
}

static void fail_each(mc_status (*function)(const char *, mc_error *), const char *method)
{
    mc_error error = MC_ERROR_NONE;
    if (function(method, &error) != MC_OK)
        fail_msg("%s: %s", method, error.text);
    for (long allowed = 0;; allowed += 1 + allowed / 40) {
        mc_memory_fail_after(allowed);
        const mc_status status = function(method, &error);
        mc_memory_fail_after(-1);
        if (status == MC_OK)
            break;
        assert_int_equal(status, MC_NO_MEMORY);
    }
}

static void merging(void **state)
{
    (void)state;
    fail_each(merge, "svd");
    fail_each(merge, "ties_svd");
    fail_each(merge, "knots_ties");
    fail_each(merge, "core_ties");
}

static void extracting(void **state)
{
    (void)state;
    fail_each(extract, "extract");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(merging), cmocka_unit_test(extracting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

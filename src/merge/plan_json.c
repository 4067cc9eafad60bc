/* A plan as JSON, for programs. */
#include "base/json.h"
#include "base/memory.h"
#include "merge/plan.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

static json_t *names_json(const mc_model *const *models, size_t count)
{
    json_t *names = json_array();
    for (size_t i = 0; i < count; i++)
        names = mc_json_append(names, mc_json_text(mc_model_name(models[i])));
    return names;
}

static json_t *sides_json(const mc_plan *plan)
{
    json_t *sides = json_object();
    const mc_model **at = plan->models + plan->model_count + (plan->base != NULL);
    for (size_t k = 0; k < plan->side_count; k++, at += plan->model_count)
        sides = mc_json_put(sides, plan->side_names[k], names_json(at, plan->model_count));
    return sides;
}

static json_t *report_json(const mc_report *report)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        lines = mc_json_append(lines, mc_json_text(mc_report_line(report, i)));
    return lines;
}

/* "median", "mergekit:ties"; the kind of the plan if it does not have one method. */
static json_t *method_json(const mc_plan *plan)
{
    const mc_method *const method = plan->method;
    if (!method)
        return json_string(plan->transplant   ? "transplant"
                           : plan->decompress ? "decompress"
                                              : "recipe");
    if (!method->family || strcmp(method->family, "mergecraft") == 0)
        return json_string(method->name);
    char *const name = mc_format("%s:%s", method->family, method->name);
    json_t *const json = name ? json_string(name) : NULL;
    mc_free(name);
    return json;
}

static json_t *line_json(const mc_plan_line *line)
{
    char how[1024];
    json_t *shape = json_array();
    for (int i = 0; i < line->rank; i++)
        shape = mc_json_append(shape, json_integer(line->shape[i]));
    json_t *object = mc_json_put(json_object(), "name", mc_json_text(line->name));
    object = mc_json_put(object, "dtype", json_string(mc_dtype_name(line->dtype)));
    object = mc_json_put(object, "shape", shape);
    object = mc_json_put(object, "bytes", json_integer(line->bytes));
    return mc_json_put(object, "how", mc_json_text(mc_plan_line_text(line, how, sizeof how)));
}

static json_t *lines_json(const mc_plan *plan)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < mc_plan_count(plan); i++) {
        mc_plan_line line;
        mc_plan_line_at(plan, i, &line);
        lines = mc_json_append(lines, line_json(&line));
    }
    return lines;
}

static json_t *plan_json(const mc_plan *plan, const mc_run_options *options)
{
    json_error_t ignored;
    int64_t read, written, memory;
    mc_plan_bytes(plan, options, &read, &written, &memory);
    json_t *object = mc_json_put(json_object(), "method", method_json(plan));
    object = mc_json_put(object, "parameters", json_loads(plan->parameters, 0, &ignored));
    object = mc_json_put(object, "models", names_json(plan->models, plan->model_count));
    object = mc_json_put(object, "base",
                         mc_json_text(plan->base ? mc_model_name(plan->base) : NULL));
    object = mc_json_put(object, "sides", sides_json(plan));
    if (plan->transplant)
        object = mc_json_put(object, "transplant", json_loads(plan->transplant, 0, &ignored));
    if (plan->decompress)
        object = mc_json_put(object, "decompress", json_loads(plan->decompress, 0, &ignored));
    object = mc_json_put(object, "warnings", report_json(plan->report));
    object = mc_json_put(object, "tensors", json_integer((json_int_t)plan->outputs.count));
    object = mc_json_put(object, "bytes_read", json_integer(read));
    object = mc_json_put(object, "bytes_written", json_integer(written));
    object = mc_json_put(object, "memory", json_integer(memory));
    return mc_json_put(object, "plan", lines_json(plan));
}

mc_status mc_plan_json(const mc_plan *plan, const mc_run_options *options, char **out,
                       mc_error *error)
{
    json_t *const object = plan_json(plan, options);
    *out = object ? json_dumps(object, JSON_COMPACT | mc_json_shortest(object)) : NULL;
    json_decref(object);
    return *out ? MC_OK : mc_fail_memory(error);
}

void mc_plan_json_free(char *json)
{
    free(json); /* jansson's */
}

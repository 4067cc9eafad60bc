#include "merge/materialize.h"

#include "base/memory.h"
#include "merge/execute.h"
#include "merge/findings.h"
#include "merge/nonfinite.h"
#include "merge/plan.h"

#include <string.h>

typedef struct memory_sink {
    mc_sink sink;
    char **tensors; /* where each begins */
    int64_t *ends;  /* in the stream */
    size_t count, at;
    mc_found found;
} memory_sink;

static mc_status memory_write(mc_sink *self, int64_t offset, const void *bytes, size_t size,
                              const mc_found *found, mc_error *error)
{
    memory_sink *const sink = (memory_sink *)self;
    while (offset >= sink->ends[sink->at])
        sink->at++; /* a piece never crosses from one tensor into the next */
    const int64_t start = sink->at ? sink->ends[sink->at - 1] : 0;
    memcpy(sink->tensors[sink->at] + (offset - start), bytes, size);
    return mc_found_add_all(&sink->found, found, error);
}

/* Makes the tensors' memory and the state dict that holds them. */
static mc_status make_room(const mc_state_dict *dict, mc_source **sources, memory_sink *sink,
                           mc_state_dict *into, mc_error *error)
{
    int64_t end = 0;
    for (size_t i = 0; i < sink->count; i++) {
        mc_source *const from = sources[i] = mc_state_dict_source(dict, i);
        char *const data = mc_alloc((size_t)from->bytes);
        if (!data)
            return mc_fail_memory(error);
        mc_source *made = NULL;
        const mc_status wrapped = mc_source_wrap(from->dtype, from->rank, from->shape, data,
                                                 mc_free, data, &made, error);
        if (wrapped != MC_OK) {
            mc_free(data);
            return wrapped;
        }
        const mc_status added = mc_state_dict_set(into, mc_state_dict_name(dict, i), made, error);
        mc_source_unref(made);
        MC_TRY(added);
        sink->tensors[i] = data;
        sink->ends[i] = end += from->bytes;
    }
    return MC_OK;
}

static mc_status report_findings(const mc_state_dict *dict, const mc_materialize_report *where,
                                 const mc_found *found, mc_source *const *sources,
                                 const mc_run_result *result, mc_error *error)
{
    if (where->plan)
        MC_TRY(mc_nonfinite_report(found, sources, where->plan, where->report, error));
    return mc_findings_report_dict(result, dict, where->report, where->strict, error);
}

static mc_status fill(const mc_state_dict *dict, const mc_materialize_report *where,
                      memory_sink *sink, mc_source **sources, const mc_run_options *options,
                      mc_state_dict *into, mc_run_result *result, mc_error *error)
{
    if (!sink->tensors || !sink->ends || !sources)
        return mc_fail_memory(error);
    MC_TRY(make_room(dict, sources, sink, into, error));
    const mc_execution all = {.tensors = sources,
                              .count = sink->count,
                              .sink = &sink->sink,
                              .end = INT64_MAX,
                              .scan = where && where->plan};
    mc_status status = mc_execute(&all, options, result, error);
    mc_found_total(&sink->found, result);
    for (size_t i = 0; status == MC_OK && i < sink->count; i++)
        status = mc_in_tensor(error, mc_state_dict_name(dict, i),
                              mc_source_check(sources[i], error));
    if (status == MC_OK && where)
        status = report_findings(dict, where, &sink->found, sources, result, error);
    return status;
}

mc_status mc_materialize(const mc_state_dict *dict, const mc_materialize_report *where,
                         const mc_run_options *options, mc_state_dict **out, mc_run_result *result,
                         mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    const size_t count = mc_state_dict_count(dict);
    memory_sink sink = {.sink = {.write = memory_write}, .count = count};
    mc_source **const sources = mc_alloc_zero(count, sizeof(mc_source *));
    mc_run_result ignored;
    mc_state_dict *into = NULL;
    sink.tensors = mc_alloc_zero(count, sizeof *sink.tensors);
    sink.ends = mc_alloc_zero(count, sizeof *sink.ends);
    mc_status status = mc_state_dict_new(&into, error);
    if (status == MC_OK)
        status = fill(dict, where, &sink, sources, options ? options : &standard, into,
                      result ? result : &ignored, error);
    mc_free(sink.tensors);
    mc_free(sink.ends);
    mc_found_free(&sink.found);
    mc_free(sources);
    if (status != MC_OK) {
        mc_state_dict_free(into);
        return status;
    }
    *out = into;
    return MC_OK;
}

mc_status mc_state_dict_materialize(const mc_state_dict *dict, const mc_run_options *options,
                                    mc_state_dict **out, mc_run_result *result, mc_error *error)
{
    return mc_materialize(dict, NULL, options, out, result, error);
}

mc_status mc_plan_materialize(const mc_plan *plan, const mc_state_dict *part,
                              const mc_run_options *options, mc_state_dict **out,
                              mc_run_result *result, mc_error *error)
{
    const mc_materialize_report where = {plan->report, plan->strict, plan};
    mc_state_dict *all = NULL;
    if (!part)
        MC_TRY(mc_plan_state_dict(plan, &all, error));
    const mc_status status = mc_materialize(part ? part : all, &where, options, out, result, error);
    mc_state_dict_free(all);
    return status;
}

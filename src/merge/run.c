/* Running a plan into a folder. */
#include "base/build_id.h"
#include "base/hash.h"
#include "base/memory.h"
#include "merge/card.h"
#include "merge/findings.h"
#include "merge/nonfinite.h"
#include "merge/plan.h"
#include "merge/plugin.h"
#include "merge/preflight.h"
#include "merge/provenance.h"
#include "merge/report.h"
#include "merge/save.h"
#include "merge/task_masks.h"
#include "merge/together.h"
#include "model/model.h"
#include "tensor/gather.h"

#include <mergecraft/version.h>

/* ---- fingerprint ----------------------------------------------------------------------------- */

/*
 * Whether a later run could not tell that models and method are the same: a model without files, or
 * a method whose code is not hashed.
 */
static bool cannot_resume(const mc_plan *plan)
{
    for (size_t i = 0; i < plan->all_count; i++)
        if (mc_model_file_count(plan->models[i]) == 0)
            return true;
    return plan->method_origin != NULL;
}

/* Includes the code of a method: on resuming, the same name may stand for other code. */
static uint64_t hash_method(uint64_t hash, const mc_method *method, bool *failed)
{
    hash = mc_hash_text(hash, method->name);
    hash = mc_hash_text(hash, method->family ? method->family : "");
    if (!mc_plugin_hash_code(method, &hash))
        *failed = true;
    return hash;
}

/*
 * Inputs count by role, model and name. The files behind them are in the models' fingerprints;
 * tables of rows are hashed with the source.
 */
static uint64_t hash_inputs(uint64_t hash, const mc_output *row)
{
    for (size_t i = 0; i < row->input_count; i++) {
        const mc_input *const input = &row->inputs[i];
        const uint64_t place[] = {input->role, input->model, mc_gather_hash(input->source)};
        hash = mc_hash_bytes(hash, place, sizeof place);
        hash = mc_hash_text(hash, input->name ? input->name : row->name);
    }
    return hash;
}

/* The user's patterns decide which tensors count as matrices. */
static uint64_t hash_matrices(uint64_t hash, const mc_outputs *outputs)
{
    for (size_t i = 0; i < outputs->matrix_count; i++)
        hash = mc_hash_text(hash, outputs->matrices[i]);
    return hash;
}

/*
 * Hashes the rows. Parameters and method are mostly those of the row before, so they are hashed
 * only when they change.
 */
static uint64_t hash_rows(uint64_t hash, const mc_outputs *outputs, bool *failed)
{
    const mc_params *params = NULL;
    const mc_method *method = NULL;
    for (size_t i = 0; i < outputs->count; i++) {
        const mc_output *const row = &outputs->rows[i];
        const int words[] = {(int)row->action, (int)row->dtype};
        hash = mc_hash_text(hash, row->name);
        hash = mc_hash_bytes(hash, words, sizeof words);
        hash = hash_inputs(hash, row);
        if (row->action != MC_ACTION_MERGE || (row->params == params && row->method == method))
            continue;
        params = row->params;
        method = row->method;
        char *const json = mc_params_json(params);
        *failed = *failed || !json;
        hash = mc_hash_text(hash_method(hash, method, failed), json ? json : "");
        for (const mc_params *step = params->then; step; step = step->then)
            hash = hash_method(hash, step->method, failed);
        mc_free(json);
    }
    return hash;
}

/* Everything that the bytes of the output depend on; 0 if that cannot be known. */
static uint64_t fingerprint(const mc_plan *plan, const mc_run_options *options)
{
    if (cannot_resume(plan))
        return 0;
    bool failed = false;
    const int64_t shard_size = mc_save_shard_size(options);
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_version());
    hash = mc_hash_text(hash, mc_build_id());
    hash = mc_hash_bytes(hash, &plan->outputs.seed, sizeof plan->outputs.seed);
    hash = mc_hash_bytes(hash, &shard_size, sizeof shard_size);
    for (size_t i = 0; i < plan->all_count; i++) {
        const uint64_t model = mc_model_fingerprint(plan->models[i]);
        hash = mc_hash_bytes(hash, &model, sizeof model);
    }
    /* Approximated rows depend on its settings. */
    hash = mc_hash_text(hash, plan->transplant ? plan->transplant : "");
    hash = mc_hash_text(hash, plan->decompress ? plan->decompress : "");
    hash = hash_matrices(hash, &plan->outputs);
    hash = hash_rows(hash, &plan->outputs, &failed);
    /* 0 means "never resume", so a hash of 0 becomes 1. */
    return failed ? 0 : hash ? hash : 1;
}

/* ---- the run --------------------------------------------------------------------------------- */

/* The float dtype that most of the output's bytes have; false if it has no floats. */
static bool main_dtype(const mc_plan *plan, mc_dtype *dtype)
{
    int64_t bytes[MC_DTYPE_COUNT] = {0}, most = 0;
    for (size_t i = 0; i < plan->outputs.count; i++) {
        const mc_source *const source = plan->outputs.rows[i].source;
        if (mc_dtype_kind_of(source->dtype) == MC_KIND_FLOAT)
            bytes[source->dtype] += source->bytes;
    }
    for (int i = 0; i < MC_DTYPE_COUNT; i++)
        if (bytes[i] > most) {
            most = bytes[i];
            *dtype = (mc_dtype)i;
        }
    return most > 0;
}

/* What the files beside the weights are made from. */
typedef struct finishing {
    const mc_plan *plan;
    const mc_run_options *options;
    const char *const *names; /* of the outputs */
    mc_source *const *sources;
} finishing;

/*
 * The order matters: warnings come first, since card and provenance list them. Provenance is last,
 * as it lists all other files with their checksums.
 */
static mc_status finish(mc_folder *folder, const mc_run_result *result, const mc_found *found,
                        void *user, mc_error *error)
{
    const finishing *const f = user;
    const mc_plan *const plan = f->plan;
    mc_dtype dtype = MC_F32;
    const bool floats = main_dtype(plan, &dtype);
    if (folder->unlocked)
        MC_TRY(mc_report_add(plan->report, error,
                             "%s: the file system has no locks: a concurrent merge into this "
                             "folder would not be detected",
                             folder->target));
    MC_TRY(mc_nonfinite_report(found, f->sources, plan, plan->report, error));
    MC_TRY(mc_findings_report(result, f->names, f->sources, plan->report, plan->strict, error));
    MC_TRY(mc_plan_check_models(plan, error));
    MC_TRY(mc_outfit_write(&plan->outfit, floats ? &dtype : NULL, folder, error));
    MC_TRY(mc_modules_write(&plan->modules, plan->report, folder, error));
    MC_TRY(mc_task_masks_write(plan, f->options, folder, error));
    if (!plan->no_card)
        MC_TRY(mc_card_write(plan, folder, error));
    return mc_provenance_write(plan, f->options, folder, error);
}

/* Different models or libraries on one machine would make a mixture that nobody would notice. */
static mc_status check_together(const mc_plan *plan, const mc_comm *comm, uint64_t rows,
                                mc_error *error)
{
    if (!comm)
        return MC_OK;
    MC_TRY(mc_together_check_build(comm, error));
    for (size_t i = 0; i < plan->all_count; i++)
        MC_TRY(mc_together_check(comm, mc_model_name(plan->models[i]),
                                 mc_model_fingerprint(plan->models[i]), error));
    return mc_together_check(comm, "plan", rows, error);
}

static mc_status run_into(finishing *f, const char *folder, mc_run_result *result, mc_error *error)
{
    const mc_plan *const plan = f->plan;
    const char **const names = mc_outputs_names(&plan->outputs);
    mc_source **const sources = mc_outputs_sources(&plan->outputs);
    mc_status status = names && sources ? MC_OK : mc_fail_memory(error);
    const mc_save save = {.writer = &mc_writer_safetensors,
                          .target = folder,
                          .names = names,
                          .sources = sources,
                          .count = plan->outputs.count,
                          .stem = mc_outfit_stem(&plan->outfit),
                          .fingerprint = fingerprint(plan, f->options),
                          .scan = true,
                          .finish = finish,
                          .user = f};
    f->names = names;
    f->sources = sources;
    if (status == MC_OK)
        status = check_together(plan, f->options->comm, save.fingerprint, error);
    if (status == MC_OK)
        status = mc_save_run(&save, f->options, result, error);
    mc_free(names);
    mc_free(sources);
    return status;
}

mc_status mc_plan_run(const mc_plan *plan, const char *folder, const mc_run_options *options,
                      mc_run_result *result, mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    mc_run_result ignored;
    MC_TRY(mc_plan_check_outside(plan, folder, error));
    finishing f = {.plan = plan, .options = options ? options : &standard};
    return run_into(&f, folder, result ? result : &ignored, error);
}

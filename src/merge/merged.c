#include "merge/merged.h"

#include "base/memory.h"
#include "merge/reduce.h"
#include "merge/survey.h"
#include "merge/trial.h"
#include "tensor/cast.h"

#include <assert.h>
#include <pthread.h>

/* Elements that are computed at a time, a multiple of leaves. */
enum { TILE = 8 * MC_LEAF };

typedef struct merged_source {
    mc_source source;
    mc_job job;
    pthread_mutex_t lock; /* guards what follows; `state` never changes once it is there */
    void *state;
    bool tried;           /* mc_trial */
    const char *averaged; /* atomic: mc_merged_averaged */
} merged_source;

/* ---- reading -------------------------------------------------------------------------------- */

/*
 * Computes what every read needs. Call with the lock held: threads that read at the same time wait
 * for the first.
 */
static mc_status prepare(merged_source *merged, mc_workspace *workspace, mc_error *error)
{
    const mc_run_options alone = {.threads = 1};
    MC_TRY(mc_merged_survey(&merged->source, &alone, error));
    if (!merged->tried)
        MC_TRY(mc_trial(&merged->job, error));
    merged->tried = true;
    if (!mc_job_statistics(&merged->job) || merged->state)
        return MC_OK;
    return mc_reduction_run(&merged->job, workspace, &merged->state, error);
}

/* The state, computed by the first thread that needs it. */
static mc_status state_of(merged_source *merged, mc_workspace *workspace, const void **state,
                          mc_error *error)
{
    pthread_mutex_lock(&merged->lock);
    const mc_status status = prepare(merged, workspace, error);
    *state = merged->state;
    pthread_mutex_unlock(&merged->lock);
    return status;
}

/* Computes elements begin … end − 1 and copies the part [first, first + count) of them. */
static mc_status read_tile(merged_source *merged, mc_workspace *workspace, const void *state,
                           int64_t begin, int64_t end, int64_t first, int64_t count, char *out,
                           mc_error *error)
{
    const mc_job *const job = &merged->job;
    MC_TRY(mc_workspace_load(workspace, job, begin, end - begin, state, error));
    int64_t ignored; /* of several steps, the last one counts */
    MC_TRY(mc_job_apply(job, &workspace->layer, &ignored));
    if (workspace->averaged)
        __atomic_store_n(&merged->averaged, workspace->averaged, __ATOMIC_RELAXED);
    const size_t real = mc_job_real_bytes(job);
    memcpy(out, (const char *)workspace->layer.out + (size_t)(first - begin) * real,
           (size_t)count * real);
    return MC_OK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/*
 * Computes `count` elements in tiles that begin at a multiple of the grain. A read may begin and
 * end inside a grain: then the whole grain is computed, and the part that is wanted is copied.
 */
static mc_status read_tiles(merged_source *merged, mc_workspace *workspace, const void *state,
                            int64_t first, int64_t count, char *out, mc_error *error)
{
    const mc_job *const job = &merged->job;
    const int64_t grain = mc_job_grain(job);
    const int64_t step = mc_job_tile(job, TILE);
    for (int64_t done = 0; done < count;) {
        const int64_t at = first + done, begin = at / grain * grain;
        const int64_t end = least(begin + step, job->count);
        const int64_t wanted = least(end - at, count - done);
        const int64_t needed = (at + wanted + grain - 1) / grain * grain;
        MC_TRY(read_tile(merged, workspace, state, begin, least(end, needed), at, wanted,
                         out + (size_t)done * mc_job_real_bytes(job), error));
        done += wanted;
    }
    return MC_OK;
}

static mc_status merged_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    merged_source *const merged = (merged_source *)(uintptr_t)self;
    assert(as == merged->job.real);
    (void)as;
    if (count == 0)
        return MC_OK;
    mc_workspace workspace = {0};
    const void *state = NULL;
    mc_status status = state_of(merged, &workspace, &state, error);
    if (status == MC_OK)
        status = read_tiles(merged, &workspace, state, first, count, out, error);
    mc_workspace_free(&workspace);
    return status;
}

/* ---- the class ------------------------------------------------------------------------------ */

static void merged_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const mc_job *const job = &((const merged_source *)self)->job;
    for (size_t i = 0; i < job->input_count; i++)
        mc_source_ahead_operand(self, job->inputs[i], first, size);
}

static int64_t merged_grain(const mc_source *self)
{
    return mc_job_grain(&((const merged_source *)self)->job);
}

static mc_status merged_check(const mc_source *self, mc_error *error)
{
    const mc_job *const job = &((const merged_source *)self)->job;
    for (size_t i = 0; i < job->input_count; i++)
        MC_TRY(mc_source_check(job->inputs[i], error));
    return MC_OK;
}

static void merged_free(mc_source *self)
{
    merged_source *const merged = (merged_source *)self;
    mc_job_free(&merged->job);
    mc_free(merged->state);
    pthread_mutex_destroy(&merged->lock);
}

static const mc_source_class merged_class = {.name = "merged",
                                             .read = merged_read,
                                             .read_ahead = merged_ahead,
                                             .grain = merged_grain,
                                             .check = merged_check,
                                             .free = merged_free};

mc_status mc_merged_survey(const mc_source *source, const mc_run_options *options, mc_error *error)
{
    const mc_job *const job = mc_merged_job(source);
    if (!job)
        return MC_OK;
    /* An add-on reads what the method before it made, whose survey comes first. */
    if (job->has_merged)
        MC_TRY(mc_merged_survey(job->inputs[job->model_count + job->has_base], options, error));
    return job->survey ? mc_survey_run(job->survey, options, error) : MC_OK;
}

static const merged_source *merged_of(const mc_source *source)
{
    const mc_source *const inner = mc_source_uncast(source);
    return inner->class == &merged_class ? (const merged_source *)inner : NULL;
}

const char *mc_merged_averaged(const mc_source *source)
{
    const merged_source *const merged = merged_of(source);
    if (!merged)
        return NULL;
    const mc_job *const job = &merged->job;
    const char *const own = __atomic_load_n(&merged->averaged, __ATOMIC_RELAXED);
    return own || !job->has_merged
               ? own
               : mc_merged_averaged(job->inputs[job->model_count + job->has_base]);
}

const mc_job *mc_merged_job(const mc_source *source)
{
    const merged_source *const merged = merged_of(source);
    return merged ? &merged->job : NULL;
}

/* ---- making one ----------------------------------------------------------------------------- */

static int deepest_of(const mc_merged_parts *parts)
{
    int depth = 0;
    for (size_t i = 0; i < parts->input_count; i++)
        depth = parts->inputs[i]->depth > depth ? parts->inputs[i]->depth : depth;
    return depth;
}

mc_status mc_merged_new(const mc_merged_parts *parts, mc_source **out, mc_error *error)
{
    const mc_source *const first = parts->inputs[0];
    if (deepest_of(parts) >= MC_SOURCE_MAX_DEPTH)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected at most %d computed tensors on top of each other; compute the "
                       "state dict in between (mc_state_dict_materialize)",
                       MC_SOURCE_MAX_DEPTH);
    mc_source *source = NULL;
    MC_TRY(mc_source_create(&merged_class, sizeof(merged_source), mc_job_dtype(parts), first->rank,
                            first->shape, &source, error));
    merged_source *const merged = (merged_source *)source;
    pthread_mutex_init(&merged->lock, NULL);
    const mc_status status = mc_job_init(&merged->job, parts, error);
    if (status != MC_OK) {
        mc_source_unref(source);
        return status;
    }
    source->depth = 1 + deepest_of(parts);
    source->wide = merged->job.real == MC_F64;
    *out = source;
    return MC_OK;
}

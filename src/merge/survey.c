#include "merge/survey.h"

#include "base/comm.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/team.h"
#include "merge/workspace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/*
 * Elements of a run: long enough that taking one costs nothing. The number is part of the result,
 * as partial results are summed per run: it is the same on every machine.
 */
enum { RUN = 64 * MC_LEAF };

enum { MAX_THREADS = 256 };

struct mc_survey {
    atomic_size_t references;
    mc_job *jobs; /* of the layers; they know the survey, which does not count as a reference */
    size_t count;
    int blocks;
    bool wide;
    pthread_mutex_t lock; /* guards what follows; `state` does not change once it is done */
    void *state;
    bool done;
};

/* A part of a layer, elements first … first + count − 1, that one thread accumulates. */
typedef struct run {
    const mc_job *job;
    int64_t first, count;
} run;

/* One evaluation of all rounds. */
typedef struct survey_work {
    mc_survey *survey;
    const mc_statistics *statistics;
    run *runs;
    size_t count;
    size_t first; /* of the runs that this process accumulates */
    const mc_comm *comm;
    int threads;
    mc_workspace *workspaces; /* [threads] */
    char *partials;           /* one per run; one per thread if order_free */
    size_t partial_size;
    const mc_run_options *options;
    int64_t planned;                  /* bytes of the rounds that have begun; for progress */
    atomic_int_least64_t accumulated; /* of them, those that are done */
    double reported;                  /* when progress was reported; of the calling thread */
    pthread_mutex_t lock;             /* guards `held` */
    pthread_cond_t changed;
    int64_t held, bound; /* bytes of the workspaces of whole tensors, and the memory bound */
} survey_work;

/* ---- making one ----------------------------------------------------------------------------- */

static bool has_doubles(const mc_merged_parts *layers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < layers[i].input_count; k++)
            if (layers[i].inputs[k]->dtype == MC_F64 || layers[i].inputs[k]->wide)
                return true;
    return false;
}

/*
 * Jobs of the survey know it without a reference of their own: a cycle of references would never be
 * freed.
 */
static mc_status make_jobs(mc_survey *survey, const mc_merged_parts *layers, size_t count,
                           mc_error *error)
{
    survey->jobs = mc_alloc_zero(count, sizeof *survey->jobs);
    if (!survey->jobs)
        return mc_fail_memory(error);
    for (; survey->count < count; survey->count++) {
        mc_merged_parts parts = layers[survey->count];
        mc_job *const job = &survey->jobs[survey->count];
        parts.survey = survey;
        const mc_status status = mc_job_init(job, &parts, error);
        if (status != MC_OK) {
            if (job->survey)
                mc_survey_unref(survey);
            job->survey = NULL;
            mc_job_free(job);
            return status;
        }
        survey->blocks = job->block >= survey->blocks ? job->block + 1 : survey->blocks;
        mc_survey_unref(survey); /* the job's own reference would keep it alive */
    }
    return MC_OK;
}

mc_status mc_survey_new(const mc_merged_parts *layers, size_t count, mc_survey **out,
                        mc_error *error)
{
    mc_survey *const survey = mc_alloc_zero(1, sizeof *survey);
    if (!survey)
        return mc_fail_memory(error);
    atomic_init(&survey->references, 1);
    pthread_mutex_init(&survey->lock, NULL);
    survey->wide = has_doubles(layers, count);
    const mc_status status = make_jobs(survey, layers, count, error);
    if (status != MC_OK) {
        mc_survey_unref(survey);
        return status;
    }
    *out = survey;
    return MC_OK;
}

mc_survey *mc_survey_ref(mc_survey *survey)
{
    atomic_fetch_add(&survey->references, 1);
    return survey;
}

void mc_survey_unref(mc_survey *survey)
{
    if (!survey || atomic_fetch_sub(&survey->references, 1) != 1)
        return;
    for (size_t i = 0; i < survey->count; i++) {
        survey->jobs[i].survey = NULL;
        mc_job_free(&survey->jobs[i]);
    }
    mc_free(survey->jobs);
    mc_free(survey->state);
    pthread_mutex_destroy(&survey->lock);
    mc_free(survey);
}

const void *mc_survey_state(const mc_survey *survey)
{
    return survey->state;
}

int mc_survey_blocks(const mc_survey *survey)
{
    return survey->blocks;
}

bool mc_survey_wide(const mc_survey *survey)
{
    return survey->wide;
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* Of the part in the first model. */
static int64_t bytes_of(const mc_job *job, int64_t count)
{
    return job->inputs[0]->bytes / job->count * count;
}

static int64_t run_length(const mc_job *job)
{
    return mc_job_grain(job) == job->count ? job->count : RUN;
}

static mc_status cut(survey_work *work, mc_error *error)
{
    const mc_survey *const survey = work->survey;
    size_t total = 0;
    for (size_t i = 0; i < survey->count; i++)
        if (survey->jobs[i].count > 0) {
            const int64_t length = run_length(&survey->jobs[i]);
            total += (size_t)((survey->jobs[i].count + length - 1) / length);
        }
    work->runs = mc_alloc_zero(total, sizeof *work->runs);
    if (!work->runs)
        return mc_fail_memory(error);
    for (size_t i = 0; i < survey->count; i++) {
        const mc_job *const job = &survey->jobs[i];
        const int64_t length = run_length(job);
        for (int64_t at = 0; at < job->count; at += length)
            work->runs[work->count++] = (run){job, at,
                                              job->count - at < length ? job->count - at : length};
    }
    return MC_OK;
}

/*
 * Waits until the workspace of a run fits beside those of other threads. One is always admitted
 * when there is no other. Returns the bytes to release.
 */
static int64_t admit(survey_work *work, const run *r)
{
    const int64_t bytes = (int64_t)mc_workspace_bytes(r->job, r->count);
    pthread_mutex_lock(&work->lock);
    while (work->held > 0 && work->held + bytes > work->bound)
        pthread_cond_wait(&work->changed, &work->lock);
    work->held += bytes;
    pthread_mutex_unlock(&work->lock);
    return bytes;
}

static void release(survey_work *work, int64_t bytes)
{
    pthread_mutex_lock(&work->lock);
    work->held -= bytes;
    pthread_cond_broadcast(&work->changed);
    pthread_mutex_unlock(&work->lock);
}

/* About ten times per second, from the calling thread, which is worker 0. */
static void report_progress(survey_work *work, int worker)
{
    const mc_run_options *const options = work->options;
    const double now = mc_seconds();
    if (!options->progress || worker != 0 || now - work->reported < .1)
        return;
    work->reported = now;
    const mc_progress progress = {.bytes_done = atomic_load(&work->accumulated),
                                  .bytes_total = work->planned,
                                  .seconds = now,
                                  .seconds_left = -1}; /* rounds and what follows are not known */
    options->progress(&progress, options->user);
}

static mc_status accumulate(void *arg, int worker, size_t item, mc_error *error)
{
    survey_work *const work = arg;
    item += work->first;
    const run *const r = &work->runs[item];
    mc_workspace *const workspace = &work->workspaces[worker];
    const size_t slot = work->statistics->order_free ? (size_t)worker : item;
    const volatile int *const cancel = work->options->cancel;
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    const int64_t bytes = admit(work, r);
    mc_status status = mc_workspace_load(workspace, r->job, r->first, r->count, NULL, error);
    if (status == MC_OK)
        status = mc_job_survey(r->job, &workspace->layer,
                               work->partials + slot * work->partial_size);
    if (r->count > RUN) /* a large tensor's buffers are not kept */
        mc_workspace_free(workspace);
    release(work, bytes);
    atomic_fetch_add(&work->accumulated, bytes_of(r->job, r->count));
    report_progress(work, worker);
    return status;
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* A layer that describes no tensor. */
static mc_layer whole_of(const mc_survey *survey, mc_error *error)
{
    mc_layer layer = mc_job_whole(&survey->jobs[0], NULL, error);
    layer.name = "the whole model";
    layer.rank = 0;
    layer.shape = NULL;
    layer.matrix = layer.transposed = false;
    layer.block = -1;
    layer.size = 0;
    for (size_t i = 0; i < survey->count; i++)
        layer.size += survey->jobs[i].count;
    return layer;
}

/* Combines partial results 1 … count − 1 into the first. */
static void combine(const survey_work *work, const mc_layer *whole, size_t count)
{
    for (size_t i = 1; i < count; i++)
        work->statistics->combine(whole, work->partials, work->partials + i * work->partial_size);
}

/*
 * Gives every process the partial results of all. Those per thread, which do not depend on the
 * order, are first combined to one per process.
 */
static mc_status exchange(survey_work *work, const mc_layer *whole, size_t *slots, mc_error *error)
{
    if (!work->comm)
        return MC_OK;
    if (!work->statistics->order_free)
        return mc_comm_gather(work->comm, work->partials, work->count, work->partial_size, error);
    combine(work, whole, *slots);
    *slots = (size_t)work->comm->size;
    char *const all = mc_alloc_zero(*slots, work->partial_size);
    if (!all)
        return mc_fail_memory(error);
    memcpy(all + (size_t)work->comm->rank * work->partial_size, work->partials, work->partial_size);
    mc_free(work->partials);
    work->partials = all;
    return mc_comm_gather(work->comm, all, *slots, work->partial_size, error);
}

static mc_status run_round(survey_work *work, const mc_layer *whole, int round, bool *more,
                           mc_error *error)
{
    const mc_statistics *const statistics = work->statistics;
    size_t end, slots = statistics->order_free ? (size_t)work->threads : work->count;
    mc_free(work->partials);
    work->partials = mc_alloc_zero(slots > 0 ? slots : 1, work->partial_size);
    if (!work->partials)
        return mc_fail_memory(error);
    mc_comm_part(work->comm, work->count, mc_comm_rank(work->comm), &work->first, &end);
    for (size_t i = work->first; i < end; i++)
        work->planned += bytes_of(work->runs[i].job, work->runs[i].count);
    MC_TRY(mc_parallel(end - work->first, work->threads, accumulate, work, error));
    MC_TRY(exchange(work, whole, &slots, error));
    /*
     * In the order of the layers, for the same bits with any number of threads and processes.
     * Partial results per thread are of statistics that do not depend on the order.
     */
    combine(work, whole, slots);
    *more = false;
    return statistics->next(whole, round, work->survey->state, work->partials, more);
}

static mc_status run_rounds(survey_work *work, mc_error *error)
{
    mc_survey *const survey = work->survey;
    mc_layer whole = whole_of(survey, error);
    mc_free(survey->state);
    survey->state = mc_alloc_zero(1, work->statistics->state_size(&whole));
    if (!survey->state)
        return mc_fail_memory(error);
    if (work->statistics->begin)
        work->statistics->begin(&whole, survey->state);
    /* Only now: `begin` gets the state as its argument. */
    whole.model_state = survey->state;
    bool more = true;
    for (int round = 0; more; round++) {
        work->partial_size = work->statistics->partial_size(&whole);
        if (work->partial_size == 0)
            return MC_OK;
        MC_TRY(run_round(work, &whole, round, &more, error));
    }
    return MC_OK;
}

static mc_status compute(mc_survey *survey, const mc_run_options *options, mc_error *error)
{
    const int wanted = options->threads > 0 ? options->threads : mc_cpu_count();
    survey_work work = {.survey = survey,
                        .statistics = survey->jobs[0].method->model_statistics,
                        .threads = wanted < MAX_THREADS ? wanted : MAX_THREADS,
                        .options = options,
                        .comm = options->comm,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER,
                        .bound = mc_whole_memory(options)};
    work.workspaces = mc_alloc_zero((size_t)work.threads, sizeof *work.workspaces);
    mc_status status = work.workspaces ? cut(&work, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = run_rounds(&work, error);
    for (int i = 0; work.workspaces && i < work.threads; i++)
        mc_workspace_free(&work.workspaces[i]);
    mc_free(work.workspaces);
    mc_free(work.partials);
    mc_free(work.runs);
    pthread_mutex_destroy(&work.lock);
    pthread_cond_destroy(&work.changed);
    return status;
}

mc_status mc_survey_run(mc_survey *survey, const mc_run_options *options, mc_error *error)
{
    pthread_mutex_lock(&survey->lock);
    const mc_status status = survey->done ? MC_OK : compute(survey, options, error);
    /* After a failure, such as an interruption, the next caller tries again. */
    survey->done = status == MC_OK;
    pthread_mutex_unlock(&survey->lock);
    return status;
}

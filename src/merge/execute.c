/*
 * The schedule. Every tensor is a task with these phases:
 *
 *     CLOSED ─▶ STATISTICS ⇄ DIGEST ─▶ APPLY ─▶ closed again
 *        └────────── no statistics ──────▲
 *
 * A task is opened when it comes into a window of WINDOW tasks after the one that is being applied.
 * Threads take pieces of work:
 *
 * - Tiles of `apply`, strictly in the order of the output. Each gets a slot of a ring. A thread
 *   that finds the slot at the ring's head full writes it, and all full ones behind it, to the
 *   sink, one thread at a time. So the sink sees the stream in order, without a thread of its own.
 * - Tiles of statistics, of any open task, so that threads have work while a round of another task
 *   ends (DIGEST) or the ring is full.
 *
 * Tiles that stream are small, and each thread has buffers for one. A tile that is a large tensor
 * as a whole is taken only if all such tiles together stay within the memory bound, or alone; its
 * buffers are freed at once unless the bound is ample. A thread waits if no piece can be taken.
 */
#include "merge/execute.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "merge/estimate.h"
#include "merge/merged.h"
#include "merge/nonfinite.h"
#include "merge/reduce.h"
#include "merge/trial.h"
#include "methods/variant.h"
#include "tensor/convert.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    WINDOW = 8,            /* tasks whose statistics may run */
    MAX_LEAVES = 32,       /* leaves in a tile */
    NEAR_BYTES = 4 << 20,  /* of the tiles of one thread, at most: see tile_size */
    AHEAD_BYTES = 8 << 20, /* how far each input is read ahead */
    MAX_THREADS = 256,
};

typedef enum phase { CLOSED, STATISTICS, DIGEST, APPLY } phase;

/* Phases of mc_work_kind. */
enum { WORK_STATISTICS, WORK_APPLY, WORK_DECOMPOSE };

/* One output tensor. The run's lock guards it, except what the owner of a tile uses. */
typedef struct task {
    mc_source *source;
    const mc_job *job; /* NULL: read and converted as it is */
    int64_t start;     /* of its bytes in the stream */
    int64_t tile;      /* elements (bytes of opaque dtypes) in a tile of `apply` */
    int64_t units;     /* elements, or bytes */
    int64_t next;      /* the first unit that nobody has taken for `apply` */
    int64_t from, end; /* the units that are wanted */
    int64_t applying;  /* tiles that are taken and not computed */
    int64_t held;      /* bytes of a tile that counts against the memory bound; 0: it streams */
    phase phase;
    int64_t stat_tile;  /* elements in a tile of statistics */
    int64_t unfinished; /* tiles of this round that are taken, or not yet added */
    mc_reduction reduction;
    const void *state;                 /* of the statistics; NULL until they are known */
    int apply_class, statistics_class; /* of the run's estimate */
    double spent;                      /* on the statistics */
} task;

/* The bytes of one tile until they are written to the sink. */
typedef struct slot {
    char *bytes;
    size_t capacity, size;
    int64_t offset;
    int64_t held; /* of `size`, if the bytes count against the memory bound */
    mc_found found;
    bool full;
} slot;

typedef struct run {
    pthread_mutex_t adding; /* guards the totals of statistics; never taken with `lock` held */
    pthread_mutex_t lock;   /* guards all that follows, and the tasks */
    pthread_cond_t changed; /* there may be a piece for a thread that waits */
    pthread_cond_t ended;   /* the last thread has ended */
    const mc_run_options *options;
    const mc_execution *what;
    task *tasks;
    size_t task_count;
    size_t cursor; /* the task whose tiles are applied */
    size_t opened; /* tasks before this one are (or were) open */
    slot *ring;
    size_t ring_size;
    size_t taken, written; /* slots so far */
    int64_t held;          /* bytes of whole tensors, which together … */
    int64_t bound;         /* … may take at most these; 0 if there are none */
    bool ample;            /* the bound fits as many of the largest as the ring has slots */
    bool writing, stopping;
    int64_t part_begin;  /* where the wanted part begins, … */
    int64_t bytes_done;  /* … where it is written up to, and … */
    int64_t bytes_total; /* … where the stream ends */
    /* Bytes of statistics: of all surveys, and of the last one. */
    int64_t surveyed, survey_total;
    int64_t read_before; /* bytes that the process had read at the start … */
    double start;        /* … at this time */
    mc_estimate estimate;
    int working; /* threads that have not ended */
    int waiting; /* threads that wait for a piece */
    mc_status status;
    mc_error error;
} run;

/* What one thread owns. */
typedef struct worker {
    run *run;
    pthread_t thread;
    mc_workspace workspace;
    mc_partial partial;
    task *partial_of;   /* whose partial result `partial` holds */
    int64_t overflowed; /* in the tile that it applies */
    mc_error error;
} worker;

/* A piece of work. */
typedef struct piece {
    task *task;
    phase phase; /* STATISTICS or APPLY */
    int64_t first, count;
    slot *slot;
    double begun; /* as mc_estimate_begin returned */
} piece;

/* ---- sizes ---------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The number of threads is looked up once: the system is asked for it, and there are many tasks. */
static mc_run_options resolved(const mc_run_options *options)
{
    mc_run_options result = *options;
    const int wanted = options->threads > 0 ? options->threads : mc_cpu_count();
    result.threads = wanted < MAX_THREADS ? wanted : MAX_THREADS;
    return result;
}

/*
 * Bytes that one element takes in a thread's buffers: inputs, result and scratch. A tensor without
 * a job is only read and converted, through one double at most.
 */
static int64_t element_bytes(const mc_job *job)
{
    if (!job)
        return sizeof(double);
    const int64_t scratch = (int64_t)mc_job_scratch_bytes(job, MC_LEAF);
    return (int64_t)mc_job_real_bytes(job) * (int64_t)(job->input_count + 1) +
           (scratch + MC_LEAF - 1) / MC_LEAF;
}

/*
 * A power of two of leaves, as the tree of reductions requires: at least one, and as many as fit
 * the thread's share of the memory bound and of the last-level cache. Smaller tiles, for the
 * second-level cache, cost a quarter more system time, as reads are smaller (bench/LOG.md). Results
 * do not depend on the size.
 */
static int64_t tile_size(const mc_job *job, const mc_run_options *options)
{
    const int64_t mine = mc_tile_memory(options) / options->threads;
    const int64_t budget = least(mine, NEAR_BYTES);
    int64_t leaves = 1;
    while (leaves < MAX_LEAVES && 2 * leaves * MC_LEAF * element_bytes(job) <= budget)
        leaves *= 2;
    return leaves * MC_LEAF;
}

static int64_t width_of(const mc_source *source)
{
    return mc_dtype_bytes(source->dtype, 1);
}

/* Tensors that are not floats are copied as bytes. */
static bool copied(const task *t)
{
    return !t->job &&
           (mc_dtype_kind_of(t->source->dtype) != MC_KIND_FLOAT || t->source->class->raw != NULL);
}

static int64_t bytes_of(const task *t, int64_t units)
{
    return copied(t) ? units : units * width_of(t->source);
}

/*
 * Bytes of a tile that is larger than the tiles that stream: its workspace and its slot. A tile
 * within the thread's share of the bound needs no accounting: every thread may hold one.
 */
static int64_t held_bytes(const task *t, const mc_run_options *options)
{
    const int64_t units = least(t->tile, t->units);
    if (!t->job || units <= t->stat_tile)
        return 0;
    const int64_t bytes = (int64_t)mc_workspace_bytes(t->job, units) + bytes_of(t, units);
    return bytes > mc_tile_memory(options) / options->threads ? bytes : 0;
}

static void set_up_task(task *t, mc_source *source, int64_t start, const mc_run_options *options)
{
    t->source = source;
    t->job = mc_merged_job(source);
    t->start = start;
    t->stat_tile = tile_size(t->job, options);
    t->tile = t->job ? mc_job_tile(t->job, t->stat_tile) : t->stat_tile;
    t->units = t->end = copied(t) ? source->bytes : source->count;
    if (copied(t))
        /* Here units are bytes: as many as a tile of float32 has. */
        t->tile *= (int64_t)sizeof(float);
    t->held = held_bytes(t, options);
}

int64_t mc_execute_memory(mc_source *const *tensors, size_t count, const mc_run_options *how)
{
    const mc_run_options settings = resolved(how), *const options = &settings;
    int64_t streaming = 0, whole = 0, wholes = 0;
    for (size_t i = 0; i < count; i++) {
        task t = {0};
        set_up_task(&t, tensors[i], 0, options);
        const int64_t units = least(t.held ? t.stat_tile : t.tile, t.units);
        const int64_t bytes = units * (copied(&t) ? 1 : element_bytes(t.job)) +
                              3 * bytes_of(&t, units); /* slots of the ring */
        streaming = bytes > streaming ? bytes : streaming;
        whole = t.held > whole ? t.held : whole;
        wholes += t.held;
    }
    const int64_t bound = wholes > 0 ? mc_whole_memory(options) : 0;
    /* A tensor beyond the bound is computed alone; others are admitted up to the bound. */
    const int64_t held = whole > bound ? whole : least(wholes, bound);
    return streaming * options->threads + held;
}

/* ---- the time left; with the lock held ------------------------------------------------------- */

/* Whether a method that sees whole tensors may decompose this one; it averages the others. */
static bool is_decomposed(const task *t)
{
    return t->job && t->job->method->scope == MC_TENSOR && t->job->matrix;
}

static double read_units(const task *t, int64_t count)
{
    return (double)count * (t->job ? (double)t->job->input_count : 1);
}

/*
 * The cost of a decomposition per element grows with the smaller side. The constant is the cost of
 * reading and converting an element.
 */
static double apply_units(const task *t, int64_t count)
{
    return read_units(t, count) *
           (is_decomposed(t) ? 64 + (double)least(t->job->shape[0], t->job->shape[1]) : 1);
}

static int log2_of(int64_t count)
{
    int result = 0;
    while (count >>= 1)
        result++;
    return result;
}

static void plan_work(run *r)
{
    for (size_t i = r->cursor; i < r->task_count; i++) {
        task *const t = &r->tasks[i];
        const void *const method = t->job ? t->job->method : NULL;
        const mc_work_kind apply = {method, is_decomposed(t) ? WORK_DECOMPOSE : WORK_APPLY,
                                    log2_of(least(t->tile, t->units))};
        const mc_work_kind statistics = {method, WORK_STATISTICS, log2_of(t->units)};
        t->apply_class = mc_estimate_add(&r->estimate, apply, apply_units(t, t->end - t->from));
        if (!t->state && t->job && mc_job_statistics(t->job))
            t->statistics_class = mc_estimate_add(&r->estimate, statistics,
                                                  read_units(t, t->units));
    }
}

/* Statistics count as done once they end: the number of rounds is not known before. */
static void statistics_done(run *r, const task *t)
{
    mc_estimate_done(&r->estimate, t->statistics_class, read_units(t, t->units), t->spent,
                     t->spent);
}

/* Charges a piece that has ended to its class. */
static void charge(run *r, const piece *p)
{
    task *const t = p->task;
    const double time = mc_estimate_end(&r->estimate, mc_seconds(), p->begun);
    if (p->phase == APPLY) {
        mc_estimate_done(&r->estimate, t->apply_class, apply_units(t, p->count), time, 0);
    } else if (t->phase == APPLY) { /* the last piece of the statistics */
        mc_estimate_done(&r->estimate, t->statistics_class, 0, time, 0);
    } else {
        mc_estimate_spend(&r->estimate, t->statistics_class, time);
        t->spent += time;
    }
}

/* ---- the state of a run; all with the lock held --------------------------------------------- */

/* Wakes the threads that wait. Usually none waits, and a system call per tile is expensive. */
static void wake(run *r)
{
    if (r->waiting > 0)
        pthread_cond_broadcast(&r->changed);
}

/*
 * Records the first error only: later ones are mostly its consequences. Wakes all threads, so that
 * they end.
 */
static void fail(run *r, mc_status status, const mc_error *error)
{
    assert(status != MC_OK);
    if (r->status == MC_OK) {
        r->status = status;
        r->error = *error;
        r->error.code = status;
    }
    r->stopping = true;
    wake(r);
}

static void begin_apply(task *t)
{
    t->phase = APPLY;
    t->next = t->from;
    if (!t->state)
        t->state = t->reduction.state;
    /* Partial results are digested; the state stays until the last tile is applied. */
    mc_free(t->reduction.nodes);
    t->reduction.nodes = NULL;
}

static void close_task(task *t)
{
    mc_reduction_free(&t->reduction);
}

/* Opens the tasks of the window, so that their statistics are ready when their turn comes. */
static void open_tasks(run *r)
{
    while (r->opened < r->task_count && r->opened < r->cursor + WINDOW) {
        task *const t = &r->tasks[r->opened];
        mc_error error = MC_ERROR_NONE;
        mc_source_read_ahead(t->source, 0, AHEAD_BYTES);
        if (!t->state && t->job && mc_job_statistics(t->job)) {
            const mc_status status = mc_reduction_begin(&t->reduction, t->job, t->stat_tile,
                                                        &error);
            if (status != MC_OK) {
                fail(r, status, &error);
                return;
            }
            t->phase = STATISTICS;
        } else {
            begin_apply(t);
        }
        r->opened++;
    }
}

/*
 * Ends a round whose tiles are all in: begins the next round, or `apply`. The lock is not held
 * while the method digests the total, which may take long. In the phase DIGEST no thread takes
 * tiles of the task, so nobody else touches its reduction.
 */
static void end_round(run *r, task *t)
{
    mc_error error = MC_ERROR_NONE;
    bool more = false;
    assert(t->phase == STATISTICS && t->unfinished == 0);
    t->phase = DIGEST;
    pthread_mutex_unlock(&r->lock);
    const mc_status status = mc_reduction_end_round(&t->reduction, &more, &error);
    pthread_mutex_lock(&r->lock);
    t->phase = STATISTICS;
    if (status != MC_OK)
        fail(r, status, &error);
    else if (!more) {
        begin_apply(t);
        statistics_done(r, t);
    }
    wake(r);
}

static void finish_statistics(run *r, task *t)
{
    assert(t->unfinished > 0);
    t->unfinished--;
    if (t->unfinished == 0 && !mc_reduction_has_tiles(&t->reduction))
        end_round(r, t);
}

static bool take_statistics(task *t, piece *out)
{
    int64_t first, count;
    if (t->phase != STATISTICS || !mc_reduction_take(&t->reduction, &first, &count))
        return false;
    *out = (piece){.task = t, .phase = STATISTICS, .first = first, .count = count};
    t->unfinished++;
    return true;
}

/*
 * Admits a large tile if it fits beside the others. One is always admitted when there is no other:
 * a tensor larger than the bound would wait forever.
 */
static bool is_admitted(const run *r, const task *t)
{
    return t->held == 0 || r->held == 0 || r->held + t->held <= r->bound;
}

static void take_tile(run *r, task *t, piece *out)
{
    assert(r->taken - r->written < r->ring_size);
    slot *const s = &r->ring[r->taken++ % r->ring_size];
    s->full = false;
    /* The slot's share stays held until the slot is written; `release` returns the rest. */
    s->held = t->held ? bytes_of(t, least(t->tile, t->units)) : 0;
    r->held += t->held;
    const int64_t count = least(t->tile, t->end - t->next);
    *out = (piece){.task = t, .phase = APPLY, .first = t->next, .count = count, .slot = s};
    t->next += count;
    t->applying++;
}

/*
 * Takes the next tile in the order of the output. Fails while statistics of the current task run,
 * while the ring is full, and while a large tile has to wait: overtaking would break the order of
 * the stream.
 */
static bool take_apply(run *r, piece *out)
{
    while (r->cursor < r->task_count) {
        task *const t = &r->tasks[r->cursor];
        if (t->phase != APPLY || r->taken - r->written >= r->ring_size)
            return false;
        if (t->next < t->end) {
            if (!is_admitted(r, t))
                return false;
            take_tile(r, t, out);
            return true;
        }
        /* All tiles of the task are taken, though not all are computed: the window moves on. */
        r->cursor++;
        open_tasks(r);
    }
    return false;
}

/*
 * Prefers `apply`: only that advances the stream. Statistics fill the time in which it has to wait.
 */
static bool find_piece(run *r, piece *out)
{
    if (take_apply(r, out))
        return true;
    for (size_t i = r->cursor; i < r->opened; i++)
        if (take_statistics(&r->tasks[i], out))
            return true;
    return false;
}

static bool cancelled(const run *r)
{
    return r->options->cancel && __atomic_load_n(r->options->cancel, __ATOMIC_RELAXED);
}

/* ---- statistics, in one thread -------------------------------------------------------------- */

/*
 * Adds the thread's partial result to those of the other threads. Call with the lock held. It is
 * released meanwhile, as partial results may take megabytes. The round cannot end before, as the
 * partial result counts as an unfinished tile.
 */
static void hand_over_partial(worker *w)
{
    run *const r = w->run;
    task *const t = w->partial_of;
    if (!t)
        return;
    w->partial_of = NULL;
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_lock(&r->adding);
    mc_reduction_add(&t->reduction, &w->partial);
    pthread_mutex_unlock(&r->adding);
    pthread_mutex_lock(&r->lock);
    finish_statistics(r, t);
}

/*
 * Requests the next AHEAD_BYTES of the inputs each time a piece crosses a multiple of AHEAD_BYTES.
 */
static void read_ahead(const piece *p)
{
    const int64_t from = bytes_of(p->task, p->first), size = bytes_of(p->task, p->count);
    if (from / AHEAD_BYTES != (from + size) / AHEAD_BYTES)
        mc_source_read_ahead(p->task->source, ((from + size) / AHEAD_BYTES + 1) * AHEAD_BYTES,
                             AHEAD_BYTES);
}

/* Accumulates a tile of statistics. Returns with the lock held. */
static void do_statistics(worker *w, const piece *p)
{
    run *const r = w->run;
    task *const t = p->task;
    assert(!w->partial_of || w->partial_of == t);
    read_ahead(p);
    const mc_status status = mc_reduction_accumulate(&t->reduction, &w->partial, &w->workspace,
                                                     p->first, p->count, &w->error);
    pthread_mutex_lock(&r->lock);
    if (status != MC_OK) {
        fail(r, status, &w->error);
        return;
    }
    /* A partial result counts as one unfinished tile until it is added. */
    if (w->partial.of && w->partial_of != t)
        w->partial_of = t;
    else
        finish_statistics(r, t);
    if (w->partial_of == t && !mc_reduction_has_tiles(&t->reduction))
        hand_over_partial(w);
}

/* ---- apply, in one thread ------------------------------------------------------------------- */

static mc_status reserve_slot(slot *s, size_t size, mc_error *error)
{
    s->size = size;
    if (size <= s->capacity)
        return MC_OK;
    mc_free(s->bytes);
    s->bytes = mc_alloc(size);
    s->capacity = s->bytes ? size : 0;
    return s->bytes ? MC_OK : mc_fail_memory(error);
}

static void free_slot(slot *s)
{
    mc_free(s->bytes);
    s->bytes = NULL;
    s->capacity = 0;
}

/* Rounds to the output's dtype. Returns how many finite values the dtype cannot hold. */
static int64_t to_output(mc_dtype dtype, mc_dtype from, void *out, const void *values, size_t count)
{
    if (from == MC_F64)
        mc_dtype_from_f64(dtype, out, values, count);
    else
        mc_dtype_from_f32(dtype, out, values, count);
    return mc_count_overflow(dtype, from, out, values, count);
}

static size_t index_of(const run *r, const task *t)
{
    return (size_t)(t - r->tasks);
}

static mc_status apply_job(worker *w, const piece *p, mc_error *error)
{
    const task *const t = p->task;
    const mc_job *const job = t->job;
    mc_layer *const layer = &w->workspace.layer;
    MC_TRY(mc_workspace_load(&w->workspace, job, p->first, p->count, t->state, error));
    if (w->run->what->scan)
        MC_TRY(mc_nonfinite_scan(&p->slot->found, index_of(w->run, t), job, &w->workspace, error));
    if (t->source->dtype == job->real)
        /* The method writes into the slot directly: no rounding, no copy. */
        layer->out = (mc_real *)(void *)p->slot->bytes;
    MC_TRY(mc_job_apply(job, layer, &w->overflowed));
    if (t->source->dtype != job->real)
        w->overflowed += to_output(t->source->dtype, job->real, p->slot->bytes, layer->out,
                                   layer->count);
    return MC_OK;
}

/* A tensor that is only read: its bytes as they are, or its values in the dtype of the output. */
static mc_status apply_read(worker *w, const piece *p, mc_error *error)
{
    const task *const t = p->task;
    if (copied(t))
        return mc_source_read_raw(t->source, p->first, p->count, p->slot->bytes, error);
    const mc_dtype as = mc_source_real(t->source);
    if (t->source->dtype == as)
        return mc_source_read_as(t->source, p->first, p->count, as, p->slot->bytes, error);
    MC_TRY(mc_workspace_reserve(&w->workspace, (size_t)p->count * sizeof(double), error));
    MC_TRY(mc_source_read_as(t->source, p->first, p->count, as, w->workspace.memory, error));
    w->overflowed = to_output(t->source->dtype, as, p->slot->bytes, w->workspace.memory,
                              (size_t)p->count);
    return MC_OK;
}

/* Adds what the values of a tile show to its slot. */
static mc_status note_found(worker *w, const piece *p, mc_error *error)
{
    const task *const t = p->task;
    const size_t index = index_of(w->run, t);
    /* Averaged by the last step, or by one whose result that step has read. */
    const char *const averaged = !t->job                 ? NULL
                                 : w->workspace.averaged ? w->workspace.averaged
                                                         : mc_merged_averaged(t->source);
    if (w->overflowed == 0 && !averaged)
        return MC_OK;
    if (averaged)
        mc_found_explain(&p->slot->found, index, averaged);
    const mc_finding finding = {.tensor = (int64_t)index,
                                .input = MC_FOUND_RESULT,
                                .overflowed = w->overflowed,
                                .averaged = averaged != NULL};
    return mc_found_add(&p->slot->found, &finding, error);
}

/*
 * Writes the full slots at the ring's head. `writing` admits one thread at a time: the sink needs
 * no lock, and sees offsets in order. A thread that finds it set returns to other work: the writer
 * looks at the head again after each write. The lock is not held during a write.
 */
static void write_out(run *r)
{
    while (!r->writing && !r->stopping && r->written < r->taken &&
           r->ring[r->written % r->ring_size].full) {
        slot *const s = &r->ring[r->written % r->ring_size];
        mc_error error = MC_ERROR_NONE;
        r->writing = true;
        pthread_mutex_unlock(&r->lock);
        const mc_status status = r->what->sink->write(r->what->sink, s->offset, s->bytes, s->size,
                                                      &s->found, &error);
        pthread_mutex_lock(&r->lock);
        r->writing = false;
        if (status != MC_OK) {
            fail(r, status, &error);
            return;
        }
        assert(s->offset == r->bytes_done);
        if (s->held > 0)
            free_slot(s);
        r->held -= s->held;
        r->bytes_done += (int64_t)s->size;
        r->written++;
        wake(r);
    }
}

/* Releases what a piece held besides its slot. Call with the lock held. */
static void release(run *r, const piece *p)
{
    if (p->task->held > 0) {
        r->held -= p->task->held - p->slot->held;
        wake(r);
    }
    assert(r->held >= 0);
}

/*
 * Computes a tile into its slot, then writes what the ring's head allows. Returns with the lock
 * held.
 */
static void do_apply(worker *w, const piece *p)
{
    run *const r = w->run;
    task *const t = p->task;
    p->slot->offset = t->start + bytes_of(t, p->first);
    read_ahead(p);
    w->overflowed = 0;
    mc_found_clear(&p->slot->found);
    mc_status status = reserve_slot(p->slot, (size_t)bytes_of(t, p->count), &w->error);
    if (status == MC_OK)
        status = t->job ? apply_job(w, p, &w->error) : apply_read(w, p, &w->error);
    if (status == MC_OK)
        status = note_found(w, p, &w->error);
    /*
     * From here on, the bound does not count a large tile's workspace. If all threads together may
     * keep theirs, they do: otherwise the kernel clears new pages for every tile, which takes a
     * tenth of the time.
     */
    if (t->held > 0 && !r->ample)
        mc_workspace_free(&w->workspace);
    pthread_mutex_lock(&r->lock);
    release(r, p);
    if (status != MC_OK) {
        fail(r, status, &w->error);
        return;
    }
    p->slot->full = true;
    assert(t->applying > 0);
    t->applying--;
    if (t->applying == 0 && t->next >= t->end)
        close_task(t);
    write_out(r);
}

/* ---- one thread ----------------------------------------------------------------------------- */

/*
 * Returns the next piece of work, and waits for it if none can be taken; false at the end. Call
 * with the lock held. A thread that turns to other work, or waits, first hands over its partial
 * result: the round cannot end without it.
 */
static bool next_piece(worker *w, piece *out)
{
    run *const r = w->run;
    while (!r->stopping) {
        if (cancelled(r)) {
            mc_error error = MC_ERROR_NONE;
            mc_fail(&error, MC_INTERRUPTED, "interrupted");
            fail(r, MC_INTERRUPTED, &error);
            break;
        }
        if (find_piece(r, out)) {
            if (w->partial_of && (out->phase != STATISTICS || out->task != w->partial_of))
                hand_over_partial(w);
            return true;
        }
        if (w->partial_of) { /* others may be waiting for it */
            hand_over_partial(w);
            continue;
        }
        if (r->cursor == r->task_count)
            break;
        r->waiting++;
        pthread_cond_wait(&r->changed, &r->lock);
        r->waiting--;
    }
    return false;
}

/* Call with the lock held, which is released meanwhile. */
static void do_piece(worker *w, piece *p)
{
    run *const r = w->run;
    p->begun = mc_estimate_begin(&r->estimate, mc_seconds());
    pthread_mutex_unlock(&r->lock);
    if (p->phase == STATISTICS)
        do_statistics(w, p);
    else
        do_apply(w, p);
    charge(r, p);
}

static void *work(void *argument)
{
    worker *const w = argument;
    run *const r = w->run;
    pthread_mutex_lock(&r->lock);
    piece p;
    while (next_piece(w, &p))
        do_piece(w, &p);
    wake(r);
    if (--r->working == 0)
        pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- a run ---------------------------------------------------------------------------------- */

/* Units before and at the end of a part's bytes, cut where the tensor can be computed alone. */
static int64_t unit_at(const task *t, int64_t bytes, bool up)
{
    const int64_t grain = t->job ? mc_job_grain(t->job) : 1;
    const int64_t step = grain * bytes_of(t, 1);
    return least((bytes + (up ? step - 1 : 0)) / step * grain, t->units);
}

/*
 * Limits the run to the wanted part: whole tasks are left out, and units of the tasks in which the
 * part begins and ends. Statistics of these cover the whole tensor.
 */
static void select_part(run *r)
{
    const mc_execution *const what = r->what;
    for (; r->cursor < r->task_count; r->cursor++) {
        task *const t = &r->tasks[r->cursor];
        if (t->start + bytes_of(t, t->units) > what->begin)
            break;
    }
    while (r->task_count > r->cursor && r->tasks[r->task_count - 1].start >= what->end)
        r->task_count--;
    r->opened = r->cursor;
    r->bytes_done = r->part_begin = least(what->begin, r->bytes_total);
    if (r->cursor == r->task_count)
        return;
    task *const first = &r->tasks[r->cursor], *const last = &r->tasks[r->task_count - 1];
    if (what->begin > first->start)
        first->from = unit_at(first, what->begin - first->start, false);
    if (what->end - last->start < bytes_of(last, last->units))
        last->end = unit_at(last, what->end - last->start, true);
    r->bytes_done = r->part_begin = first->start + bytes_of(first, first->from);
}

/* The smallest layer of a method that is not empty: a trial there costs least. */
static const mc_job *smallest_of(const run *r, const mc_method *method)
{
    const mc_job *found = NULL;
    for (size_t i = 0; i < r->task_count; i++) {
        const mc_job *const job = r->tasks[i].job;
        if (job && job->method == method && job->count > 0 && (!found || job->count < found->count))
            found = job;
    }
    return found;
}

/*
 * Tries each method from outside the library on one layer before the first tile. Adjacent
 * layers mostly share a method: only a change of method starts another trial.
 */
static mc_status try_methods(const run *r, mc_error *error)
{
    const mc_method *tried = NULL;
    for (size_t i = 0; i < r->task_count; i++) {
        const mc_job *const job = r->tasks[i].job;
        if (!job || job->method == tried || mc_method_is_builtin(job->method))
            continue;
        tried = job->method;
        const mc_job *const small = smallest_of(r, tried);
        if (small)
            MC_TRY(mc_trial(small, error));
    }
    return MC_OK;
}

/* Reports progress without the lock, as the user's function may take any time. */
static void report_progress(run *r, double start, int64_t read_before)
{
    const mc_progress progress = {.bytes_done = r->surveyed + r->bytes_done,
                                  .bytes_total = r->surveyed + r->bytes_total,
                                  .bytes_read = mc_file_bytes_read() - read_before,
                                  .seconds = mc_seconds() - start,
                                  .seconds_left = mc_estimate_left(&r->estimate, mc_seconds())};
    pthread_mutex_unlock(&r->lock);
    r->options->progress(&progress, r->options->user);
    pthread_mutex_lock(&r->lock);
}

/*
 * Waits for the workers. This thread reports progress about ten times per second, and once at the
 * end. It also polls `cancel`, which a signal handler may have set: waiting workers look at it only
 * when they are woken.
 */
static void wait_for_workers(run *r, double start, int64_t read_before)
{
    pthread_mutex_lock(&r->lock);
    do {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        while (r->working > 0 && pthread_cond_timedwait(&r->ended, &r->lock, &until) == 0)
            ; /* POSIX allows spurious wakeups */
        if (cancelled(r))
            wake(r);
        if (r->options->progress)
            report_progress(r, start, read_before);
    } while (r->working > 0);
    pthread_mutex_unlock(&r->lock);
}

/*
 * Starts up to `count` threads and returns how many started: fewer do the same work. The lock keeps
 * a new thread from ending before it is counted.
 */
static int start_workers(run *r, worker *workers, int count)
{
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < count; i++) {
        workers[i].run = r;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            break;
        r->working++;
    }
    if (r->working == 0) {
        mc_error error = MC_ERROR_NONE;
        mc_fail(&error, MC_IO, "cannot start a thread");
        fail(r, MC_IO, &error);
    }
    const int started = r->working;
    pthread_mutex_unlock(&r->lock);
    return started;
}

static void free_worker(worker *w)
{
    mc_workspace_free(&w->workspace);
    mc_partial_free(&w->partial);
}

static void stop_workers(worker *workers, int started)
{
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        free_worker(&workers[i]);
    }
}

/* Runs everything in the calling thread, and reports progress between tiles. */
static void work_here(run *r, worker *w, double start, int64_t read_before)
{
    double reported = start;
    piece p;
    w->run = r;
    pthread_mutex_lock(&r->lock);
    while (next_piece(w, &p)) {
        do_piece(w, &p);
        if (r->options->progress && mc_seconds() - reported >= .1) {
            report_progress(r, start, read_before);
            reported = mc_seconds();
        }
    }
    if (r->options->progress)
        report_progress(r, start, read_before);
    pthread_mutex_unlock(&r->lock);
}

static mc_status run_workers(run *r, int count, mc_error *error)
{
    worker *const workers = mc_alloc_zero((size_t)count, sizeof *workers);
    if (!workers)
        return mc_fail_memory(error);
    const double start = r->start;
    const int64_t read_before = r->read_before;
    if (count == 1) {
        work_here(r, workers, start, read_before);
        free_worker(workers);
    } else {
        const int started = start_workers(r, workers, count);
        wait_for_workers(r, start, read_before);
        stop_workers(workers, started);
    }
    mc_free(workers);
    if (r->status != MC_OK && error)
        *error = r->error;
    return r->status;
}

/* A survey's progress, with what earlier surveys did and the output that follows. */
static void on_survey(const mc_progress *progress, void *user)
{
    run *const r = user;
    const mc_progress whole = {.bytes_done = r->surveyed + progress->bytes_done,
                               .bytes_total = r->surveyed + progress->bytes_total + r->bytes_total,
                               .bytes_read = mc_file_bytes_read() - r->read_before,
                               .seconds = progress->seconds - r->start,
                               .seconds_left = -1};
    r->survey_total = progress->bytes_total;
    r->options->progress(&whole, r->options->user);
}

/* Statistics of the whole model come first: any tile of `apply` may need them. */
static mc_status run_surveys(run *r, mc_error *error)
{
    mc_run_options options = *r->options;
    if (options.progress) {
        options.progress = on_survey;
        options.user = r;
    }
    for (size_t i = 0; i < r->task_count; i++) {
        r->survey_total = 0;
        MC_TRY(mc_merged_survey(r->what->tensors[i], &options, error));
        r->surveyed += r->survey_total;
    }
    return MC_OK;
}

static mc_status set_up(run *r, mc_error *error)
{
    const mc_execution *const what = r->what;
    int64_t largest = 0;
    if (!r->tasks || !r->ring)
        return mc_fail_memory(error);
    for (size_t i = 0; i < r->task_count; i++) {
        set_up_task(&r->tasks[i], what->tensors[i], r->bytes_total, r->options);
        r->tasks[i].state = what->states ? what->states[i] : NULL;
        r->bytes_total += what->tensors[i]->bytes;
        /* Looked up only where it counts: that takes system calls. */
        if (r->tasks[i].held > 0 && r->bound == 0)
            r->bound = mc_whole_memory(r->options);
        largest = r->tasks[i].held > largest ? r->tasks[i].held : largest;
    }
    r->ample = largest <= r->bound / (int64_t)r->ring_size;
    MC_TRY(run_surveys(r, error));
    MC_TRY(try_methods(r, error));
    select_part(r);
    plan_work(r);
    open_tasks(r);
    if (r->status != MC_OK && error)
        *error = r->error;
    return r->status;
}

static void tear_down(run *r)
{
    for (size_t i = 0; r->tasks && i < r->what->count; i++)
        close_task(&r->tasks[i]);
    for (size_t i = 0; r->ring && i < r->ring_size; i++) {
        mc_free(r->ring[i].bytes);
        mc_found_free(&r->ring[i].found);
    }
    mc_free(r->tasks);
    mc_free(r->ring);
    pthread_mutex_destroy(&r->adding);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    pthread_cond_destroy(&r->ended);
}

mc_status mc_execute(const mc_execution *what, const mc_run_options *how, mc_run_result *result,
                     mc_error *error)
{
    const mc_run_options settings = resolved(how);
    const int threads = settings.threads;
    run r = {.options = &settings,
             .what = what,
             .task_count = what->count,
             /* One slot per thread in work, and two more for finished tiles behind a slow one. */
             .ring_size = 3 * (size_t)threads,
             .adding = PTHREAD_MUTEX_INITIALIZER,
             .lock = PTHREAD_MUTEX_INITIALIZER,
             .changed = PTHREAD_COND_INITIALIZER,
             .ended = PTHREAD_COND_INITIALIZER};
    const double start = mc_seconds();
    const int64_t read_before = mc_file_bytes_read();
    r.start = start;
    r.read_before = read_before;
    r.tasks = mc_alloc_zero(what->count, sizeof *r.tasks);
    r.ring = mc_alloc_zero(r.ring_size, sizeof *r.ring);
    mc_status status = set_up(&r, error);
    if (status == MC_OK)
        status = run_workers(&r, threads, error);
    *result = (mc_run_result){.tensors = what->count,
                              .bytes_read = mc_file_bytes_read() - read_before,
                              .bytes_written = r.bytes_done - r.part_begin,
                              .bytes_resumed = r.part_begin,
                              .seconds = mc_seconds() - start};
    tear_down(&r);
    return status;
}

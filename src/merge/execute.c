/*
 * How the work is handed out. Every tensor is a task: first the rounds of its statistics, if its method has any, then its
 * tiles are applied. Tiles of `apply` are taken strictly in the order of the output, each with a slot of a ring; when the slot
 * at the ring's head is full, whoever notices writes it (and all full ones after it) to the sink, one thread at a time. Tiles
 * of statistics are taken from any task in a window after the one that is being applied, so that threads have something to do while
 * a round of one task ends. Threads wait only when the ring is full or no round in the window has tiles left.
 */
#include "merge/execute.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "merge/merged.h"
#include "merge/reduce.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum {
    WINDOW = 8,            /* tasks whose statistics may run */
    MAX_LEAVES = 32,       /* leaves in a tile */
    NEAR_BYTES = 1 << 20,  /* what the tiles of one thread should take, to stay in its cache */
    AHEAD_BYTES = 8 << 20, /* how far each input is read ahead */
    DEFAULT_MEMORY = 64 << 20,
    MAX_THREADS = 256,
};

typedef enum phase { CLOSED, STATISTICS, DIGEST, APPLY } phase;

/* One output tensor. Guarded by the run's lock but for what a tile's owner uses. */
typedef struct task {
    mc_source *source;
    const mc_merged *merged; /* NULL: read and converted as it is */
    const mc_statistics *statistics;
    int64_t start;    /* of its bytes in the stream */
    int64_t tile;     /* elements (bytes of opaque dtypes) a tile of `apply` */
    int64_t units;    /* elements, or bytes */
    int64_t next;     /* the first unit that nobody has taken in this phase */
    int64_t skip;     /* units that an earlier run has written */
    int64_t applying; /* tiles that are taken and not computed */
    phase phase;
    /* statistics */
    int64_t stat_tile, stride;
    int64_t unfinished; /* tiles taken and not finished, partial results not yet combined */
    int round;
    void *state, *nodes;
    size_t partial_size, partial_zeros;
} task;

/* The bytes of one tile, on their way to the sink. */
typedef struct slot {
    char *bytes;
    size_t capacity, size;
    int64_t offset;
    bool full;
} slot;

typedef struct run {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const mc_run_options *options;
    mc_sink *sink;
    task *tasks;
    size_t task_count;
    size_t cursor; /* the task whose tiles are applied */
    size_t opened; /* tasks before this one are (or were) open */
    slot *ring;
    size_t ring_size;
    size_t taken, written; /* slots so far */
    bool writing, stopping;
    int64_t bytes_done, bytes_total;
    int working; /* threads that have not ended */
    mc_status status;
    mc_error error;
} run;

/* What one thread owns. */
typedef struct worker {
    run *run;
    pthread_t thread;
    mc_workspace workspace;
    void *nodes; /* partial results of the leaves of a tile, or of a round */
    size_t nodes_size;
    task *partial_of; /* whose partial result, of which round, `nodes` holds */
    mc_error error;
} worker;

/* A piece of work. */
typedef struct job {
    task *task;
    phase phase; /* CLOSED: none */
    int64_t first, count;
    slot *slot;
} job;

/* ---- sizes ------------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int thread_count(const mc_run_options *options)
{
    const int wanted = options->threads > 0 ? options->threads : mc_cpu_count();
    return wanted < MAX_THREADS ? wanted : MAX_THREADS;
}

/* Bytes of one element in a thread's buffers: inputs, result, scratch; for a plain copy, the element. */
static int64_t element_bytes(const mc_merged *merged)
{
    if (!merged)
        return sizeof(double);
    const int64_t real = merged->real == MC_F64 ? 8 : 4;
    const int64_t scratch = (int64_t)mc_merged_scratch_bytes(merged, MC_LEAF);
    return real * (int64_t)(merged->input_count + 1) + (scratch + MC_LEAF - 1) / MC_LEAF;
}

/*
 * A power of two of leaves: as many as stay in a core's cache and in the memory that the user allows. Results do not
 * depend on it.
 */
static int64_t tile_size(const mc_merged *merged, const mc_run_options *options)
{
    const int64_t memory = options->memory > 0 ? options->memory : DEFAULT_MEMORY;
    const int64_t mine = memory / thread_count(options);
    const int64_t budget = mine < NEAR_BYTES ? mine : NEAR_BYTES;
    int64_t leaves = 1;
    while (leaves < MAX_LEAVES && 2 * leaves * MC_LEAF * element_bytes(merged) <= budget)
        leaves *= 2;
    return leaves * MC_LEAF;
}

/* A tile of `apply` has whole rows, or the whole tensor, where the method needs them. */
static int64_t apply_tile(const mc_merged *merged, int64_t tile)
{
    const int64_t grain = merged ? mc_merged_grain(merged) : 1;
    if (grain <= 1)
        return tile;
    return grain >= tile ? grain : tile / grain * grain;
}

static int64_t width_of(const mc_source *source)
{
    return mc_dtype_bytes(source->dtype, 1);
}

/* Tensors that are not floats are copied as bytes. */
static bool copied(const task *t)
{
    return !t->merged &&
           (mc_dtype_kind_of(t->source->dtype) != MC_KIND_FLOAT || t->source->class->raw != NULL);
}

static int64_t bytes_of(const task *t, int64_t units)
{
    return copied(t) ? units : units * width_of(t->source);
}

static void set_up_task(task *t, mc_source *source, int64_t start, const mc_run_options *options)
{
    t->source = source;
    t->merged = mc_merged_of(source);
    t->statistics = t->merged ? mc_merged_statistics(t->merged) : NULL;
    t->start = start;
    t->stat_tile = tile_size(t->merged, options);
    t->tile = apply_tile(t->merged, t->stat_tile);
    if (t->statistics && t->statistics->order_free)
        t->stat_tile = t->tile;
    t->units = copied(t) ? source->bytes : source->count;
    if (copied(t))
        t->tile *= (int64_t)sizeof(float);
}

int64_t mc_execute_memory(mc_source *const *tensors, size_t count, const mc_run_options *options)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        task t = {0};
        set_up_task(&t, tensors[i], 0, options);
        const int64_t units = least(t.tile, t.units);
        const int64_t bytes = units * (copied(&t) ? 1 : element_bytes(t.merged)) +
                              3 * bytes_of(&t, units); /* slots of the ring */
        most = bytes > most ? bytes : most;
    }
    return most * thread_count(options);
}

/* ---- the state of a run; all with the lock held ------------------------------------------------- */

static void fail(run *r, mc_status status, const mc_error *error)
{
    if (r->status == MC_OK) {
        r->status = status;
        r->error = *error;
        r->error.code = status;
    }
    r->stopping = true;
    pthread_cond_broadcast(&r->changed);
}

static void fail_memory(run *r)
{
    mc_error error = MC_ERROR_NONE;
    mc_fail_memory(&error);
    fail(r, MC_NO_MEMORY, &error);
}

static void begin_apply(task *t)
{
    t->phase = APPLY;
    t->next = t->skip;
    mc_free(t->nodes);
    t->nodes = NULL;
}

/* Passes over tiles in which the stride has no leaf, so that `next` tells whether any are left. */
static void pass_unwanted(task *t)
{
    while (t->next < t->units &&
           !mc_reduce_wants(t->stride, t->next, least(t->stat_tile, t->units - t->next)))
        t->next += t->stat_tile;
}

/* Room for what a round finds; its size may change from round to round. */
static bool reserve_total(task *t, const mc_layer *whole)
{
    const size_t before = t->partial_size;
    t->partial_size = mc_reduce_size(t->merged, whole, &t->partial_zeros);
    const size_t tiles = (size_t)((t->units + t->stat_tile - 1) / t->stat_tile);
    if (!t->nodes || t->partial_size != before) {
        mc_free(t->nodes);
        t->nodes = mc_alloc((t->statistics->order_free ? 1 : tiles) * t->partial_size);
    }
    if (t->nodes && t->statistics->order_free)
        memset(t->nodes, 0, t->partial_zeros);
    return t->nodes != NULL;
}

static bool begin_round(task *t)
{
    const mc_layer whole = mc_merged_whole(t->merged, t->state, NULL);
    t->stride = t->statistics->stride ? t->statistics->stride(&whole, t->round) : 1;
    assert(t->stride == 1 || t->statistics->order_free);
    t->next = 0;
    t->unfinished = 0;
    pass_unwanted(t);
    return reserve_total(t, &whole);
}

static bool begin_statistics(task *t)
{
    t->state = mc_reduce_state(t->merged);
    t->phase = STATISTICS;
    t->round = 0;
    return t->state && begin_round(t);
}

static void close_task(task *t)
{
    mc_free(t->state);
    mc_free(t->nodes);
    t->state = t->nodes = NULL;
}

/* Lets the tasks of the window begin. */
static void open_tasks(run *r)
{
    while (r->opened < r->task_count && r->opened < r->cursor + WINDOW) {
        task *const t = &r->tasks[r->opened];
        mc_source_read_ahead(t->source, 0, AHEAD_BYTES);
        if (!t->statistics)
            begin_apply(t);
        else if (!begin_statistics(t)) {
            fail_memory(r);
            return;
        }
        r->opened++;
    }
}

/*
 * All tiles of a round are in: the next round, or on to `apply`. The lock is not held while the total is digested; nobody else
 * touches the task meanwhile.
 */
static void end_round(run *r, task *t)
{
    const mc_layer whole = mc_merged_whole(t->merged, t->state, NULL);
    t->phase = DIGEST;
    pthread_mutex_unlock(&r->lock);
    if (!t->statistics->order_free)
        mc_reduce_nodes(t->merged, &whole, t->nodes, t->partial_size,
                        (size_t)((t->units + t->stat_tile - 1) / t->stat_tile));
    mc_error error = MC_ERROR_NONE;
    bool more = false;
    const mc_status status = mc_reduce_next(t->merged, t->round, t->state, t->nodes, &more, &error);
    pthread_mutex_lock(&r->lock);
    t->phase = STATISTICS;
    t->round++;
    if (status != MC_OK)
        fail(r, status, &error);
    else if (!more)
        begin_apply(t);
    else if (!begin_round(t))
        fail_memory(r);
    pthread_cond_broadcast(&r->changed);
}

static void finish_statistics(run *r, task *t)
{
    t->unfinished--;
    if (t->unfinished == 0 && t->next >= t->units)
        end_round(r, t);
}

static bool take_statistics(task *t, job *out)
{
    if (t->phase != STATISTICS || t->next >= t->units)
        return false;
    const int64_t count = least(t->stat_tile, t->units - t->next);
    *out = (job){.task = t, .phase = STATISTICS, .first = t->next, .count = count};
    t->next += count;
    t->unfinished++;
    pass_unwanted(t);
    return true;
}

static bool take_apply(run *r, job *out)
{
    while (r->cursor < r->task_count) {
        task *const t = &r->tasks[r->cursor];
        if (t->phase != APPLY || r->taken - r->written >= r->ring_size)
            return false;
        if (t->next < t->units) {
            slot *const s = &r->ring[r->taken++ % r->ring_size];
            s->full = false;
            const int64_t count = least(t->tile, t->units - t->next);
            *out = (job){.task = t, .phase = APPLY, .first = t->next, .count = count, .slot = s};
            t->next += count;
            t->applying++;
            return true;
        }
        r->cursor++;
        open_tasks(r);
    }
    return false;
}

static bool find_job(run *r, job *out)
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

/* ---- one thread -------------------------------------------------------------------------------- */

static mc_status reserve_nodes(worker *w, size_t size, mc_error *error)
{
    if (size <= w->nodes_size)
        return MC_OK;
    mc_free(w->nodes);
    w->nodes = mc_alloc(size);
    w->nodes_size = w->nodes ? size : 0;
    return w->nodes ? MC_OK : mc_fail_memory(error);
}

/* Hands a round's partial result over; the lock is held. */
static void hand_over_partial(worker *w)
{
    task *const t = w->partial_of;
    if (!t)
        return;
    w->partial_of = NULL;
    const mc_layer whole = mc_merged_whole(t->merged, t->state, NULL);
    t->statistics->combine(&whole, t->nodes, w->nodes);
    finish_statistics(w->run, t);
}

/* Counts in any order: added up in the thread's own partial result for as long as it stays with the round. */
static mc_status accumulate_free(worker *w, const job *j, mc_error *error)
{
    task *const t = j->task;
    if (w->partial_of != t) {
        MC_TRY(reserve_nodes(w, t->partial_size, error));
        memset(w->nodes, 0, t->partial_zeros);
    }
    return mc_reduce_accumulate(t->merged, &w->workspace, j->first, j->count, t->stride, t->state,
                                w->nodes, error);
}

static mc_status accumulate_tree(worker *w, const job *j, mc_error *error)
{
    task *const t = j->task;
    const size_t leaves = (size_t)((j->count + MC_LEAF - 1) / MC_LEAF);
    MC_TRY(reserve_nodes(w, leaves * t->partial_size, error));
    MC_TRY(mc_workspace_load(&w->workspace, t->merged, j->first, j->count, t->state, error));
    MC_TRY(mc_reduce_tile(t->merged, &w->workspace, w->nodes, t->partial_size, error));
    memcpy((char *)t->nodes + (size_t)(j->first / t->stat_tile) * t->partial_size, w->nodes,
           t->partial_size);
    return MC_OK;
}

/* Asks for what lies a while ahead in the inputs, once every so many bytes. */
static void read_ahead(const job *j)
{
    const int64_t from = bytes_of(j->task, j->first), size = bytes_of(j->task, j->count);
    if (from / AHEAD_BYTES != (from + size) / AHEAD_BYTES)
        mc_source_read_ahead(j->task->source, ((from + size) / AHEAD_BYTES + 1) * AHEAD_BYTES,
                             AHEAD_BYTES);
}

static void do_statistics(worker *w, const job *j)
{
    run *const r = w->run;
    task *const t = j->task;
    const bool free_order = t->statistics->order_free;
    read_ahead(j);
    const mc_status status = free_order ? accumulate_free(w, j, &w->error)
                                        : accumulate_tree(w, j, &w->error);
    pthread_mutex_lock(&r->lock);
    if (status != MC_OK) {
        fail(r, status, &w->error);
        return;
    }
    /* The partial result counts as unfinished until it is handed over: of its tiles, one count is kept for it. */
    if (free_order && w->partial_of != t)
        w->partial_of = t;
    else
        finish_statistics(r, t);
    if (w->partial_of == t && t->next >= t->units)
        hand_over_partial(w);
}

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

static void to_output(mc_dtype dtype, mc_dtype from, void *out, const void *values, size_t count)
{
    if (from == MC_F64)
        mc_dtype_from_f64(dtype, out, values, count);
    else
        mc_dtype_from_f32(dtype, out, values, count);
}

static mc_status apply_merged(worker *w, const job *j, mc_error *error)
{
    const task *const t = j->task;
    MC_TRY(mc_workspace_load(&w->workspace, t->merged, j->first, j->count, t->state, error));
    const mc_layer *const layer = &w->workspace.layer;
    if (t->source->dtype == t->merged->real)
        w->workspace.layer.out = (mc_real *)(void *)j->slot->bytes;
    MC_TRY(mc_workspace_apply(&w->workspace, t->merged, error));
    if (t->source->dtype != t->merged->real)
        to_output(t->source->dtype, t->merged->real, j->slot->bytes, layer->out, layer->count);
    return MC_OK;
}

/* A tensor that is only read: its bytes as they are, or its values in the dtype of the output. */
static mc_status apply_read(worker *w, const job *j, mc_error *error)
{
    const task *const t = j->task;
    if (copied(t))
        return mc_source_read_raw(t->source, j->first, j->count, j->slot->bytes, error);
    const mc_dtype as = mc_source_real(t->source);
    MC_TRY(mc_workspace_reserve(&w->workspace, (size_t)j->count * sizeof(double), error));
    MC_TRY(mc_source_read_as(t->source, j->first, j->count, as, w->workspace.memory, error));
    to_output(t->source->dtype, as, j->slot->bytes, w->workspace.memory, (size_t)j->count);
    return MC_OK;
}

/* Writes the full slots at the ring's head, if nobody else does. The lock is held, but not while writing. */
static void write_out(run *r)
{
    while (!r->writing && !r->stopping && r->written < r->taken &&
           r->ring[r->written % r->ring_size].full) {
        const slot *const s = &r->ring[r->written % r->ring_size];
        mc_error error = MC_ERROR_NONE;
        r->writing = true;
        pthread_mutex_unlock(&r->lock);
        const mc_status status = r->sink->write(r->sink, s->offset, s->bytes, s->size, &error);
        pthread_mutex_lock(&r->lock);
        r->writing = false;
        if (status != MC_OK) {
            fail(r, status, &error);
            return;
        }
        r->bytes_done += (int64_t)s->size;
        r->written++;
        pthread_cond_broadcast(&r->changed);
    }
}

static void do_apply(worker *w, const job *j)
{
    run *const r = w->run;
    j->slot->offset = j->task->start + bytes_of(j->task, j->first);
    read_ahead(j);
    mc_status status = reserve_slot(j->slot, (size_t)bytes_of(j->task, j->count), &w->error);
    if (status == MC_OK)
        status = j->task->merged ? apply_merged(w, j, &w->error) : apply_read(w, j, &w->error);
    pthread_mutex_lock(&r->lock);
    if (status != MC_OK) {
        fail(r, status, &w->error);
        return;
    }
    j->slot->full = true;
    j->task->applying--;
    if (j->task->applying == 0 && j->task->next >= j->task->units)
        close_task(j->task);
    write_out(r);
}

/* The next piece of work, waiting for it if need be; false when there is none any more. The lock is held. */
static bool next_job(worker *w, job *out)
{
    run *const r = w->run;
    while (!r->stopping) {
        if (cancelled(r)) {
            mc_error error = MC_ERROR_NONE;
            mc_fail(&error, MC_INTERRUPTED, "interrupted");
            fail(r, MC_INTERRUPTED, &error);
            break;
        }
        if (find_job(r, out)) {
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
        pthread_cond_wait(&r->changed, &r->lock);
    }
    return false;
}

/* Comes back with the lock held. */
static void do_job(worker *w, const job *j)
{
    if (j->phase == STATISTICS)
        do_statistics(w, j);
    else
        do_apply(w, j);
}

static void *work(void *argument)
{
    worker *const w = argument;
    run *const r = w->run;
    pthread_mutex_lock(&r->lock);
    job j;
    while (next_job(w, &j)) {
        pthread_mutex_unlock(&r->lock);
        do_job(w, &j);
    }
    r->working--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- a run ------------------------------------------------------------------------------------- */

/* Passes over what an earlier run has written: whole tasks, and whole tiles of the task in which it stopped. */
static void skip_written(run *r, int64_t resume_at)
{
    r->bytes_done = r->bytes_total;
    for (; r->cursor < r->task_count; r->cursor++) {
        task *const t = &r->tasks[r->cursor];
        if (t->start + bytes_of(t, t->units) <= resume_at)
            continue;
        const int64_t bytes = resume_at > t->start ? resume_at - t->start : 0;
        t->skip = bytes / bytes_of(t, 1) / t->tile * t->tile;
        r->bytes_done = t->start + bytes_of(t, t->skip);
        break;
    }
    r->opened = r->cursor;
}

static void report_progress(run *r, double start, int64_t read_before)
{
    const mc_progress progress = {.bytes_done = r->bytes_done,
                                  .bytes_total = r->bytes_total,
                                  .bytes_read = mc_file_bytes_read() - read_before,
                                  .seconds = mc_seconds() - start};
    pthread_mutex_unlock(&r->lock);
    r->options->progress(&progress, r->options->user);
    pthread_mutex_lock(&r->lock);
}

/*
 * Waits for the workers; this thread reports progress, at least at the end, and notices that the user wants to stop.
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
        const double asleep = mc_seconds();
        while (r->working > 0 && mc_seconds() - asleep < .1)
            if (pthread_cond_timedwait(&r->changed, &r->lock, &until) != 0)
                break;
        if (cancelled(r))
            pthread_cond_broadcast(&r->changed);
        if (r->options->progress)
            report_progress(r, start, read_before);
    } while (r->working > 0);
    pthread_mutex_unlock(&r->lock);
}

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
    mc_free(w->nodes);
}

static void stop_workers(worker *workers, int started)
{
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        free_worker(&workers[i]);
    }
}

/* One thread: this one, which works and reports between tiles. */
static void work_here(run *r, worker *w, double start, int64_t read_before)
{
    double reported = start;
    job j;
    w->run = r;
    pthread_mutex_lock(&r->lock);
    while (next_job(w, &j)) {
        pthread_mutex_unlock(&r->lock);
        do_job(w, &j);
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
    const double start = mc_seconds();
    const int64_t read_before = mc_file_bytes_read();
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

static mc_status set_up(run *r, mc_source *const *tensors, mc_error *error)
{
    if (!r->tasks || !r->ring)
        return mc_fail_memory(error);
    for (size_t i = 0; i < r->task_count; i++) {
        set_up_task(&r->tasks[i], tensors[i], r->bytes_total, r->options);
        r->bytes_total += tensors[i]->bytes;
    }
    skip_written(r, r->sink->resume_at);
    open_tasks(r);
    return r->status == MC_OK ? MC_OK : mc_fail_memory(error);
}

static void tear_down(run *r)
{
    for (size_t i = 0; r->tasks && i < r->task_count; i++)
        close_task(&r->tasks[i]);
    for (size_t i = 0; r->ring && i < r->ring_size; i++)
        mc_free(r->ring[i].bytes);
    mc_free(r->tasks);
    mc_free(r->ring);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
}

mc_status mc_execute(mc_source *const *tensors, size_t count, mc_sink *sink,
                     const mc_run_options *options, mc_run_result *result, mc_error *error)
{
    const int threads = thread_count(options);
    run r = {.options = options,
             .sink = sink,
             .task_count = count,
             .ring_size = 3 * (size_t)threads,
             .lock = PTHREAD_MUTEX_INITIALIZER,
             .changed = PTHREAD_COND_INITIALIZER};
    const double start = mc_seconds();
    const int64_t read_before = mc_file_bytes_read();
    r.tasks = mc_alloc_zero(count, sizeof *r.tasks);
    r.ring = mc_alloc_zero(r.ring_size, sizeof *r.ring);
    mc_status status = set_up(&r, tensors, error);
    const int64_t resumed = r.bytes_done;
    if (status == MC_OK)
        status = run_workers(&r, threads, error);
    *result = (mc_run_result){.tensors = count,
                              .bytes_read = mc_file_bytes_read() - read_before,
                              .bytes_written = r.bytes_done - resumed,
                              .bytes_resumed = resumed,
                              .seconds = mc_seconds() - start};
    tear_down(&r);
    return status;
}

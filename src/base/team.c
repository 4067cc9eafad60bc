#include "base/team.h"

#include "base/memory.h"

#include <assert.h>
#include <pthread.h>

/* ---- teams ----------------------------------------------------------------------------------- */

typedef struct member {
    mc_team *team;
    int index;
    pthread_t thread; /* unused for member 0, which is the thread that calls mc_team_run */
    mc_status status; /* of its last run; read when all have finished */
    mc_error error;
} member;

/*
 * How often a thread polls before it sleeps: some 50 µs in all on x86-64, less where there is no
 * pause. Waking a thread takes as long, and steps that a team shares often take no longer.
 */
enum { SPINS = 2000 };

/* Polls until *counter differs from `seen`, or SPINS times. The lock is not held. */
static void spin(const unsigned long *counter, unsigned long seen)
{
    for (int i = 0; i < SPINS && __atomic_load_n(counter, __ATOMIC_RELAXED) == seen; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

/* Call with the lock held. Threads that poll read the counter without it. */
static void advance(unsigned long *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/*
 * A helper's life:
 *
 *     waiting ──runs changes──▶ in work ──▶ busy − 1 ──▶ waiting
 *        └──────closing──────▶ ends          └─ 0: wakes the caller
 *
 * Runs and barriers are counted, and a thread that waits compares with the count that it saw. A
 * flag would not do: a fast member may reach the next barrier before a slow one has woken from the
 * last.
 */
struct mc_team {
    member *members;
    int size;             /* fixed before the first run */
    pthread_mutex_t lock; /* protects everything below; counters are also read without it */
    pthread_cond_t started, finished, met;
    unsigned long runs, completed; /* runs that started; runs whose helpers finished */
    bool closing;
    int busy; /* helpers in the current run */
    mc_team_work *work;
    void *arg;
    unsigned long barriers; /* that are over */
    int arrived;            /* members at the current one */
    bool ok, was_ok;        /* at the current barrier so far, and at the last one */
};

int mc_team_size(const mc_team *team)
{
    return team ? team->size : 1;
}

bool mc_team_barrier(mc_team *team, bool ok)
{
    if (!team)
        return ok;
    pthread_mutex_lock(&team->lock);
    const unsigned long barrier = team->barriers;
    team->ok = team->ok && ok;
    /*
     * The last member to arrive resets the barrier for the next round before it wakes the others.
     */
    if (++team->arrived == team->size) {
        team->was_ok = team->ok;
        team->ok = true;
        team->arrived = 0;
        advance(&team->barriers);
        pthread_cond_broadcast(&team->met);
    } else {
        pthread_mutex_unlock(&team->lock);
        spin(&team->barriers, barrier);
        pthread_mutex_lock(&team->lock);
    }
    /* A loop: condition variables may wake without a reason. */
    while (team->barriers == barrier)
        pthread_cond_wait(&team->met, &team->lock);
    /* Still the result of this barrier: the next one cannot complete without this member. */
    const bool result = team->was_ok;
    pthread_mutex_unlock(&team->lock);
    return result;
}

static void work_as(member *m)
{
    mc_team *const team = m->team;
    m->error = (mc_error)MC_ERROR_NONE;
    m->status = team->work(team->arg, m->index, team->size, &m->error);
}

/* Runs on each thread but the caller's. Holds the lock except during the work. */
static void *help(void *argument)
{
    member *const m = argument;
    mc_team *const team = m->team;
    /*
     * Runs of which this thread has seen the start. The first run is number 1, so a helper that
     * starts late misses none.
     */
    unsigned long seen = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        pthread_mutex_unlock(&team->lock);
        spin(&team->runs, seen);
        pthread_mutex_lock(&team->lock);
        while (team->runs == seen && !team->closing)
            pthread_cond_wait(&team->started, &team->lock);
        if (team->runs == seen)
            break;
        seen = team->runs;
        pthread_mutex_unlock(&team->lock);
        work_as(m);
        pthread_mutex_lock(&team->lock);
        if (--team->busy == 0) {
            advance(&team->completed);
            pthread_cond_signal(&team->finished);
        }
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

/*
 * Stops at the first thread that the system refuses. All members are set up before the first thread
 * starts. `size` is final before the first run, so helpers read it without a race.
 */
static void start_helpers(mc_team *team, int threads)
{
    for (int i = 0; i < threads; i++)
        team->members[i] = (member){.team = team, .index = i};
    /* Member 0 is the calling thread. */
    team->size = 1;
    while (team->size < threads) {
        member *const next = &team->members[team->size];
        if (pthread_create(&next->thread, NULL, help, next) != 0)
            break;
        team->size++;
    }
}

/* The lock is held for a few instructions only, so a waiting thread polls it before it sleeps. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    pthread_mutex_init(lock, &kind);
    pthread_mutexattr_destroy(&kind);
}

mc_status mc_team_new(int threads, mc_team **out, mc_error *error)
{
    const int wanted = threads > 1 ? threads : 1;
    mc_team *const team = mc_alloc_zero(1, sizeof *team);
    member *const members = mc_alloc((size_t)wanted * sizeof *members);
    if (!team || !members) {
        mc_free(team);
        mc_free(members);
        return mc_fail_memory(error);
    }
    team->members = members;
    team->ok = true;
    init_lock(&team->lock);
    pthread_cond_init(&team->started, NULL);
    pthread_cond_init(&team->finished, NULL);
    pthread_cond_init(&team->met, NULL);
    start_helpers(team, wanted);
    *out = team;
    return MC_OK;
}

void mc_team_free(mc_team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    assert(team->busy == 0);
    team->closing = true;
    pthread_cond_broadcast(&team->started);
    pthread_mutex_unlock(&team->lock);
    for (int i = 1; i < team->size; i++)
        pthread_join(team->members[i].thread, NULL);
    pthread_cond_destroy(&team->started);
    pthread_cond_destroy(&team->finished);
    pthread_cond_destroy(&team->met);
    pthread_mutex_destroy(&team->lock);
    mc_free(team->members);
    mc_free(team);
}

static void start_run(mc_team *team, mc_team_work *work, void *arg)
{
    pthread_mutex_lock(&team->lock);
    assert(team->busy == 0);
    team->work = work;
    team->arg = arg;
    /* Member 0 is not counted: the caller knows when it has finished itself. */
    team->busy = team->size - 1;
    advance(&team->runs);
    pthread_cond_broadcast(&team->started);
    pthread_mutex_unlock(&team->lock);
}

static void finish_run(mc_team *team)
{
    /* Only this thread starts runs. */
    if (team->size > 1)
        spin(&team->completed, team->runs - 1);
    pthread_mutex_lock(&team->lock);
    while (team->busy > 0)
        pthread_cond_wait(&team->finished, &team->lock);
    /* A member that left the work while others wait at a barrier would block them forever. */
    assert(team->arrived == 0);
    pthread_mutex_unlock(&team->lock);
}

mc_status mc_team_run(mc_team *team, mc_team_work *work, void *arg, mc_error *error)
{
    if (!team)
        return work(arg, 0, 1, error);
    start_run(team, work, arg);
    work_as(&team->members[0]);
    finish_run(team);
    /* Reads the members without the lock: finish_run has seen all of them finish. */
    for (int i = 0; i < team->size; i++) {
        const member *const m = &team->members[i];
        if (m->status == MC_OK)
            continue;
        if (error)
            *error = m->error;
        return m->status;
    }
    return MC_OK;
}

/* ---- independent items ----------------------------------------------------------------------- */

typedef struct queue {
    mc_parallel_work *work;
    void *arg;
    size_t count;
    pthread_mutex_t lock; /* protects everything below */
    size_t next;
    size_t failed; /* the lowest item that did, if status is not MC_OK */
    mc_status status;
    mc_error error;
} queue;

/*
 * The lock is held. The lowest item wins, so that the error does not depend on the order in which
 * threads finish. Items before it have started already, since items start in order.
 */
static void record_failure(queue *q, size_t item, mc_status status, const mc_error *error)
{
    if (q->status == MC_OK || item < q->failed) {
        q->failed = item;
        q->status = status;
        q->error = *error;
    }
    /* No further item starts. */
    q->next = q->count;
}

static mc_status take_items(void *argument, int index, int size, mc_error *unused)
{
    (void)size;
    (void)unused; /* the queue keeps the first item's */
    queue *const q = argument;
    pthread_mutex_lock(&q->lock);
    while (q->next < q->count) {
        const size_t item = q->next++;
        pthread_mutex_unlock(&q->lock);
        mc_error error = MC_ERROR_NONE;
        const mc_status status = q->work(q->arg, index, item, &error);
        pthread_mutex_lock(&q->lock);
        if (status != MC_OK)
            record_failure(q, item, status, &error);
    }
    pthread_mutex_unlock(&q->lock);
    return MC_OK;
}

mc_status mc_parallel(size_t count, int threads, mc_parallel_work *work, void *arg, mc_error *error)
{
    const size_t most = threads > 1 ? (size_t)threads : 1;
    queue q = {.work = work, .arg = arg, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
    mc_team *team = NULL;
    /* Threads beyond the items would have nothing to do. */
    MC_TRY(mc_team_new((int)(count < most ? count : most), &team, error));
    (void)mc_team_run(team, take_items, &q, NULL); /* never fails itself */
    mc_team_free(team);
    pthread_mutex_destroy(&q.lock);
    if (q.status != MC_OK && error)
        *error = q.error;
    return q.status;
}

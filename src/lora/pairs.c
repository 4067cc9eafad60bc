#include "lora/pairs.h"

#include "base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

/*
 * How many of the next pairs a thread may compute ahead; also how far back it looks for pairs to
 * free.
 */
enum { WINDOW = 32 };

/* The states of a pair: see pairs.h. */
typedef enum state { NOTHING, BUSY, READY } state;

typedef struct pair {
    mc_pair_size size;
    double *a, *b;
    int64_t left; /* elements that nobody has read yet */
    int readers;
    state state;
} pair;

struct mc_pairs {
    pthread_mutex_t lock; /* guards the pairs, except the values of those that have readers */
    pthread_cond_t changed;
    size_t references;
    int64_t memory, used; /* bytes: the bound (0: none), and of the pairs that are not NOTHING */
    mc_pair_compute *compute;
    void *user;
    size_t count;
    pair pairs[];
};

typedef struct pair_source {
    mc_source source;
    mc_pairs *pairs;
    size_t index;
    bool is_b;
} pair_source;

static int64_t kept_bytes(const mc_pair_size *size)
{
    return (size->a + size->b) * (int64_t)sizeof(double);
}

int64_t mc_pair_bytes(const mc_pair_size *size)
{
    int64_t bytes;
    const bool more = __builtin_add_overflow(kept_bytes(size), size->work, &bytes);
    return more ? INT64_MAX : bytes;
}

mc_status mc_pairs_new(size_t count, const mc_pair_size *sizes, int64_t memory,
                       mc_pair_compute *compute, void *user, mc_pairs **out, mc_error *error)
{
    mc_pairs *const pairs = mc_alloc_zero(1, sizeof *pairs + count * sizeof(pair));
    if (!pairs)
        return mc_fail_memory(error);
    pthread_mutex_init(&pairs->lock, NULL);
    pthread_cond_init(&pairs->changed, NULL);
    pairs->references = 1;
    pairs->memory = memory;
    pairs->compute = compute;
    pairs->user = user;
    pairs->count = count;
    for (size_t i = 0; i < count; i++)
        pairs->pairs[i].size = sizes[i];
    *out = pairs;
    return MC_OK;
}

static void empty(mc_pairs *pairs, pair *p)
{
    mc_free(p->a);
    mc_free(p->b);
    p->a = p->b = NULL;
    pairs->used -= p->state == READY ? kept_bytes(&p->size) : 0;
    p->state = NOTHING;
}

void mc_pairs_unref(mc_pairs *pairs)
{
    if (!pairs)
        return;
    pthread_mutex_lock(&pairs->lock);
    const bool last = --pairs->references == 0;
    pthread_mutex_unlock(&pairs->lock);
    if (!last)
        return;
    for (size_t i = 0; i < pairs->count; i++)
        empty(pairs, &pairs->pairs[i]);
    pthread_mutex_destroy(&pairs->lock);
    pthread_cond_destroy(&pairs->changed);
    mc_free(pairs);
}

/* ---- computing; with the lock held, which is dropped meanwhile ------------------------------- */

/*
 * Computes a pair. BUSY keeps others from it while the lock is not held. After a failure the pair
 * is NOTHING again: whoever needs it computes it again and gets the error.
 */
static mc_status compute(mc_pairs *pairs, size_t index, mc_error *error)
{
    pair *const p = &pairs->pairs[index];
    p->state = BUSY;
    pairs->used += mc_pair_bytes(&p->size);
    p->left = p->size.a + p->size.b;
    pthread_mutex_unlock(&pairs->lock);
    p->a = mc_alloc((size_t)p->size.a * sizeof *p->a);
    p->b = mc_alloc((size_t)p->size.b * sizeof *p->b);
    const mc_status status = p->a && p->b ? pairs->compute(pairs->user, index, p->a, p->b, error)
                                          : mc_fail_memory(error);
    pthread_mutex_lock(&pairs->lock);
    p->state = READY;
    pairs->used -= p->size.work;
    if (status != MC_OK)
        empty(pairs, p);
    pthread_cond_broadcast(&pairs->changed);
    return status;
}

static bool fits(const mc_pairs *pairs, const pair *p)
{
    return pairs->memory == 0 || mc_pair_bytes(&p->size) <= pairs->memory - pairs->used;
}

/*
 * Drops pairs without readers until this one fits, starting with those that are needed last.
 * Returns false if other threads compute or read pairs: the caller must wait for them.
 */
static bool make_room(mc_pairs *pairs, const pair *p)
{
    for (size_t i = pairs->count; i-- > 0 && !fits(pairs, p);)
        if (pairs->pairs[i].state == READY && pairs->pairs[i].readers == 0)
            empty(pairs, &pairs->pairs[i]);
    return fits(pairs, p);
}

/* Computes a later pair that nobody works on; false if there is none. */
static bool work_ahead(mc_pairs *pairs, size_t index)
{
    for (size_t i = index + 1; i < pairs->count && i <= index + WINDOW; i++)
        if (pairs->pairs[i].state == NOTHING && fits(pairs, &pairs->pairs[i])) {
            /* Whoever needs that pair finds an error again, and reports it. */
            (void)compute(pairs, i, NULL);
            return true;
        }
    return false;
}

/*
 * Frees pairs well before this one. All that read in order are past them; whoever comes again
 * computes them again, with the same values.
 */
static void drop_old(mc_pairs *pairs, size_t index)
{
    for (size_t i = index > WINDOW ? index - WINDOW : 0; i + 2 < index; i++)
        if (pairs->pairs[i].state == READY && pairs->pairs[i].readers == 0)
            empty(pairs, &pairs->pairs[i]);
}

/*
 * Makes a pair READY and registers a reader: a pair with readers is never freed. A thread works
 * ahead rather than wait for another one.
 */
static mc_status acquire(mc_pairs *pairs, size_t index, mc_error *error)
{
    pair *const p = &pairs->pairs[index];
    drop_old(pairs, index);
    while (p->state != READY) {
        if (p->state == NOTHING && make_room(pairs, p))
            MC_TRY(compute(pairs, index, error));
        else if (p->state == NOTHING || !work_ahead(pairs, index))
            pthread_cond_wait(&pairs->changed, &pairs->lock);
    }
    p->readers++;
    return MC_OK;
}

/* ---- the source ------------------------------------------------------------------------------ */

static void copy(const double *from, int64_t count, mc_dtype as, void *out)
{
    if (as == MC_F64)
        memcpy(out, from, (size_t)count * sizeof *from);
    else
        for (int64_t i = 0; i < count; i++)
            ((float *)out)[i] = (float)from[i];
}

static mc_status pair_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                           void *out, mc_error *error)
{
    const pair_source *const source = (const pair_source *)self;
    mc_pairs *const pairs = source->pairs;
    pair *const p = &pairs->pairs[source->index];
    pthread_mutex_lock(&pairs->lock);
    const mc_status status = acquire(pairs, source->index, error);
    pthread_mutex_unlock(&pairs->lock);
    MC_TRY(status);
    /* Without the lock: values of a READY pair do not change while it has readers. */
    copy((source->is_b ? p->b : p->a) + first, count, as, out);
    pthread_mutex_lock(&pairs->lock);
    /* An executor reads every element once, so a pair is freed after its last one. */
    p->left -= count;
    if (--p->readers == 0 && p->left <= 0)
        empty(pairs, p);
    if (pairs->memory > 0) /* others may wait for room */
        pthread_cond_broadcast(&pairs->changed);
    pthread_mutex_unlock(&pairs->lock);
    return MC_OK;
}

static void pair_free(mc_source *self)
{
    mc_pairs_unref(((pair_source *)self)->pairs);
}

static const mc_source_class pair_class = {.name = "factor", .read = pair_read, .free = pair_free};

mc_status mc_pairs_source(mc_pairs *pairs, size_t index, bool is_b, mc_dtype dtype, int rank,
                          const int64_t *shape, mc_source **out, mc_error *error)
{
    MC_TRY(mc_source_create(&pair_class, sizeof(pair_source), dtype, rank, shape, out, error));
    pair_source *const source = (pair_source *)*out;
    assert(index < pairs->count);
    assert((*out)->count == (is_b ? pairs->pairs[index].size.b : pairs->pairs[index].size.a));
    source->source.wide = dtype == MC_F64;
    source->source.depth = 1;
    source->pairs = pairs;
    source->index = index;
    source->is_b = is_b;
    pthread_mutex_lock(&pairs->lock);
    pairs->references++;
    pthread_mutex_unlock(&pairs->lock);
    return MC_OK;
}

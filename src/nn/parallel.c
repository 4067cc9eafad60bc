#include "nn/parallel.h"

#include "base/memory.h"

#include <pthread.h>

typedef struct crew {
    mc_piece piece;
    void *user;
    pthread_mutex_t lock;
    size_t next, count;
    int workers;   /* that have begun */
    size_t failed; /* the first piece that did */
    mc_status status;
    mc_error error;
} crew;

static void note_failure(crew *c, size_t item, mc_status status, const mc_error *error)
{
    if (c->status == MC_OK || item < c->failed) {
        c->failed = item;
        c->status = status;
        c->error = *error;
    }
    c->next = c->count;
}

static void *work(void *argument)
{
    crew *const c = argument;
    pthread_mutex_lock(&c->lock);
    const int worker = c->workers++;
    while (c->next < c->count) {
        const size_t item = c->next++;
        pthread_mutex_unlock(&c->lock);
        mc_error error = MC_ERROR_NONE;
        const mc_status status = c->piece(c->user, worker, item, &error);
        pthread_mutex_lock(&c->lock);
        if (status != MC_OK)
            note_failure(c, item, status, &error);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

mc_status mc_parallel(size_t count, int threads, mc_piece piece, void *user, mc_error *error)
{
    const size_t more = (size_t)(threads > 1 ? threads : 1) - 1;
    const size_t helpers = count == 0 ? 0 : more < count - 1 ? more : count - 1;
    pthread_t *const handles = mc_alloc(helpers * sizeof *handles);
    if (!handles)
        return mc_fail_memory(error);
    crew c = {.piece = piece, .user = user, .lock = PTHREAD_MUTEX_INITIALIZER, .count = count};
    size_t started = 0;
    while (started < helpers && pthread_create(&handles[started], NULL, work, &c) == 0)
        started++;
    work(&c);
    for (size_t i = 0; i < started; i++)
        pthread_join(handles[i], NULL);
    pthread_mutex_destroy(&c.lock);
    mc_free(handles);
    if (c.status != MC_OK && error)
        *error = c.error;
    return c.status;
}

/* ---- teams ------------------------------------------------------------------------------------- */

struct mc_team {
    mc_share share;
    void *user;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int size;            /* 0: not known yet */
    int here;            /* of those who are to meet */
    unsigned meetings;   /* that are over */
    bool well, was_well; /* at this meeting so far, and at the last one */
};

typedef struct member {
    mc_team *team;
    int index;
    pthread_t thread;
    mc_status status;
    mc_error error;
} member;

int mc_team_size(const mc_team *team)
{
    return team ? team->size : 1;
}

bool mc_team_meet(mc_team *team, bool well)
{
    if (!team)
        return well;
    pthread_mutex_lock(&team->lock);
    const unsigned meeting = team->meetings;
    team->well = team->well && well;
    if (++team->here == team->size) {
        team->was_well = team->well;
        team->well = true;
        team->here = 0;
        team->meetings++;
        pthread_cond_broadcast(&team->changed);
    }
    while (team->meetings == meeting)
        pthread_cond_wait(&team->changed, &team->lock);
    const bool result = team->was_well; /* there is no next one without this member */
    pthread_mutex_unlock(&team->lock);
    return result;
}

static void *be_member(void *argument)
{
    member *const m = argument;
    mc_team *const team = m->team;
    pthread_mutex_lock(&team->lock);
    while (team->size == 0)
        pthread_cond_wait(&team->changed, &team->lock);
    pthread_mutex_unlock(&team->lock);
    m->status = team->share(team->user, m->index, team, &m->error);
    return NULL;
}

static void begin(mc_team *team, int size)
{
    pthread_mutex_lock(&team->lock);
    team->size = size;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
}

mc_status mc_team_run(int threads, mc_share share, void *user, mc_error *error)
{
    mc_team team = {.share = share,
                    .user = user,
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .changed = PTHREAD_COND_INITIALIZER,
                    .well = true};
    member *const members = mc_alloc((size_t)threads * sizeof *members);
    if (!members)
        return mc_fail_memory(error);
    for (int i = 0; i < threads; i++)
        members[i] = (member){.team = &team, .index = i, .error = MC_ERROR_NONE};
    int size = 1;
    while (size < threads &&
           pthread_create(&members[size].thread, NULL, be_member, &members[size]) == 0)
        size++;
    begin(&team, size);
    be_member(&members[0]);
    for (int i = 1; i < size; i++)
        pthread_join(members[i].thread, NULL);
    mc_status status = MC_OK;
    for (int i = 0; i < size && status == MC_OK; i++) {
        status = members[i].status;
        if (status != MC_OK && error)
            *error = members[i].error;
    }
    pthread_cond_destroy(&team.changed);
    pthread_mutex_destroy(&team.lock);
    mc_free(members);
    return status;
}

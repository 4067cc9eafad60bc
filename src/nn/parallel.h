/* Independent pieces of work on several threads. */
#ifndef MC_NN_PARALLEL_H
#define MC_NN_PARALLEL_H

#include "base/error.h"

#include <stdbool.h>

/* Does piece `item`; `worker`, below the number of threads, is the same for no two calls at one time. */
typedef mc_status (*mc_piece)(void *user, int worker, size_t item, mc_error *error);

/*
 * Does pieces 0 … count − 1 on up to `threads` threads, the calling one included, fewer if the system has no more. They are begun in order.
 * After a failure no further one is begun; the error is that of the first piece, in order, that failed.
 */
mc_status mc_parallel(size_t count, int threads, mc_piece piece, void *user, mc_error *error);

/* Threads that do one work together, each its part. */
typedef struct mc_team mc_team;

typedef mc_status (*mc_share)(void *user, int member, mc_team *team, mc_error *error);

/*
 * Calls `share` on `threads` threads at once, the calling one included, fewer if the system has no more; members are numbered from 0. The error
 * is that of the first member, in order, that failed.
 */
mc_status mc_team_run(int threads, mc_share share, void *user, mc_error *error);
int mc_team_size(const mc_team *team); /* NULL: 1 */

/* Waits until all members are here, and returns whether all of them say that it is well. NULL: `well`. */
bool mc_team_meet(mc_team *team, bool well);

#endif

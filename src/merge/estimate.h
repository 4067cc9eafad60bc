/*
 * Estimates the time left of a run. The work falls into classes: pieces of one method and phase,
 * and of about the same size where the cost per unit depends on the size. The time per unit is
 * measured per class. So neither slow tensors at the end of a model, nor a pass over the inputs
 * that is cheaper than the pass that writes, distort the estimate. There is no estimate until all
 * classes that matter have been measured.
 *
 * Pieces that are computed at the same time share the wall time: while n pieces are active, a
 * shared clock runs at 1/n of the wall clock, and pieces are charged by it. So charges add up to
 * the wall time, whether threads share the work on one tensor or compute several at once.
 *
 * Functions take the time as an argument, so they are deterministic. Call them with the lock held.
 */
#ifndef MC_MERGE_ESTIMATE_H
#define MC_MERGE_ESTIMATE_H

#include <stdbool.h>
#include <stddef.h>

/* What makes two pieces cost the same per unit. */
typedef struct mc_work_kind {
    const void *method; /* NULL: tensors are read and converted */
    int phase;
    int size; /* a size class where costs per unit depend on it, else 0 */
} mc_work_kind;

typedef struct mc_work_class {
    mc_work_kind kind;
    double left;           /* units that are not done */
    double units, charged; /* units that were measured, and their time; old ones count less */
    double pending;        /* time spent on units that are not done as a whole */
} mc_work_class;

enum { MC_WORK_CLASSES = 64 };

typedef struct mc_estimate {
    mc_work_class classes[MC_WORK_CLASSES];
    size_t count;
    bool full; /* there were more classes than fit: no estimate */
    bool begun;
    double start, now;    /* wall time of the first event and of the last one */
    double clock;         /* the shared clock, see above */
    int active;           /* pieces being computed */
    double begun_sum;     /* of the clock, over these pieces */
    double elapsed, busy; /* wall time, and that with a piece; old times count less */
    double faded;         /* when old measurements were last discounted */
} mc_estimate;

/* Returns the index of the class, which is added if it is new, and adds to the units left. */
int mc_estimate_add(mc_estimate *e, mc_work_kind kind, double units);

/* A piece begins. Returns the reading of the shared clock, for mc_estimate_end. */
double mc_estimate_begin(mc_estimate *e, double now);
/* The piece ends. Returns its charge. */
double mc_estimate_end(mc_estimate *e, double now, double begun);

/* Time was spent on units that are not yet done as a whole. */
void mc_estimate_spend(mc_estimate *e, int class, double charge);
/* Units are done; `charge` includes what was spent on them, `spent` is that part. */
void mc_estimate_done(mc_estimate *e, int class, double units, double charge, double spent);

/* Seconds left; negative if that is not known yet. */
double mc_estimate_left(mc_estimate *e, double now);

/* The same for work of one kind, of which `done` of `total` units took `seconds`. */
double mc_estimate_even(double done, double total, double seconds);

#endif

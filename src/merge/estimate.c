#include "merge/estimate.h"

/*
 * FIRST: seconds without an estimate, while threads start and caches are cold. FADE: seconds after
 * which measurements count half, so that the estimate follows a disk that becomes slower.
 */
static const double FIRST = 1, FADE = 5;

/* Share of the estimate that may rest on costs measured at another size. */
static const double GUESSED = .1;

static bool same_kind(mc_work_kind a, mc_work_kind b)
{
    return a.method == b.method && a.phase == b.phase && a.size == b.size;
}

int mc_estimate_add(mc_estimate *e, mc_work_kind kind, double units)
{
    size_t i = 0;
    while (i < e->count && !same_kind(e->classes[i].kind, kind))
        i++;
    if (i == MC_WORK_CLASSES) {
        e->full = true;
        i--;
    } else if (i == e->count) {
        e->classes[e->count++] = (mc_work_class){.kind = kind};
    }
    e->classes[i].left += units;
    return (int)i;
}

/* Advances both clocks. */
static void advance(mc_estimate *e, double now)
{
    if (!e->begun) {
        e->begun = true;
        e->start = e->now = e->faded = now;
    }
    if (e->active > 0) {
        e->clock += (now - e->now) / e->active;
        e->busy += now - e->now;
    }
    e->elapsed += now - e->now;
    e->now = now;
}

double mc_estimate_begin(mc_estimate *e, double now)
{
    advance(e, now);
    e->active++;
    e->begun_sum += e->clock;
    return e->clock;
}

double mc_estimate_end(mc_estimate *e, double now, double begun)
{
    advance(e, now);
    e->active--;
    e->begun_sum -= begun;
    return e->clock - begun;
}

void mc_estimate_spend(mc_estimate *e, int class, double charge)
{
    e->classes[class].pending += charge;
}

void mc_estimate_done(mc_estimate *e, int class, double units, double charge, double spent)
{
    mc_work_class *const c = &e->classes[class];
    c->left -= units;
    c->units += units;
    c->charged += charge;
    c->pending -= spent;
}

static void fade(mc_estimate *e)
{
    for (size_t i = 0; i < e->count; i++) {
        e->classes[i].units /= 2;
        e->classes[i].charged /= 2;
    }
    e->elapsed /= 2;
    e->busy /= 2;
    e->faded = e->now;
}

/* The measured class of the same method and phase whose size is nearest; NULL: there is none. */
static const mc_work_class *nearest(const mc_estimate *e, const mc_work_class *to)
{
    const mc_work_class *found = NULL;
    int distance = 0;
    for (size_t i = 0; i < e->count; i++) {
        const mc_work_class *const c = &e->classes[i];
        const int d = c->kind.size < to->kind.size ? to->kind.size - c->kind.size
                                                   : c->kind.size - to->kind.size;
        if (c->units > 0 && c->kind.method == to->kind.method && c->kind.phase == to->kind.phase &&
            (!found || d < distance)) {
            found = c;
            distance = d;
        }
    }
    return found;
}

/* The time that a class still needs at the measured cost per unit. */
static double need_of(const mc_work_class *c, const mc_work_class *measured)
{
    const double need = c->left * measured->charged / measured->units - c->pending;
    return need > 0 ? need : 0;
}

double mc_estimate_left(mc_estimate *e, double now)
{
    double known = 0, guessed = 0;
    advance(e, now);
    for (size_t i = 0; i < e->count; i++) {
        const mc_work_class *const c = &e->classes[i];
        const mc_work_class *const measured = c->units > 0 ? c : nearest(e, c);
        if (c->left <= 0)
            continue;
        if (!measured)
            return -1;
        *(measured == c ? &known : &guessed) += need_of(c, measured);
    }
    if (e->full || !(e->busy > 0) || now - e->start < FIRST ||
        guessed > GUESSED * (known + guessed))
        return -1;
    const double computing = e->active * e->clock - e->begun_sum; /* spent on current pieces */
    const double need = known + guessed > computing ? known + guessed - computing : 0;
    /* Time without any piece, as when all threads wait, is not in the charges. */
    const double left = need * e->elapsed / e->busy;
    if (now - e->faded >= FADE)
        fade(e);
    return left;
}

double mc_estimate_even(double done, double total, double seconds)
{
    return seconds >= FIRST && done > 0 ? (total - done) / done * seconds : -1;
}

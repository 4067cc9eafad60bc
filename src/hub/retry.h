/*
 * Retries of requests that fail for reasons that may pass:
 *
 *     failure 1 ── 0.5 s ─▶ failure 2 ── 1 s ─▶ … doubled up to 30 s … ─▶ failure `most`: error
 *
 * Retry-After of the server replaces a shorter pause. Above 10 minutes it is an error at once: so
 * long a wait must be the user's decision.
 */
#ifndef MC_HUB_RETRY_H
#define MC_HUB_RETRY_H

#include "hub/http.h"

/*
 * How many failures in a row are an error. A server that cannot be reached at all is given up
 * earlier than one that answers, or that did.
 */
enum { MC_FEW_FAILURES = 3, MC_MOST_FAILURES = 6 };

/* The first pause in seconds. Tests make it shorter. */
extern double mc_hub_first_pause;

/* Returns whether another attempt may succeed: status 408, 429 or 5xx, or a broken connection. */
bool mc_retry_is_worth(const mc_request *request);

/* Counts a failure; returns the seconds until the next attempt, or −1 if there were `most`. */
double mc_retry_pause(const mc_request *request, int most, int *failures);

#endif

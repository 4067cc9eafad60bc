/* How much of the differences between scores a parameter of a search explains. */
#ifndef MC_REPORT_IMPORTANCE_H
#define MC_REPORT_IMPORTANCE_H

#include "base/error.h"

/*
 * Cuts the values into at most eight bins of about as many trials, and sets *share to the share of
 * the variance of the scores that lies between bins, corrected for what chance explains (Kelley's
 * epsilon squared): 0 to 1. NaN: fewer than eight trials, all of one value, or equal scores.
 */
mc_status mc_importance(const double *values, const double *scores, size_t count, double *share,
                        mc_error *error);

#endif

/* Checks that can fail before anything large is downloaded or read. */
#ifndef MC_MERGE_PREFLIGHT_H
#define MC_MERGE_PREFLIGHT_H

#include <mergecraft/merge.h>

/*
 * MC_USAGE if the target is a model's folder or holds a model, or lies inside a model's folder and
 * is neither new nor an earlier result.
 */
mc_status mc_plan_check_outside(const mc_plan *plan, const char *target, mc_error *error);

/* The same of one file or folder; MC_OK if it does not exist. */
mc_status mc_check_apart(const char *folder, const char *input, mc_error *error);

#endif

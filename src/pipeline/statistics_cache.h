/* Where statistics are kept. */
#ifndef MC_PIPELINE_STATISTICS_CACHE_H
#define MC_PIPELINE_STATISTICS_CACHE_H

#include "base/error.h"

#include <mergecraft/observe.h>

/*
 * Sets result->path to `path`, or, if that is NULL, to a file in the user's cache named by `key`, a
 * hash of everything that the values depend on; result->cached if that file exists.
 */
mc_status mc_statistics_place(const char *path, uint64_t key, mc_observe_result *result,
                              mc_error *error);

#endif

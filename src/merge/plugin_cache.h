/* Compiles a C file into a shared object, once per content. */
#ifndef MC_MERGE_PLUGIN_CACHE_H
#define MC_MERGE_PLUGIN_CACHE_H

#include "base/error.h"

/*
 * *out: the path of the shared object, in new memory. `text` is the content of the file. Stops with
 * MC_INTERRUPTED once *cancel is not 0; `cancel` may be NULL.
 */
mc_status mc_plugin_compile(const char *path, const char *text, size_t size,
                            const volatile int *cancel, char **out, mc_error *error);

#endif

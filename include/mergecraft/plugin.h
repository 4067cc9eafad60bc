/*
 * Methods from outside the library: a C file, compiled on the spot with the system's compiler, or a shared object
 * that was built from one with -DMC_PLUGIN.
 */
#ifndef MERGECRAFT_PLUGIN_H
#define MERGECRAFT_PLUGIN_H

#include <mergecraft/method.h>

typedef struct mc_plugin mc_plugin;

/*
 * Loads `path`, a .c or a .so file. A .c file is compiled by $CC (a single program name or path; default: cc) without a shell into
 * $XDG_CACHE_HOME/mergecraft/plugins (default: ~/.cache), which must belong to the user and be writable by nobody else, and lie where not
 * everybody can rename it; the same text is compiled once. MC_COMPILE: error->text holds what the compiler said. Loading runs the file's code: do not load
 * what you do not trust. mc_plugin_close accepts NULL; the code stays mapped, so methods found here are valid for the life of the process.
 */
MC_API mc_status mc_plugin_open(const char *path, mc_plugin **out, mc_error *error);
MC_API void mc_plugin_close(mc_plugin *plugin);
MC_API size_t mc_plugin_method_count(const mc_plugin *plugin);
MC_API const mc_method *mc_plugin_method(const mc_plugin *plugin, size_t index);

#endif

/*
 * Methods from outside the library: a C file, compiled when it is loaded with the system's
 * compiler, or a shared object that was built from one with -DMC_PLUGIN.
 *
 * Loading runs the file's code: never load what you do not trust. Its code stays mapped, so that
 * its methods are valid until the process ends.
 *
 * Thread-safety: all functions may be called from any thread.
 */
#ifndef MERGECRAFT_PLUGIN_H
#define MERGECRAFT_PLUGIN_H

#include <mergecraft/method.h>

MC_BEGIN_DECLS

typedef struct mc_plugin mc_plugin;

/*
 * Loads `path`, a .c or a .so file. A .c file is compiled by $CC (a program's name or path;
 * default: cc), without a shell, into $XDG_CACHE_HOME/mergecraft/plugins (default: ~/.cache), once
 * per content. If that folder cannot be written to, it is mergecraft-UID/plugins in $TMPDIR or
 * /tmp. The folder must belong to the user, and nobody else may be able to write to it or rename
 * it. Compiling stops within a second once *cancel is not 0; `cancel` may be NULL.
 *
 * Errors: MC_COMPILE      the text has the compiler's messages
 *         MC_FORMAT       not a plug-in, without methods, or of another version of the interface
 *         MC_INTERRUPTED  by *cancel, or by Ctrl-C in a terminal
 *         MC_IO           the cache cannot be used
 *         MC_NOT_FOUND    no such file
 */
MC_API mc_status mc_plugin_open(const char *path, const volatile int *cancel, mc_plugin **out,
                                mc_error *error);
/* Accepts NULL. */
MC_API void mc_plugin_close(mc_plugin *plugin);
MC_API size_t mc_plugin_method_count(const mc_plugin *plugin);
/* `index` < mc_plugin_method_count; in the order in which the file defines them. */
MC_API const mc_method *mc_plugin_method(const mc_plugin *plugin, size_t index);

MC_END_DECLS

#endif

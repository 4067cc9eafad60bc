/* What plans need to know about methods from outside the library. */
#ifndef MC_MERGE_PLUGIN_H
#define MC_MERGE_PLUGIN_H

#include <mergecraft/plugin.h>

/*
 * The path of the file that a method was loaded from, and a hash of its content. False for built-in
 * methods and those of programs.
 */
bool mc_plugin_origin(const mc_method *method, const char **path, uint64_t *hash);

/*
 * Mixes the identity of a method's code into *hash: the content of a plug-in, or the linker's build
 * id of the program that defines the method. The library's build id covers built-in methods.
 * Returns false if the code cannot be identified.
 */
bool mc_plugin_hash_code(const mc_method *method, uint64_t *hash);

/*
 * The text of the C file that a method was compiled from; NULL if there is none. Valid until the
 * process ends.
 */
const char *mc_plugin_text(const mc_method *method);

#endif

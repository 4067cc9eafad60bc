/* A file that a command writes beside its result, such as the one of --predictions. */
#ifndef CLI_WRITTEN_H
#define CLI_WRITTEN_H

#include <mergecraft/error.h>

#include <stdbool.h>
#include <stdio.h>

/*
 * Checks whether the file can be written, before a command spends minutes on its content. A regular
 * file that exists is an error unless `overwrite`; `input`, which may be NULL, is a file that must
 * not be replaced. `name` is the option in errors.
 */
mc_status written_check(const char *name, const char *path, bool overwrite, const char *input,
                        mc_error *error);

/*
 * Writes the file by `write`, which returns false on failure and sets errno.
 *
 *   no such file, a regular file   a partial file beside it, renamed when it is complete
 *   standard output                stdout, in order with what is printed there
 *   a device or pipe               opened and written directly
 */
mc_status written_make(const char *path, bool (*write)(const void *arg, FILE *file),
                       const void *arg, mc_error *error);

#endif

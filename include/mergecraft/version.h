/*
 * The version of the library that a program was compiled against, and of the one that it runs with.
 */
#ifndef MERGECRAFT_VERSION_H
#define MERGECRAFT_VERSION_H

#include <mergecraft/export.h>

MC_BEGIN_DECLS

#define MC_VERSION_MAJOR 0
#define MC_VERSION_MINOR 1
#define MC_VERSION_PATCH 0
#define MC_VERSION_STRING "0.1.0"

/*
 * The version of the library that is running, as "MAJOR.MINOR.PATCH". Never NULL; static storage.
 */
MC_API const char *mc_version(void);

MC_END_DECLS

#endif

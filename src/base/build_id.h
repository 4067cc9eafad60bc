/* Which build of the library this is. */
#ifndef MC_BASE_BUILD_ID_H
#define MC_BASE_BUILD_ID_H

/*
 * The linker's build id of the program or shared library that this code is in, in hexadecimal
 * digits; "" if it was linked without one. Another build has another id. Thread-safe.
 */
const char *mc_build_id(void);

#endif

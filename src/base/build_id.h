/* Identifies the build of the library and of a program. */
#ifndef MC_BASE_BUILD_ID_H
#define MC_BASE_BUILD_ID_H

/*
 * A hash of the library's object files, in 64 hexadecimal digits. It depends on the sources, the
 * compiler and the flags. All programs with the same library have the same id, whether
 * they link it statically or not. cmake/build_id.cmake defines it.
 */
const char *mc_build_id(void);

enum { MC_PROGRAM_ID_SIZE = 65 };

/*
 * Writes the linker's build id of the program or shared library that contains `address`, in
 * hexadecimal digits; "" if it has none, or if the address is not part of a file.
 */
void mc_program_id(const void *address, char out[MC_PROGRAM_ID_SIZE]);

#endif

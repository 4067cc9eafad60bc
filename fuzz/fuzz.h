/*
 * What the fuzz targets share. A target is one file with fuzz_input; libFuzzer drives it, or
 * replay.c, which runs the inputs that are kept. The code under test sees no files of the system,
 * only those in memory.
 */
#ifndef MC_FUZZ_FUZZ_H
#define MC_FUZZ_FUZZ_H

#include "base/file.h"
#include "checkpoint/reader.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The target: gives an input to the code under test and checks what comes back. Some inputs are run
 * a second time with memory that fails from one of the allocations on: every function may then
 * return MC_NO_MEMORY, and nothing may leak or crash. Memory is back after fuzz_check or
 * fuzz_memory_back, which therefore come before whatever must not fail.
 */
void fuzz_input(const uint8_t *data, size_t size);

/*
 * Runs fuzz_input with all allocations after the first `allowed` failing; with all of them working
 * if that is negative. Returns how many there were.
 */
long fuzz_run(const uint8_t *data, size_t size, long allowed);

/* Stops the program, so that the input is kept, if something that must hold does not. */
void fuzz_require(bool holds, const char *what);

void fuzz_memory_back(void);

/*
 * How a function ended: MC_OK, or an error with its status and a text; MC_NO_MEMORY only if memory
 * fails in this run.
 */
void fuzz_check_status(mc_status status, const mc_error *error);

/* The same of a function that was to add tensors to the dict: they can be read. */
void fuzz_check(mc_status status, const mc_error *error, const mc_state_dict *dict);

/*
 * Reads a file of these bytes. *found is the reader that would be chosen for it, NULL if there is
 * none.
 */
mc_status fuzz_reader(const mc_reader *reader, const void *data, size_t size,
                      const mc_reader **found);

/*
 * A file in memory with these bytes, which must stay until fuzz_remove_files; replaces one of the
 * same path. "a/b" also makes a folder "a", which can be opened, but not listed. Reads give the
 * bytes, and nothing can be written.
 */
void fuzz_put(const char *path, const void *data, size_t size);
/* Before the next input. Files that are open may be closed afterwards. */
void fuzz_remove_files(void);

/* A file of these bytes, opened. */
mc_status fuzz_open(const void *data, size_t size, mc_file **out, mc_error *error);

#endif

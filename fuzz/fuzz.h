/*
 * What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput; libFuzzer drives it, or replay.c, which runs
 * the inputs that are kept.
 */
#ifndef MC_FUZZ_FUZZ_H
#define MC_FUZZ_FUZZ_H

#include "base/file.h"
#include "checkpoint/reader.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops the program, so that the input is kept, if something that must hold does not. */
void fuzz_require(int holds, const char *what);

/* A file in memory with these bytes. */
mc_file *fuzz_file(const void *data, size_t size);

/* What a function gave that was to add tensors to the dict: an error that says something, or tensors that can be read. */
void fuzz_check(mc_status status, const mc_error *error, const mc_state_dict *dict);

/* Reads a file of these bytes. */
void fuzz_reader(const mc_reader *reader, const void *data, size_t size);

#endif

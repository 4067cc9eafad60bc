/* One format of checkpoint files. A new format is a file with one of these and a line in reader.c's table. */
#ifndef MC_CHECKPOINT_READER_H
#define MC_CHECKPOINT_READER_H

#include <mergecraft/state_dict.h>

#include "base/file.h"

#define MC_PROBE_BYTES 16

typedef struct mc_reader {
    const char *name; /* "safetensors" */
    /* Whether a file that begins with these bytes (zero-padded) and has this many is in the format. */
    bool (*probe)(const unsigned char head[MC_PROBE_BYTES], int64_t size);
    /* Adds the file's tensors to `dict`, in the file's order. Errors need not name the file. */
    mc_status (*read)(mc_file *file, mc_state_dict *dict, mc_error *error);
} mc_reader;

extern const mc_reader mc_reader_safetensors, mc_reader_torch_zip, mc_reader_torch_legacy;

/* The reader for an open file, by its content. MC_UNSUPPORTED says what the file seems to be, and what is read. */
mc_status mc_reader_find(const mc_file *file, const mc_reader **out, mc_error *error);

/*
 * A tensor in a file, of `count` elements at byte `offset`. strides (in elements, one a dimension, not negative) may be NULL for
 * row-major. Checks that all of it is inside the file's bytes [begin, end) (a storage). Takes its own reference to the file.
 */
mc_status mc_stored_new(mc_file *file, int64_t begin, int64_t end, int64_t offset, mc_dtype dtype,
                        int rank, const int64_t *shape, const int64_t *strides, mc_source **out,
                        mc_error *error);

/* Whether two sources are the same elements of the same file: tied tensors. */
bool mc_stored_same(const mc_source *a, const mc_source *b);

/* An order of stored tensors in which those that are the same are neighbours; 0 if they are. */
int mc_stored_compare(const mc_source *a, const mc_source *b);

/* The file of a stored tensor; NULL if the source is of another kind. */
mc_file *mc_stored_file(const mc_source *source);

#endif

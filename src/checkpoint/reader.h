/*
 * One format of checkpoint files. A new format is a file with one of these and a row in the table
 * of reader.c.
 */
#ifndef MC_CHECKPOINT_READER_H
#define MC_CHECKPOINT_READER_H

#include <mergecraft/state_dict.h>

#include "base/file.h"
#include "base/notes.h"

#define MC_PROBE_BYTES 16

typedef struct mc_reader {
    const char *name; /* "safetensors" */
    /*
     * Returns whether a file of `size` bytes that begins with `head` (zero-padded) is in the
     * format.
     */
    bool (*probe)(const unsigned char head[MC_PROBE_BYTES], int64_t size);
    /*
     * Adds the file's tensors to `dict`, which is empty, in the file's order, and a note for
     * whatever is skipped. Errors need not name the file.
     */
    mc_status (*read)(mc_file *file, mc_state_dict *dict, mc_notes *notes, mc_error *error);
} mc_reader;

extern const mc_reader mc_reader_safetensors, mc_reader_torch_zip, mc_reader_torch_legacy;

/*
 * Finds the reader for an open file by its content. Errors:
 *         MC_UNSUPPORTED  no format matches; the text names what the file seems to be
 */
mc_status mc_reader_find(const mc_file *file, const mc_reader **out, mc_error *error);

#endif

#include "checkpoint/reader.h"

#include <string.h>

/* In the order in which they are asked: the header length of safetensors can look like the beginning of a pickle. */
static const mc_reader *const readers[] = {
    &mc_reader_torch_zip,
    &mc_reader_safetensors,
    &mc_reader_torch_legacy,
};

/* Files that people give by mistake, by what stands at a byte of them. */
static const struct {
    int64_t offset;
    const char *bytes;
    const char *name;
} strangers[] = {
    {0, "version https://git-lfs", "a Git LFS pointer and not the file that it stands for"},
    {257, "ustar",
     "a tar file: torch older than 0.2 wrote these; load and save it with a newer one"},
    {0, "GGUF", "a GGUF file"},
    {0, "\x89HDF", "an HDF5 file (TensorFlow)"},
    {0, "\x1f\x8b", "a gzip file"},
    {0, "<!DOCTYPE", "a web page"},
    {0, "<html", "a web page"},
};

enum { LOOK_BYTES = 512 };

static mc_status fail_unknown(const mc_file *file, mc_error *error)
{
    unsigned char bytes[LOOK_BYTES] = {0};
    const int64_t size = mc_file_size(file);
    MC_TRY(mc_file_read(file, 0, bytes, (size_t)(size < LOOK_BYTES ? size : LOOK_BYTES), error));
    const char *found = size == 0 ? "an empty file" : "something else";
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        if (memcmp(bytes + strangers[i].offset, strangers[i].bytes, strlen(strangers[i].bytes)) ==
            0)
            found = strangers[i].name;
    return mc_fail(error, MC_UNSUPPORTED, "expected a safetensors or torch file, found %s", found);
}

mc_status mc_reader_find(const mc_file *file, const mc_reader **out, mc_error *error)
{
    unsigned char head[MC_PROBE_BYTES] = {0};
    const int64_t size = mc_file_size(file);
    MC_TRY(mc_file_read(file, 0, head, (size_t)(size < MC_PROBE_BYTES ? size : MC_PROBE_BYTES),
                        error));
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        if (readers[i]->probe(head, size)) {
            *out = readers[i];
            return MC_OK;
        }
    }
    return fail_unknown(file, error);
}

#include "checkpoint/reader.h"

#include <string.h>

/*
 * In the order in which they are probed: the header length of a safetensors file can look like the
 * beginning of a pickle.
 */
static const mc_reader *const readers[] = {
    &mc_reader_torch_zip,
    &mc_reader_safetensors,
    &mc_reader_torch_legacy,
};

/* Other formats that users pass by mistake, recognised by a signature at an offset. */
static const struct {
    int64_t offset;
    const char *bytes;
    const char *name;
} other_formats[] = {
    {0, "version https://git-lfs", "a Git LFS pointer instead of the file (run `git lfs pull`)"},
    {257, "ustar", "a tar file, as torch before 0.2 wrote: load and save it with a newer torch"},
    {0, "GGUF", "a GGUF file"},
    {0, "\x89HDF", "an HDF5 file (TensorFlow)"},
    {0, "\x1f\x8b", "a gzip file"},
    {0, "<!DOCTYPE", "a web page"},
    {0, "<html", "a web page"},
};

/*
 * The signature of tar is at byte 257. Shorter files are padded with zeros, which match no
 * signature.
 */
enum { SIGNATURE_BYTES = 512 };

static mc_status fail_unknown(const mc_file *file, mc_error *error)
{
    unsigned char bytes[SIGNATURE_BYTES] = {0};
    const int64_t size = mc_file_size(file);
    MC_TRY(mc_file_read(file, 0, bytes, (size_t)(size < SIGNATURE_BYTES ? size : SIGNATURE_BYTES),
                        error));
    const char *found = size == 0 ? "an empty file" : "something else";
    for (size_t i = 0; i < sizeof other_formats / sizeof *other_formats; i++)
        if (memcmp(bytes + other_formats[i].offset, other_formats[i].bytes,
                   strlen(other_formats[i].bytes)) == 0)
            found = other_formats[i].name;
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

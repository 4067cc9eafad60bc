#include "fuzz.h"

#include "tensor/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_TENSORS = 64, MOST_BYTES = 1 << 16 };

void fuzz_require(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

mc_file *fuzz_file(const void *data, size_t size)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file can be made");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    mc_file *file = NULL;
    fuzz_require(mc_file_open(path, &file, NULL) == MC_OK, "the file can be opened");
    close(fd);
    return file;
}

/* The first and the last bytes, and some of the elements as numbers. */
static void read_tensor(const mc_source *source)
{
    static unsigned char bytes[MOST_BYTES];
    static float values[MOST_BYTES];
    const int64_t size = source->bytes < MOST_BYTES ? source->bytes : MOST_BYTES;
    const int64_t count = source->count < MOST_BYTES ? source->count : MOST_BYTES;
    fuzz_require(mc_source_read_raw(source, 0, size, bytes, NULL) == MC_OK, "it can be read");
    fuzz_require(mc_source_read_raw(source, source->bytes - size, size, bytes, NULL) == MC_OK,
                 "its end can be read");
    if (mc_dtype_kind_of(source->dtype) == MC_KIND_FLOAT)
        fuzz_require(mc_source_read_f32(source, source->count - count, count, values, NULL) ==
                         MC_OK,
                     "it can be read as numbers");
}

void fuzz_check(mc_status status, const mc_error *error, const mc_state_dict *dict)
{
    fuzz_require(error->code == status, "the error has the status");
    if (status != MC_OK) {
        fuzz_require(error->text[0] != '\0', "the error has a text");
        return;
    }
    for (size_t i = 0; i < mc_state_dict_count(dict) && i < MOST_TENSORS; i++)
        read_tensor(mc_state_dict_source(dict, i));
}

void fuzz_reader(const mc_reader *reader, const void *data, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *dict = NULL;
    mc_file *const file = fuzz_file(data, size);
    fuzz_require(mc_state_dict_new(&dict, NULL) == MC_OK, "a dict can be made");
    fuzz_check(reader->read(file, dict, &error), &error, dict);
    mc_state_dict_free(dict);
    mc_file_unref(file);
}

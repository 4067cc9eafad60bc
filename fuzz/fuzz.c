#include "fuzz.h"

#include "base/hash.h"
#include "base/memory.h"
#include "tensor/source.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_TENSORS = 64, MOST_BYTES = 1 << 16, MEMORY_FAILS_IN = 8 /* inputs */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool memory_fails, counting;
static long allocations;

/* In place of the C library's: hash tables have the same order in every process. */
ssize_t getrandom(void *out, size_t size, unsigned flags)
{
    (void)flags;
    memset(out, 1, size);
    return (ssize_t)size;
}

void fuzz_require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

void fuzz_memory_back(void)
{
    if (counting)
        allocations = mc_memory_allocations();
    counting = false;
    mc_memory_fail_after(-1);
}

long fuzz_run(const uint8_t *data, size_t size, long allowed)
{
    memory_fails = allowed >= 0;
    counting = true;
    mc_memory_fail_after(memory_fails ? allowed : LONG_MAX);
    fuzz_input(data, size);
    fuzz_memory_back();
    fuzz_remove_files();
    return allocations;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_object_seed(1); /* as getrandom */
    const long count = fuzz_run(data, size, -1);
    const uint64_t hash = mc_hash_bytes(MC_HASH_START, data, size);
    if (count > 0 && hash % MEMORY_FAILS_IN == 0)
        fuzz_run(data, size, (long)(hash / MEMORY_FAILS_IN % (uint64_t)count));
    return 0;
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

void fuzz_check_status(mc_status status, const mc_error *error)
{
    fuzz_memory_back();
    fuzz_require(error->code == status, "the error has the status");
    fuzz_require(status == MC_OK || error->text[0] != '\0', "the error has a text");
    fuzz_require(status != MC_NO_MEMORY || memory_fails, "there is memory");
}

void fuzz_check(mc_status status, const mc_error *error, const mc_state_dict *dict)
{
    fuzz_check_status(status, error);
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(dict) && i < MOST_TENSORS; i++)
        read_tensor(mc_state_dict_source(dict, i));
}

mc_status fuzz_reader(const mc_reader *reader, const void *data, size_t size,
                      const mc_reader **found)
{
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *dict = NULL;
    mc_file *file = NULL;
    mc_notes notes = {0};
    mc_status status = fuzz_open(data, size, &file, &error);
    if (status == MC_OK && mc_reader_find(file, found, NULL) != MC_OK)
        *found = NULL;
    if (status == MC_OK)
        status = mc_state_dict_new(&dict, &error);
    if (status == MC_OK)
        status = reader->read(file, dict, &notes, &error);
    fuzz_check(status, &error, dict);
    mc_notes_free(&notes);
    mc_state_dict_free(dict);
    mc_file_unref(file);
    return status;
}

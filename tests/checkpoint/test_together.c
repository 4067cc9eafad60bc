/*
 * Processes that open one checkpoint together. Process 0 runs first and its messages are kept; then
 * process 1 receives them. It opens no weight file before it reads a tensor, and reads the same.
 */
#include "files.h"

#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "tensor/source.h"

enum { MESSAGES = 64 };

static struct {
    void *bytes;
    size_t size;
} messages[MESSAGES];
static size_t message_count, received;
static int aborted;

static mc_status broadcast(const mc_comm *comm, void *bytes, size_t size, int root, mc_error *error)
{
    (void)error;
    assert_int_equal(root, 0);
    if (comm->rank == 0) {
        assert_true(message_count < MESSAGES);
        messages[message_count].bytes = mc_alloc(size);
        messages[message_count].size = size;
        memcpy(messages[message_count++].bytes, bytes, size);
    } else {
        assert_true(received < message_count);
        assert_int_equal(size, messages[received].size);
        memcpy(bytes, messages[received++].bytes, size);
    }
    return MC_OK;
}

static void count_abort(const mc_comm *comm, const mc_error *error)
{
    assert_int_equal(comm->rank, 1);
    assert_int_equal(error->code, MC_MISMATCH);
    aborted++;
}

/* Opens of weight files. */
static int opened;

static int counting_open(int folder, const char *path, int flags, mode_t mode)
{
    opened += has_ending(path, ".safetensors") || has_ending(path, ".pt") ||
              has_ending(path, ".bin");
    return mc_system_real.open(folder, path, flags, mode);
}

typedef struct process {
    mc_comm comm;
    mc_checkpoint checkpoint;
    mc_status status;
    mc_error error;
    int opened;
} process;

static void open_both(const char *path, process *pair)
{
    message_count = received = 0;
    aborted = 0;
    for (int rank = 0; rank < 2; rank++) {
        process *const p = &pair[rank];
        opened = 0;
        *p = (process){.comm = {.rank = rank,
                                .size = 2,
                                .host = "here",
                                .broadcast = broadcast,
                                .abort = count_abort},
                       .checkpoint.comm = &p->comm,
                       .error = MC_ERROR_NONE};
        p->status = mc_checkpoint_open(path, NULL, &p->checkpoint, &p->error);
        p->opened = opened;
    }
    for (size_t i = 0; i < message_count; i++)
        mc_free(messages[i].bytes);
}

static void close_both(process *pair)
{
    mc_checkpoint_close(&pair[0].checkpoint);
    mc_checkpoint_close(&pair[1].checkpoint);
}

static void same_tensor(const mc_source *a, const mc_source *b)
{
    mc_error error = MC_ERROR_NONE;
    char *const x = mc_alloc((size_t)a->bytes), *const y = mc_alloc((size_t)a->bytes);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(mc_source_read_raw(a, 0, a->bytes, x, &error), MC_OK);
    assert_int_equal(mc_source_read_raw(b, 0, b->bytes, y, &error), MC_OK);
    assert_memory_equal(x, y, (size_t)a->bytes);
    mc_free(x);
    mc_free(y);
}

static void check_file(const char *name)
{
    process pair[2];
    char *const path = join(CHECKPOINTS, name);
    open_both(path, pair);
    const mc_state_dict *const first = pair[0].checkpoint.dict;
    const mc_state_dict *const other = pair[1].checkpoint.dict;
    assert_int_equal(pair[0].status, MC_OK);
    assert_int_equal(pair[1].status, MC_OK);
    assert_int_equal(received, message_count);
    assert_true(pair[0].opened > 0);
    assert_int_equal(pair[1].opened, 0);
    assert_int_equal(mc_state_dict_count(first), mc_state_dict_count(other));
    for (size_t i = 0; i < mc_state_dict_count(first); i++) {
        assert_string_equal(mc_state_dict_name(first, i), mc_state_dict_name(other, i));
        same_tensor(mc_state_dict_source(first, i), mc_state_dict_source(other, i));
    }
    close_both(pair);
    free(path);
}

/* Every format: the excerpt is what its reader reads, wherever that lies in the file. */
static void test_formats(void **state)
{
    (void)state;
    mc_system_calls calls = mc_system_real;
    calls.open = counting_open;
    mc_system = &calls;
    check_file("dtypes.safetensors");
    check_file("flat.pt");
    check_file("flat.bin");
    check_file("dtypes_p2.pt");
    check_file("lightning_p4.bin");
    mc_system = &mc_system_real;
}

/* What process 0 cannot read fails everywhere. */
static void test_failure(void **state)
{
    (void)state;
    process pair[2];
    open_both(CHECKPOINTS "/malformed/bad_hole.safetensors", pair);
    assert_int_equal(pair[0].status, MC_FORMAT);
    assert_int_equal(pair[1].status, MC_IO);
    assert_int_equal(aborted, 0);
    assert_non_null(strstr(pair[1].error.text, "process 0"));
    close_both(pair);
}

/* A file of another time, as on a machine with a copy of its own. */
static int other_stat(const char *path, struct stat *out)
{
    const int result = mc_system_real.stat(path, out);
    out->st_mtim.tv_sec++;
    return result;
}

static void test_another_file(void **state)
{
    (void)state;
    process pair[2];
    mc_system_calls calls = mc_system_real;
    calls.stat = other_stat; /* only process 1 examines a file by its name */
    mc_system = &calls;
    open_both(CHECKPOINTS "/dtypes.safetensors", pair);
    mc_system = &mc_system_real;
    assert_int_equal(pair[0].status, MC_OK);
    assert_int_equal(pair[1].status, MC_MISMATCH);
    assert_int_equal(aborted, 1);
    close_both(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

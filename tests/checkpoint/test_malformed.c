/*
 * Files that are wrong, on purpose or by accident: each must be refused with a text, or read;
 * nothing may crash, hang or leak. malformed/ has files and folders named after what must happen
 * (make_malformed.py); the others are made here of good ones.
 */
#include "files.h"

#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "tensor/source.h"

#define MALFORMED CHECKPOINTS "/malformed"

/*
 * Reads all of the tensors, as far as that is little: what was accepted must be readable, or say
 * why it is not.
 */
static void read_tensors(const mc_checkpoint *checkpoint)
{
    enum { MOST = 1 << 20 };
    for (size_t i = 0; i < mc_state_dict_count(checkpoint->dict); i++) {
        const mc_source *const source = mc_state_dict_source(checkpoint->dict, i);
        const int64_t size = source->bytes < MOST ? source->bytes : MOST;
        void *const bytes = malloc((size_t)size + 1);
        assert_non_null(bytes);
        assert_int_equal(mc_source_read_raw(source, 0, size, bytes, NULL), MC_OK);
        free(bytes);
    }
}

/* Opens it, whatever it is; a refusal must come with its status and a text. */
static mc_status try_open(const char *path, mc_error *error)
{
    mc_checkpoint checkpoint = {0};
    *error = (mc_error)MC_ERROR_NONE;
    const mc_status status = mc_checkpoint_open(path, NULL, &checkpoint, error);
    if (status == MC_OK) {
        read_tensors(&checkpoint);
    } else if (error->code != status || error->text[0] == '\0' || error->file[0] == '\0') {
        fail_msg("%s: status %d with an error that says: %s", path, (int)status, message_of(error));
    }
    mc_checkpoint_close(&checkpoint);
    return status;
}

static int is_ok(const char *name)
{
    return strncmp(name, "ok_", 3) == 0;
}

static int is_bad(const char *name)
{
    return strncmp(name, "bad_", 4) == 0;
}

static void check_ok(const char *folder, const char *name)
{
    char *const path = join(folder, name);
    mc_error error;
    if (try_open(path, &error) != MC_OK)
        fail_msg("%s", message_of(&error));
    free(path);
}

static void check_bad(const char *folder, const char *name)
{
    char *const path = join(folder, name);
    mc_error error;
    const mc_status status = try_open(path, &error);
    if (status == MC_OK || status == MC_NO_MEMORY)
        fail_msg("%s: expected to be refused, got status %d", name, (int)status);
    free(path);
}

static void test_verdicts(void **state)
{
    (void)state;
    assert_true(for_each_name(MALFORMED, is_ok, check_ok) >= 10);
    assert_true(for_each_name(MALFORMED, is_bad, check_bad) >= 150);
}

/* What the message must say, so that somebody can tell what is wrong. */
static const struct {
    const char *name;
    mc_status status;
    const char *words;
} messages[] = {
    {"bad_length_past_end.safetensors", MC_FORMAT, "expected a header of 10000 bytes"},
    {"bad_length_huge.safetensors", MC_FORMAT, "found a length of 9223372036854775807"},
    {"bad_length_negative.safetensors", MC_FORMAT, "found a length of 18446744073709551615"},
    {"bad_overlap.safetensors", MC_FORMAT, "tensor 'y': expected data to begin at byte 8"},
    {"bad_overlap.safetensors", MC_FORMAT, "(an overlap)"},
    {"bad_hole.safetensors", MC_FORMAT, "(a hole)"},
    {"bad_trailing.safetensors", MC_FORMAT, "expected 8 bytes of data as the header says, found 9"},
    {"bad_data_cut.safetensors", MC_FORMAT, "tensor 'x': expected data_offsets within 7 bytes"},
    {"bad_shape_negative.safetensors", MC_FORMAT, "integers from 0 up in the shape"},
    {"bad_shape_fraction.safetensors", MC_FORMAT, "integers from 0 up in the shape"},
    {"bad_size_differs.safetensors", MC_FORMAT, "expected 12 bytes for shape"},
    {"bad_dtype_unknown.safetensors", MC_UNSUPPORTED, "unknown dtype 'F31'"},
    {"bad_name_twice.safetensors", MC_FORMAT, "duplicate"},
    {"bad_lfs.safetensors", MC_UNSUPPORTED, "a Git LFS pointer"},
    {"bad_gguf.bin", MC_UNSUPPORTED, "a GGUF file"},
    {"bad_page.bin", MC_UNSUPPORTED, "a web page"},
    {"bad_empty.safetensors", MC_UNSUPPORTED, "an empty file"},
    {"bad_two_files", MC_NOT_FOUND, "model.safetensors.index.json"},
    {"bad_index_parent", MC_FORMAT, "without folders in weight_map, found '..'"},
    {"bad_index_parent_file", MC_FORMAT, "found '../ok_one.safetensors'"},
    {"bad_index_absolute", MC_FORMAT, "found '/etc/passwd'"},
    {"bad_index_empty", MC_FORMAT, "found ''"},
    {"bad_index_folder", MC_FORMAT, "found 'a/b.safetensors'"},
    {"bad_index_missing_file", MC_NOT_FOUND, "b.safetensors"},
    {"bad_index_missing_tensor", MC_FORMAT, "tensor 'y': expected the tensor in this file"},
    {"bad_call_reduce_os_system.pt", MC_UNSUPPORTED, "refused: the pickle refers to 'os.system'"},
    {"bad_call_reduce_posix_system.pt", MC_UNSUPPORTED, "'posix.system'"},
    {"bad_call_reduce_builtins_exec.pt", MC_UNSUPPORTED, "'builtins.exec'"},
    {"bad_call_reduce_builtins_eval.pt", MC_UNSUPPORTED, "'builtins.eval'"},
    {"bad_call_reduce_subprocess_Popen.pt", MC_UNSUPPORTED, "'subprocess.Popen'"},
    {"bad_call_newobj.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_newobj_ex.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_inst.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_obj.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_build.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_stack_global.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_stack_global_memo.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_extension_1.pt", MC_UNSUPPORTED, "refused: pickle instruction 0x82"},
    {"bad_call_in_state_dict.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_call_popped.pt", MC_UNSUPPORTED, "'os.system'"},
    {"bad_legacy_call.bin", MC_UNSUPPORTED, "'os.system'"},
    {"bad_legacy_call_in_keys.bin", MC_UNSUPPORTED, "'os.system'"},
    {"bad_legacy_data_cut.bin", MC_FORMAT, "it is not complete"},
    {"bad_pickle_memo_huge.pt", MC_FORMAT, "memo index 4294967295"},
    {"bad_pickle_frame_huge.pt", MC_FORMAT, "a frame of 18446744073709551615 bytes"},
    {"bad_pickle_dicts_of_one_list.pt", MC_FORMAT, "dicts of more items than it has bytes"},
    {"bad_pickle_storage_missing.pt", MC_FORMAT, "tensor 'x': its storage '1' is not in the file"},
    {"bad_pickle_storage_size.pt", MC_FORMAT, "expected 12 bytes in storage '0', found 8"},
    {"bad_pickle_root_tensor.pt", MC_UNSUPPORTED, "found a single tensor"},
    {"bad_pickle_protocol_6.pt", MC_UNSUPPORTED, "expected pickle protocol 2 to 5, found 6"},
    {"bad_zip_compressed.pt", MC_UNSUPPORTED, "'m/data.pkl' is compressed (method 8)"},
    {"bad_zip_bomb.pt", MC_UNSUPPORTED, "'m/data.pkl' is compressed (method 8)"},
    {"bad_zip_encrypted.pt", MC_UNSUPPORTED, "is encrypted"},
    {"bad_zip_sizes_differ.pt", MC_FORMAT, "its two sizes differ: 8 and 7"},
    {"bad_zip_parent_name.pt", MC_FORMAT, "stay inside the zip file, found '../x'"},
    {"bad_zip_overlapping.pt", MC_FORMAT, "'m/data/0' and 'm/data/1' overlap"},
    {"bad_zip_name_twice.pt", MC_FORMAT, "two members 'm/data/0'"},
    {"bad_zip_directory_cut.pt", MC_FORMAT, "the file is not complete"},
    {"bad_zip_no_pickle.pt", MC_UNSUPPORTED, "a zip file without NAME/data.pkl"},
    {"bad_zip_program.pt", MC_UNSUPPORTED, "a TorchScript program"},
    {"bad_zip_big_endian.pt", MC_UNSUPPORTED, "expected byte order little, found big"},
};

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        char *const path = join(MALFORMED, messages[i].name);
        mc_error error;
        const mc_status status = try_open(path, &error);
        if (status != messages[i].status || !strstr(message_of(&error), messages[i].words))
            fail_msg("%s: expected status %d and \"%s\", found status %d: %s", messages[i].name,
                     (int)messages[i].status, messages[i].words, (int)status, message_of(&error));
        free(path);
    }
}

static int is_any(const char *name)
{
    return is_ok(name) || is_bad(name);
}

/* Without memory at any point nothing leaks, whatever is wrong with the file as well. */
static void check_out_of_memory(const char *folder, const char *name)
{
    char *const path = join(folder, name);
    const mc_status status = open_as_memory_fails(path, 1000);
    assert_true((status == MC_OK) == (is_ok(name) != 0));
    free(path);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for_each_name(MALFORMED, is_any, check_out_of_memory);
}

/* ---- files that are made of good ones ---- */

static char *scratch; /* the folder for them */

static int set_up(void **state)
{
    (void)state;
    scratch = make_folder();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(scratch);
    return 0;
}

static int is_file_fixture(const char *name)
{
    return has_ending(name, ".pt") || has_ending(name, ".bin") || has_ending(name, ".safetensors");
}

typedef struct copy {
    char *path, *bytes;
    size_t size;
} copy;

static copy copy_of(const char *folder, const char *name)
{
    char *const original = join(folder, name);
    copy made = {.path = join(scratch, "copy")};
    made.bytes = load_file(original, &made.size);
    free(original);
    return made;
}

static void free_copy(copy *made)
{
    free(made->path);
    free(made->bytes);
}

/* Every format says how long it is, so that no beginning of a file can be taken for a whole. */
static void check_truncated(const char *folder, const char *name)
{
    copy one = copy_of(folder, name);
    const size_t step = one.size / 150 + 1;
    mc_error error;
    save_file(one.path, one.bytes, one.size);
    assert_int_equal(try_open(one.path, &error), MC_OK);
    for (size_t cut = 1; cut <= one.size; cut += cut < 30 ? 1 : step) {
        assert_int_equal(truncate(one.path, (off_t)(one.size - cut)), 0);
        if (try_open(one.path, &error) == MC_OK)
            fail_msg("%s is read without its last %zu bytes", name, cut);
    }
    free_copy(&one);
}

static void test_truncated(void **state)
{
    (void)state;
    assert_true(for_each_name(CHECKPOINTS, is_file_fixture, check_truncated) >= 20);
}

static uint64_t next_random(void)
{
    static uint64_t state = 20210;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 33;
}

/* A flipped byte of the data cannot be noticed; one elsewhere must not do harm. */
static void check_flipped(const char *folder, const char *name)
{
    enum { ROUNDS = 150 };
    copy one = copy_of(folder, name);
    mc_error error;
    size_t refused = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const size_t at = next_random() % one.size;
        const char before = one.bytes[at];
        one.bytes[at] ^= (char)(1 + next_random() % 255);
        save_file(one.path, one.bytes, one.size);
        refused += try_open(one.path, &error) != MC_OK;
        if (round % 3 != 0) /* else the damage adds up */
            one.bytes[at] = before;
    }
    if (refused == 0)
        fail_msg("%s is read whatever byte of it is changed", name);
    free_copy(&one);
}

static void test_flipped(void **state)
{
    (void)state;
    assert_true(for_each_name(CHECKPOINTS, is_file_fixture, check_flipped) >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test_setup_teardown(test_truncated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flipped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Where tensors go in the files that are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint/writer.h"

#include <string.h>

/* A tensor of zeros with `count` elements. */
static mc_source *tensor(mc_dtype dtype, int64_t count)
{
    static const char zeros[256];
    mc_source *source = NULL;
    assert_int_equal(mc_source_wrap(dtype, 1, &count, zeros, NULL, NULL, &source, NULL), MC_OK);
    return source;
}

/* a: 16 bytes, b: none, c: 24 bytes, d: 8 bytes. */
typedef struct four {
    mc_source *sources[4];
    mc_tensors tensors;
    mc_layout layout;
} four;

static const char *const names[] = {"a", "b", "c", "d"};

static void four_new(four *f, int64_t shard_size)
{
    *f = (four){
        .sources = {tensor(MC_F32, 4), tensor(MC_F32, 0), tensor(MC_F32, 6), tensor(MC_F16, 4)}};
    f->tensors = (mc_tensors){names, f->sources, 4};
    assert_int_equal(mc_writer_safetensors.lay_out(&f->tensors, shard_size, &f->layout, NULL),
                     MC_OK);
}

static void four_free(four *f)
{
    for (int i = 0; i < 4; i++)
        mc_source_unref(f->sources[i]);
    mc_layout_free(&f->layout);
}

static void test_one_file(void **state)
{
    (void)state;
    four f;
    four_new(&f, 1000);
    assert_int_equal(f.layout.count, 1);
    assert_string_equal(f.layout.shards[0].name, "model.safetensors");
    assert_null(f.layout.index);
    assert_int_equal(f.layout.bytes, 48);
    const int64_t header = (int64_t)f.layout.shards[0].header_size;
    assert_int_equal(header % 8, 0);
    const int64_t starts[] = {0, 16, 16, 40};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f.layout.slots[i].start, starts[i]);
        assert_int_equal(f.layout.slots[i].offset, header + starts[i]);
    }
    /* The header is a length and the JSON that describes where tensors lie. */
    assert_non_null(strstr(f.layout.shards[0].header + 8,
                           "\"c\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[16,40]}"));
    four_free(&f);
}

static void test_shards(void **state)
{
    (void)state;
    four f;
    four_new(&f, 24);
    assert_int_equal(f.layout.count, 3);
    assert_string_equal(f.layout.shards[1].name, "model-00002-of-00003.safetensors");
    assert_string_equal(f.layout.index_name, "model.safetensors.index.json");
    assert_non_null(strstr(f.layout.index, "\"d\": \"model-00003-of-00003.safetensors\""));
    const mc_shard *const second = &f.layout.shards[1];
    assert_int_equal(second->start, 16);
    assert_int_equal(second->bytes, 24);
    assert_int_equal(f.layout.slots[2].offset, second->header_size);
    four_free(&f);
}

/* How far a shard is written at a position of the stream: before, inside and after it. */
static void test_end(void **state)
{
    (void)state;
    four f;
    four_new(&f, 24);
    const mc_shard *const second = &f.layout.shards[1];
    const int64_t header = (int64_t)second->header_size;
    assert_int_equal(mc_layout_end(&f.layout, second, 0), header);
    assert_int_equal(mc_layout_end(&f.layout, second, 16), header);
    assert_int_equal(mc_layout_end(&f.layout, second, 20), header + 4);
    assert_int_equal(mc_layout_end(&f.layout, second, 40), header + 24);
    assert_int_equal(mc_layout_end(&f.layout, second, 48), header + 24);
    four_free(&f);
}

/* A format that aligns its tensors puts gaps between them. */
static void test_gaps(void **state)
{
    (void)state;
    mc_slot slots[] = {{0, 32}, {5, 64}};
    mc_shard shard = {.header_size = 32, .count = 2, .bytes = 12};
    const mc_layout layout = {
        .shards = &shard, .count = 1, .slots = slots, .slot_count = 2, .bytes = 12};
    assert_int_equal(mc_layout_end(&layout, &shard, 5), 37);
    assert_int_equal(mc_layout_end(&layout, &shard, 6), 65);
    assert_int_equal(mc_layout_end(&layout, &shard, 12), 71);
}

static void test_order(void **state)
{
    (void)state;
    const mc_writer *const writer = &mc_writer_safetensors;
    assert_true(writer->rank(MC_F64) < writer->rank(MC_F32));
    assert_true(writer->rank(MC_I64) == writer->rank(MC_F64));
    assert_true(writer->rank(MC_F32) < writer->rank(MC_BF16));
    assert_true(writer->rank(MC_BF16) < writer->rank(MC_U8));
}

static void test_bad_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"\xff", "__metadata__"};
    mc_source *const source = tensor(MC_F32, 1);
    for (int i = 0; i < 2; i++) {
        mc_layout layout = {0};
        const mc_tensors tensors = {&bad[i], &source, 1};
        assert_int_equal(mc_writer_safetensors.lay_out(&tensors, 100, &layout, NULL),
                         MC_UNSUPPORTED);
        mc_layout_free(&layout);
    }
    mc_source_unref(source);
}

static void test_repeated_name(void **state)
{
    (void)state;
    static const char *const repeated[] = {"a", "a"};
    mc_source *const source = tensor(MC_F32, 1);
    mc_source *sources[] = {source, source};
    const mc_tensors tensors = {repeated, sources, 2};
    mc_layout layout = {0};
    assert_int_equal(mc_writer_safetensors.lay_out(&tensors, 100, &layout, NULL), MC_USAGE);
    mc_layout_free(&layout);
    mc_source_unref(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file),      cmocka_unit_test(test_shards),
        cmocka_unit_test(test_end),           cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_order),         cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_repeated_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

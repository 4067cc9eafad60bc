/* Checksums: the values that the Python package xxhash gives, however the bytes are cut. */
#include "base/checksum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 4096 };

static unsigned char data[SIZE];

static const struct {
    size_t size;
    uint64_t value;
} expected[] = {
    {0, UINT64_C(0xef46db3751d8e999)},    {1, UINT64_C(0x1f25c8d0bc1f4bb6)},
    {3, UINT64_C(0xa020f3294a68c3b2)},    {4, UINT64_C(0x9a05810a0d610553)},
    {7, UINT64_C(0x85b3be277ada6206)},    {8, UINT64_C(0xe400a21c7735e336)},
    {12, UINT64_C(0xfee2c2b08b6c74e8)},   {31, UINT64_C(0x799631c30d7e3922)},
    {32, UINT64_C(0x6b7ead39b05fcc7c)},   {33, UINT64_C(0xb6d285b00d90e573)},
    {63, UINT64_C(0x765796fdb42cab38)},   {64, UINT64_C(0x7a9871c22557878c)},
    {100, UINT64_C(0xb261bdbad1498f82)},  {1000, UINT64_C(0x0b1fe4b92992ed62)},
    {4096, UINT64_C(0x9968df0d0a5f3c4e)},
};
enum { CASES = sizeof expected / sizeof *expected };

static int set_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SIZE; i++)
        data[i] = (unsigned char)(i * i * 31 + i * 7 + 3);
    return 0;
}

static uint64_t in_steps(size_t size, size_t step)
{
    mc_checksum sum;
    mc_checksum_begin(&sum);
    for (size_t at = 0; at < size; at += step)
        mc_checksum_add(&sum, data + at, size - at < step ? size - at : step);
    return mc_checksum_end(&sum);
}

static void test_values(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 3, 8, 31, 32, 33, 100, SIZE};
    for (size_t i = 0; i < CASES; i++)
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
            assert_int_equal(in_steps(expected[i].size, steps[k]), expected[i].value);
}

static void test_text(void **state)
{
    (void)state;
    char text[MC_CHECKSUM_TEXT];
    mc_checksum_text(UINT64_C(0xef46db3751d8e999), text);
    assert_string_equal(text, "ef46db3751d8e999");
    mc_checksum_text(1, text);
    assert_string_equal(text, "0000000000000001");
}

static void test_files(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    FILE *const file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, SIZE, file), SIZE);
    assert_int_equal(fflush(file), 0);
    const int fd = fileno(file);
    int64_t size = 0;
    uint64_t value = 0;
    assert_int_equal(mc_checksum_file(fd, "file", NULL, &size, &value, &error), MC_OK);
    assert_int_equal(size, SIZE);
    assert_int_equal(value, expected[CASES - 1].value);
    const int cancel = 1;
    assert_int_equal(mc_checksum_file(fd, "file", &cancel, &size, &value, &error), MC_INTERRUPTED);
    /* A part after what was added from memory, and one beyond the end. */
    mc_checksum sum;
    mc_checksum_begin(&sum);
    mc_checksum_add(&sum, data, 1000);
    assert_int_equal(mc_checksum_add_file(&sum, fd, "file", 1000, SIZE, &error), MC_OK);
    assert_int_equal(mc_checksum_end(&sum), expected[CASES - 1].value);
    assert_int_equal(mc_checksum_add_file(&sum, fd, "file", SIZE, SIZE + 1, &error), MC_IO);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}

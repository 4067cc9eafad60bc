/* Memory does not grow with the models: 600 MB of input are merged in a few. */
#include "merge/fixtures.h"

#include <fcntl.h>
#include <sys/resource.h>

enum { MODELS = 6, ELEMENTS = 25000000, MEMORY = 8 << 20, LIMIT = 32 << 20 };

/* A model of one tensor that takes no room on the disk: the file is a hole. */
static void make_sparse(const char *folder, const char *name)
{
    char header[128] = {0};
    snprintf(header + 8, sizeof header - 8,
             "{\"x\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%lld]}}", ELEMENTS,
             (long long)ELEMENTS * 4);
    const size_t length = strlen(header + 8);
    header[0] = (char)length; /* little-endian, below 128 */
    char *const path = path_of(folder, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, header, 8 + length), 8 + length);
    assert_int_equal(ftruncate(fd, (off_t)(8 + length) + (off_t)ELEMENTS * 4), 0);
    assert_int_equal(close(fd), 0);
    free(path);
}

static long peak_bytes(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss * 1024;
}

static void test_resident(void **state)
{
    (void)state;
    char *const folder = temporary_folder(), *const target = path_of(folder, "out");
    mc_model *models[MODELS];
    mc_plan *plan = NULL;
    mc_run_result result;
    for (int i = 0; i < MODELS; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.safetensors", i);
        make_sparse(folder, name);
        models[i] = open_model(folder, name);
    }
    const mc_plan_input input = {.method = mc_method_find("soup"),
                                 .models = (const mc_model *const *)models,
                                 .model_count = MODELS};
    const mc_run_options options = {.threads = 2, .memory = MEMORY, .no_sync = true};
    assert_done(mc_plan_new(&input, &plan, &error));
    const long before = peak_bytes();
    assert_done(mc_plan_run(plan, target, &options, &result, &error));
    assert_int_equal(result.bytes_read, INT64_C(4) * MODELS * ELEMENTS);
    assert_true(peak_bytes() - before < LIMIT);
    mc_plan_free(plan);
    for (int i = 0; i < MODELS; i++)
        mc_model_close(models[i]);
    free(target);
    remove_temporary(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resident)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

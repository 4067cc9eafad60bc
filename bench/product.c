/*
 * The machine's own product speed: oneDNN alone, 4096 × 768 times 768 × 3072, weights in its order,
 * on the threads that OMP_NUM_THREADS says. product f32|bf16|int8: GFLOP/s (of whole numbers: as
 * many operations) of the best of ten.
 */
#include <dnnl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 4096, IN = 768, OUT = 3072, RUNS = 10 };

#define CHECK(call_)                                                                               \
    do {                                                                                           \
        if ((call_) != dnnl_success) {                                                             \
            fprintf(stderr, "product: %s failed\n", #call_);                                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

#if DNNL_VERSION_MAJOR == 2
typedef dnnl_memory_desc_t description;
typedef const dnnl_memory_desc_t *description_ref;
#define REF(d_) (&(d_))
#define describe dnnl_memory_desc_init_by_tag
static dnnl_primitive_desc_t matmul(description *x, description *w, description *y,
                                    dnnl_engine_t engine)
{
    dnnl_primitive_desc_t result;
    dnnl_matmul_desc_t desc;
    CHECK(dnnl_matmul_desc_init(&desc, x, w, NULL, y));
    CHECK(dnnl_primitive_desc_create(&result, &desc, NULL, engine, NULL));
    return result;
}
#else
typedef dnnl_memory_desc_t description;
typedef const_dnnl_memory_desc_t description_ref;
#define REF(d_) (d_)
#define describe dnnl_memory_desc_create_with_tag
static dnnl_primitive_desc_t matmul(description *x, description *w, description *y,
                                    dnnl_engine_t engine)
{
    dnnl_primitive_desc_t result;
    CHECK(dnnl_matmul_primitive_desc_create(&result, engine, *x, *w, NULL, *y, NULL));
    return result;
}
#endif

/* Memory with numbers from −1 to 1: ones and zeros would be too easy. */
static dnnl_memory_t memory(description_ref desc, dnnl_data_type_t type, dnnl_engine_t engine)
{
    const size_t size = dnnl_memory_desc_get_size(desc);
    char *const bytes = malloc(size);
    const size_t width = type == dnnl_bf16 ? 2 : 4;
    const int whole = type != dnnl_bf16 && type != dnnl_f32;
    for (size_t i = 0; whole && bytes && i < size; i++)
        bytes[i] = (char)rand();
    for (size_t i = 0; !whole && bytes && i < size / width; i++) {
        const float value = (float)rand() / (float)RAND_MAX * 2 - 1;
        memcpy(bytes + i * width, (const char *)&value + 4 - width, width);
    }
    dnnl_memory_t result;
    CHECK(dnnl_memory_create(&result, desc, engine, bytes));
    return result;
}

int main(int argc, char **argv)
{
    const char *const name = argc > 1 ? argv[1] : "f32";
    const int int8 = strcmp(name, "int8") == 0;
    const dnnl_data_type_t type = int8 ? dnnl_s8 : strcmp(name, "bf16") == 0 ? dnnl_bf16 : dnnl_f32;
    const dnnl_data_type_t type_x = int8 ? dnnl_u8 : type, type_y = int8 ? dnnl_s32 : dnnl_f32;
    const dnnl_dims_t x = {ROWS, IN}, w = {IN, OUT}, y = {ROWS, OUT};
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    description dx, dw, dy;
    CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    CHECK(describe(&dx, 2, x, type_x, dnnl_ab));
    CHECK(describe(&dw, 2, w, type, dnnl_format_tag_any));
    CHECK(describe(&dy, 2, y, type_y, dnnl_ab));
    const dnnl_primitive_desc_t desc = matmul(&dx, &dw, &dy, engine);
    CHECK(dnnl_primitive_create(&primitive, desc));
    const description_ref packed = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, memory(REF(dx), type_x, engine)},
                                         {DNNL_ARG_WEIGHTS, memory(packed, type, engine)},
                                         {DNNL_ARG_DST, memory(REF(dy), type_y, engine)}};
    double best = 1e9;
    for (int i = 0; i < RUNS; i++) {
        const double start = now();
        CHECK(dnnl_primitive_execute(primitive, stream, 3, arguments));
        CHECK(dnnl_stream_wait(stream));
        const double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    printf("%.1f\n", 2.0 * ROWS * IN * OUT / best * 1e-9);
    return 0;
}

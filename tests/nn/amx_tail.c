/*
 * A fault of oneDNN, without mergecraft: y = x·W in bf16, where one row of x is 1 and all others
 * are NaN. Row 0 of y must be finite. With AMX, an affected version, and a width above 32 that is
 * not a multiple of 32, it is NaN: the kernel reads the last columns of each row in tiles of 32
 * numbers, on into the next row, and relies on zeros in W to cancel them. 0 · NaN is NaN.
 *
 *     cc tests/nn/amx_tail.c -ldnnl -o amx_tail && OMP_NUM_THREADS=1 ./amx_tail
 *
 * Prints a line per width; exit status 0 if all rows are right, 1 if the fault is there.
 */
#include <dnnl.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, OUT = 24, ONE = 0x3f80, NOT_A_NUMBER = 0x7fc0 };

static void must(dnnl_status_t status, const char *what)
{
    if (status != dnnl_success) {
        printf("%s: oneDNN's status %d\n", what, (int)status);
        exit(2);
    }
}

#if DNNL_VERSION_MAJOR == 2
typedef dnnl_memory_desc_t description;
typedef const dnnl_memory_desc_t *description_ref;
#define REF(d_) (&(d_))
#define describe dnnl_memory_desc_init_by_tag
#else
typedef dnnl_memory_desc_t description;
typedef const_dnnl_memory_desc_t description_ref;
#define REF(d_) (d_)
#define describe dnnl_memory_desc_create_with_tag
#endif

static dnnl_primitive_desc_t product(dnnl_engine_t engine, description_ref x, description_ref w,
                                     description_ref y)
{
    dnnl_primitive_desc_t made;
#if DNNL_VERSION_MAJOR == 2
    dnnl_matmul_desc_t matmul;
    must(dnnl_matmul_desc_init(&matmul, x, w, NULL, y), "matmul");
    must(dnnl_primitive_desc_create(&made, &matmul, NULL, engine, NULL), "matmul");
#else
    must(dnnl_matmul_primitive_desc_create(&made, engine, x, w, NULL, y, NULL), "matmul");
#endif
    return made;
}

static dnnl_memory_t memory(dnnl_engine_t engine, description_ref of, void *at)
{
    dnnl_memory_t made;
    must(dnnl_memory_create(&made, of, engine, at), "memory");
    return made;
}

static void run(dnnl_primitive_desc_t what, dnnl_stream_t stream, int count,
                const dnnl_exec_arg_t *arguments)
{
    dnnl_primitive_t primitive;
    must(dnnl_primitive_create(&primitive, what), "primitive");
    must(dnnl_primitive_execute(primitive, stream, count, arguments), "execute");
    must(dnnl_stream_wait(stream), "wait");
    dnnl_primitive_destroy(primitive);
}

/* Row 0 of y, which should be `in`, in each column. */
static float first_number(dnnl_engine_t engine, dnnl_stream_t stream, int64_t in,
                          const char **kernel)
{
    const dnnl_dims_t x_dims = {ROWS, in}, w_dims = {in, OUT}, y_dims = {ROWS, OUT};
    description x, any, plain, y;
    must(describe(&x, 2, x_dims, dnnl_bf16, dnnl_ab), "x");
    must(describe(&any, 2, w_dims, dnnl_bf16, dnnl_format_tag_any), "W");
    must(describe(&plain, 2, w_dims, dnnl_bf16, dnnl_ab), "W");
    must(describe(&y, 2, y_dims, dnnl_f32, dnnl_ab), "y");
    const dnnl_primitive_desc_t multiply = product(engine, REF(x), REF(any), REF(y));
    const description_ref packed = dnnl_primitive_desc_query_md(multiply, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_t reorder;
    must(dnnl_reorder_primitive_desc_create(&reorder, REF(plain), engine, packed, engine, NULL),
         "reorder");
    must(dnnl_primitive_desc_query(multiply, dnnl_query_impl_info_str, 0, (void *)kernel), "name");

    uint16_t *const x_bits = calloc(ROWS * (size_t)in, sizeof *x_bits);
    uint16_t *const w_bits = calloc(OUT * (size_t)in, sizeof *w_bits);
    for (size_t i = 0; i < ROWS * (size_t)in; i++)
        x_bits[i] = i < (size_t)in ? ONE : NOT_A_NUMBER;
    for (size_t i = 0; i < OUT * (size_t)in; i++)
        w_bits[i] = ONE;
    static float result[ROWS * OUT];
    const dnnl_memory_t from = memory(engine, REF(plain), w_bits);
    const dnnl_memory_t w = memory(engine, packed, DNNL_MEMORY_ALLOCATE);
    const dnnl_memory_t x_memory = memory(engine, REF(x), x_bits);
    const dnnl_memory_t y_memory = memory(engine, REF(y), result);
    run(reorder, stream, 2, (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, w}});
    run(multiply, stream, 3,
        (dnnl_exec_arg_t[]){
            {DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y_memory}});
    float worst = result[0];
    for (int i = 0; i < OUT; i++)
        worst = result[i] == (float)in ? worst : result[i];
    return worst;
}

int main(void)
{
    static const int64_t widths[] = {24, 32, 33, 40, 48, 64, 96, 100, 192, 768};
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int wrong = 0;
    must(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
    must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    const dnnl_version_t *const v = dnnl_version();
    printf("oneDNN %d.%d.%d, instruction set %#x\n", v->major, v->minor, v->patch,
           (unsigned)dnnl_get_effective_cpu_isa());
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const char *kernel = "";
        const float found = first_number(engine, stream, widths[i], &kernel);
        const int bad = !(found == (float)widths[i]);
        printf("width %lld (%s): %g%s\n", (long long)widths[i], kernel, (double)found,
               bad ? "  WRONG" : "");
        wrong += bad;
    }
    return wrong > 0;
}

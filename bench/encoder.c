/*
 * How fast sequences of token ids go through an encoder, against how fast oneDNN alone multiplies.
 * bench_encoder MODEL IDS f32|bf16|int8 [THREADS [RUNS [LOGITS]]]; encoder.py writes IDS and reads
 * LOGITS.
 *
 * IDS: int32 in the order of this machine: number of sequences, the length of each, all ids, all
 * segment types.
 */
#include "nn/encoder.h"
#include "base/error.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct input {
    int32_t *words; /* the file */
    size_t *starts;
    uint8_t *types;
    mc_batch batch;
} input;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int read_input(const char *path, input *in)
{
    FILE *const file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        return -1;
    const size_t size = (size_t)ftell(file);
    rewind(file);
    in->words = malloc(size);
    const int got = in->words && fread(in->words, 1, size, file) == size ? 0 : -1;
    fclose(file);
    if (got != 0)
        return -1;
    const size_t count = (size_t)in->words[0];
    in->starts = calloc(count + 1, sizeof *in->starts);
    for (size_t i = 0; in->starts && i < count; i++)
        in->starts[i + 1] = in->starts[i] + (size_t)in->words[1 + i];
    const size_t tokens = in->starts ? in->starts[count] : 0;
    in->types = malloc(tokens + 1);
    for (size_t i = 0; in->types && i < tokens; i++)
        in->types[i] = (uint8_t)in->words[1 + count + tokens + i];
    in->batch = (mc_batch){in->words + 1 + count, in->types, in->starts, count};
    return in->types ? 0 : -1;
}

static mc_status load(const char *model, mc_dtype dtype, int threads, mc_encoder **out,
                      mc_error *error)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", model);
    json_t *config = NULL;
    MC_TRY(mc_json_load(path, 1 << 24, &config, error));
    mc_status status = mc_encoder_new(config, path, dtype, out, error);
    json_decref(config);
    MC_TRY(status);
    mc_state_dict *weights = NULL;
    MC_TRY(mc_state_dict_open(model, &weights, error));
    status = mc_encoder_load(*out, weights, threads, NULL, error);
    mc_state_dict_free(weights);
    return status;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static mc_status measure(const mc_encoder *encoder, const input *in, int threads, int runs,
                         float *logits, double *median, mc_error *error)
{
    mc_scratch *scratch = NULL;
    MC_TRY(mc_scratch_new(&scratch, error));
    double *const seconds = calloc((size_t)runs, sizeof *seconds);
    mc_status status = MC_OK;
    for (int i = 0; i < runs && status == MC_OK && seconds; i++) {
        const double start = now();
        status = mc_encoder_logits(encoder, &in->batch, threads, NULL, scratch, logits, error);
        seconds[i] = now() - start;
    }
    qsort(seconds, (size_t)runs, sizeof *seconds, compare);
    *median = seconds[runs / 2];
    free(seconds);
    mc_scratch_free(scratch);
    return status;
}

static int report(const mc_error *error)
{
    char line[6000];
    fprintf(stderr, "bench_encoder: %s\n", mc_error_message(error, line, sizeof line));
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench_encoder MODEL IDS f32|bf16|int8 [THREADS [RUNS [LOGITS]]]\n");
        return 2;
    }
    const int threads = argc > 4 ? atoi(argv[4]) : 2, runs = argc > 5 ? atoi(argv[5]) : 3;
    input in = {0};
    if (read_input(argv[2], &in) != 0) {
        fprintf(stderr, "bench_encoder: cannot read %s\n", argv[2]);
        return 1;
    }
    mc_error error = MC_ERROR_NONE;
    mc_encoder *encoder = NULL;
    const double start = now();
    const mc_dtype dtype = strcmp(argv[3], "bf16") == 0   ? MC_BF16
                           : strcmp(argv[3], "int8") == 0 ? MC_I8
                                                          : MC_F32;
    if (load(argv[1], dtype, threads, &encoder, &error) != MC_OK)
        return report(&error);
    const double loaded = now() - start;
    const size_t labels = (size_t)mc_encoder_label_count(encoder);
    float *const logits = malloc(in.batch.count * labels * sizeof *logits);
    double median = 0;
    if (!logits || measure(encoder, &in, threads, runs, logits, &median, &error) != MC_OK)
        return report(&error);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    const double tokens = (double)in.starts[in.batch.count];
    printf("{\"load\": %.3f, \"run\": %.3f, \"tokens\": %.0f, \"tokens_per_second\": %.0f, "
           "\"peak_mb\": %.0f}\n",
           loaded, median, tokens, tokens / median, (double)usage.ru_maxrss / 1000);
    if (argc > 6) {
        FILE *const file = fopen(argv[6], "wb");
        if (!file ||
            fwrite(logits, sizeof *logits * labels, in.batch.count, file) != in.batch.count ||
            fclose(file) != 0)
            return 1;
    }
    mc_encoder_free(encoder);
    free(logits);
    free(in.types);
    free(in.starts);
    free(in.words);
    return 0;
}

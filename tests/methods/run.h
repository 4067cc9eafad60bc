/*
 * Runs a method on whole arrays, in one thread, cut into tiles as a test wants it: the contract of
 * method.h, written down plainly. Arrays are of the method's own real type.
 */
#ifndef MC_TESTS_METHODS_RUN_H
#define MC_TESTS_METHODS_RUN_H

#include <mergecraft/method.h>

#include "merge/params.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUN_MODELS = 256 };

/* The parameters of a layer, from settings as the command line has them: "k=0.2 weights=1,2". */
static inline mc_params *run_params(const mc_method *method, size_t model_count,
                                    const char *settings)
{
    char text[512], line[4096];
    const char *items[16];
    size_t count = 0;
    mc_error error = MC_ERROR_NONE;
    mc_params *params = NULL;
    snprintf(text, sizeof text, "%s", settings);
    for (char *rest = NULL, *item = strtok_r(text, " ", &rest); item;
         item = strtok_r(NULL, " ", &rest))
        items[count++] = item;
    if (mc_params_parse(method, items, count, model_count, &params, &error) != MC_OK) {
        fprintf(stderr, "%s\n", mc_error_message(&error, line, sizeof line));
        abort();
    }
    return params;
}

typedef struct run_cut {
    mc_layer layer;
    const void *models[RUN_MODELS];
} run_cut;

static inline const void *run_at(const void *array, size_t size, int64_t first)
{
    return array ? (const char *)array + size * (size_t)first : NULL;
}

/* None of the built-in methods fails on a layer. */
static inline void run_check(mc_status status)
{
    if (status != MC_OK)
        abort();
}

/* Tiles of MC_ROW methods are whole rows, of a leaf or more. */
static inline int64_t run_tile(const mc_method *method, const mc_layer *layer, int64_t tile)
{
    if (method->scope == MC_TENSOR)
        return layer->size > 0 ? layer->size : 1;
    if (method->scope != MC_ROW || layer->rank == 0 || layer->size == 0)
        return tile;
    const int64_t row = layer->shape[layer->rank - 1];
    const int64_t grain = row * ((MC_LEAF + row - 1) / row);
    return grain > tile ? grain : tile / grain * grain;
}

/* Calls a function of the method on a cut, with scratch that holds nothing. */
static inline void run_with_scratch(const mc_method *method, run_cut *cut,
                                    const mc_statistics *statistics, void *partial)
{
    const size_t size = method->scratch_bytes ? method->scratch_bytes(&cut->layer) : 0;
    cut->layer.scratch = size > 0 ? malloc(size) : NULL;
    if (cut->layer.scratch)
        memset(cut->layer.scratch, 0xff, size);
    run_check(partial ? statistics->accumulate(&cut->layer, partial) : method->apply(&cut->layer));
    free(cut->layer.scratch);
}

/* A part of a layer. */
static inline void run_cut_at(run_cut *cut, const mc_method *method, const mc_layer *whole,
                              int64_t first, int64_t count)
{
    const size_t size = method->real_size;
    assert(whole->model_count <= RUN_MODELS);
    cut->layer = *whole;
    cut->layer.first = first;
    cut->layer.count = (size_t)(whole->size - first < count ? whole->size - first : count);
    for (size_t m = 0; m < whole->model_count; m++)
        cut->models[m] = run_at(whole->models[m], size, first);
    cut->layer.models = (const mc_real *const *)cut->models;
    cut->layer.base = run_at(whole->base, size, first);
    cut->layer.merged = run_at(whole->merged, size, first);
    cut->layer.out = (mc_real *)(uintptr_t)run_at(whole->out, size, first);
}

/* The partial result of node `index` of `level` of the tree over all leaves. */
static inline void run_node(const mc_method *method, const mc_layer *whole, int level,
                            int64_t index, char *partial)
{
    const mc_statistics *const statistics = method->statistics;
    const size_t size = statistics->partial_size(whole);
    memset(partial, 0, size);
    if (level == 0) {
        run_cut cut;
        run_cut_at(&cut, method, whole, index * MC_LEAF, MC_LEAF);
        run_with_scratch(method, &cut, statistics, partial);
        return;
    }
    run_node(method, whole, level - 1, 2 * index, partial);
    if ((2 * index + 1) << (level - 1) < (whole->size + MC_LEAF - 1) / MC_LEAF) {
        char *const right = malloc(size);
        run_node(method, whole, level - 1, 2 * index + 1, right);
        statistics->combine(whole, partial, right);
        free(right);
    }
}

/*
 * Every tile into a partial result of its own, combined from the last to the first: the order does
 * not matter.
 */
static inline void run_order_free(const mc_method *method, const mc_layer *whole, int64_t stride,
                                  int64_t tile, char *total)
{
    const mc_statistics *const statistics = method->statistics;
    const size_t size = statistics->partial_size(whole);
    const int64_t wide = run_tile(method, whole, tile);
    const int64_t step = stride > 1 ? stride * MC_LEAF : wide;
    const int64_t taken = stride > 1 ? MC_LEAF : wide;
    char *const partial = malloc(size);
    memset(total, 0, size);
    const size_t zeros = statistics->partial_zeros ? statistics->partial_zeros(whole) : size;
    for (int64_t first = (whole->size - 1) / step * step; first >= 0 && whole->size > 0;
         first -= step) {
        run_cut cut;
        run_cut_at(&cut, method, whole, first, taken);
        memset(partial, 0xff, size); /* whoever asks for fewer zeros gets no more */
        memset(partial, 0, zeros);
        run_with_scratch(method, &cut, statistics, partial);
        statistics->combine(whole, total, partial);
    }
    free(partial);
}

static inline int run_levels(int64_t size)
{
    int level = 0;
    while ((int64_t)MC_LEAF << level < size)
        level++;
    return level;
}

/* Runs all rounds; the state is new memory. *rounds counts them. */
static inline void *run_statistics(const mc_method *method, mc_layer *whole, int64_t tile,
                                   int *rounds)
{
    const mc_statistics *const statistics = method->statistics;
    void *const state = calloc(1, statistics->state_size(whole));
    char *total = NULL;
    if (statistics->begin)
        statistics->begin(whole, state);
    whole->state = state;
    for (*rounds = 0;; ++*rounds) {
        free(total);
        total = calloc(1, statistics->partial_size(whole));
        const int64_t stride = statistics->stride ? statistics->stride(whole, *rounds) : 1;
        if (statistics->order_free)
            run_order_free(method, whole, stride, tile, total);
        else if (whole->size > 0)
            run_node(method, whole, run_levels(whole->size), 0, total);
        bool more = false;
        run_check(statistics->next(whole, *rounds, state, total, &more));
        if (!more)
            break;
    }
    ++*rounds;
    free(total);
    return state;
}

/* The statistics of a model that has one layer, of one run; the state is new memory. */
static inline void *run_model_statistics(const mc_method *method, mc_layer *whole)
{
    const mc_statistics *const statistics = method->model_statistics;
    void *const state = calloc(1, statistics->state_size(whole));
    bool more = true;
    if (statistics->begin)
        statistics->begin(whole, state);
    whole->model_state = state;
    for (int round = 0; more && statistics->partial_size(whole) > 0; round++) {
        assert(whole->size <= 64 * MC_LEAF);
        char *const total = calloc(1, statistics->partial_size(whole));
        run_cut cut;
        run_cut_at(&cut, method, whole, 0, whole->size);
        if (whole->size > 0)
            run_with_scratch(method, &cut, statistics, total);
        more = false;
        run_check(statistics->next(whole, round, state, total, &more));
        free(total);
    }
    return state;
}

/* Computes whole->out in tiles of `tile` elements. Returns the number of rounds of statistics. */
static inline int run_method(const mc_method *method, const mc_layer *layer, int64_t tile)
{
    mc_layer whole = *layer;
    int rounds = 0;
    void *const model_state = method->model_statistics ? run_model_statistics(method, &whole)
                                                       : NULL;
    whole.model_state = model_state;
    void *const state = method->statistics ? run_statistics(method, &whole, tile, &rounds) : NULL;
    whole.state = state;
    const int64_t step = run_tile(method, &whole, tile);
    for (int64_t first = 0; first < whole.size; first += step) {
        run_cut cut;
        run_cut_at(&cut, method, &whole, first, step);
        run_with_scratch(method, &cut, NULL, NULL);
    }
    free(model_state);
    free(state);
    return rounds;
}

#endif

/* Parts of the stream of all output tensors' bytes. */
#ifndef MC_MERGE_SPANS_H
#define MC_MERGE_SPANS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes begin … end − 1. */
typedef struct mc_span {
    int64_t begin, end;
} mc_span;

/* In order and apart from each other. Zero-initialise. */
typedef struct mc_spans {
    mc_span *items;
    size_t count, capacity;
} mc_spans;

/* Adds a span; those that it touches become one with it. Empty spans are ignored. */
mc_status mc_spans_add(mc_spans *spans, mc_span span, mc_error *error);
/* Adds what lies between begin and end and in no span of `spans`. */
mc_status mc_spans_missing(const mc_spans *spans, mc_span within, mc_spans *out, mc_error *error);
/* Whether one of them contains all of `span`. */
bool mc_spans_contain(const mc_spans *spans, mc_span span);
int64_t mc_spans_bytes(const mc_spans *spans);
void mc_spans_free(mc_spans *spans);

#endif

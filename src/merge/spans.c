#include "merge/spans.h"

#include "base/memory.h"

#include <string.h>

/* The number of spans that end before `position`: the place of a span that begins there. */
static size_t place_of(const mc_spans *spans, int64_t position)
{
    size_t i = 0;
    while (i < spans->count && spans->items[i].end < position)
        i++;
    return i;
}

mc_status mc_spans_add(mc_spans *spans, mc_span span, mc_error *error)
{
    if (span.end <= span.begin)
        return MC_OK;
    const size_t at = place_of(spans, span.begin);
    size_t last = at;
    for (; last < spans->count && spans->items[last].begin <= span.end; last++) {
        const mc_span other = spans->items[last];
        span.begin = other.begin < span.begin ? other.begin : span.begin;
        span.end = other.end > span.end ? other.end : span.end;
    }
    if (last == at && !MC_GROW(spans->items, spans->count, spans->capacity))
        return mc_fail_memory(error);
    /* The spans from `at` to `last` become one. */
    memmove(spans->items + at + 1, spans->items + last,
            (spans->count - last) * sizeof *spans->items);
    spans->items[at] = span;
    spans->count = spans->count - (last - at) + 1;
    return MC_OK;
}

mc_status mc_spans_missing(const mc_spans *spans, mc_span within, mc_spans *out, mc_error *error)
{
    for (size_t i = 0; i < spans->count && within.begin < within.end; i++) {
        const mc_span done = spans->items[i];
        if (done.end <= within.begin || done.begin >= within.end)
            continue;
        MC_TRY(mc_spans_add(out, (mc_span){within.begin, done.begin}, error));
        within.begin = done.end;
    }
    return mc_spans_add(out, within, error);
}

bool mc_spans_contain(const mc_spans *spans, mc_span span)
{
    /* The first that does not end before. */
    const size_t at = place_of(spans, span.begin);
    return at < spans->count && spans->items[at].begin <= span.begin &&
           spans->items[at].end >= span.end;
}

int64_t mc_spans_bytes(const mc_spans *spans)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < spans->count; i++)
        bytes += spans->items[i].end - spans->items[i].begin;
    return bytes;
}

void mc_spans_free(mc_spans *spans)
{
    mc_free(spans->items);
    *spans = (mc_spans){0};
}

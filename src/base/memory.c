#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* For tests. fail_after < 0 is the normal case and costs one relaxed load per allocation. */
static atomic_long allocations;
static atomic_long fail_after = -1;
static atomic_bool fail_once;

void mc_memory_fail_after(long count)
{
    allocations = 0;
    fail_once = false;
    fail_after = count;
}

void mc_memory_fail_once(long count)
{
    allocations = 0;
    fail_once = true;
    fail_after = count;
}

long mc_memory_allocations(void)
{
    return allocations;
}

static bool may_allocate(void)
{
    const long limit = atomic_load_explicit(&fail_after, memory_order_relaxed);
    if (limit < 0)
        return true;
    const long before = atomic_fetch_add(&allocations, 1);
    return fail_once ? before != limit : before < limit;
}

void *mc_alloc(size_t size)
{
    /* malloc(0) may return NULL, which would look like a failure. */
    return may_allocate() ? malloc(size ? size : 1) : NULL;
}

void *mc_alloc_zero(size_t count, size_t size)
{
    return may_allocate() ? calloc(count ? count : 1, size ? size : 1) : NULL;
}

void *mc_alloc_huge(size_t size)
{
    enum { HUGE_PAGE = 2 << 20 };
    const size_t whole = size / HUGE_PAGE * HUGE_PAGE;
    if (whole == 0)
        return mc_alloc(size);
    void *memory = NULL; /* aligned_alloc wants sizes that are multiples of the alignment */
    if (!may_allocate() || posix_memalign(&memory, HUGE_PAGE, size) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(memory, whole, MADV_HUGEPAGE); /* may fail: only advice */
#endif
    return memory;
}

void *mc_realloc(void *memory, size_t size)
{
    return may_allocate() ? realloc(memory, size ? size : 1) : NULL;
}

void mc_free(void *memory)
{
    free(memory);
}

char *mc_strndup(const char *text, size_t length)
{
    char *const copy = mc_alloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *mc_strdup(const char *text)
{
    return mc_strndup(text, strlen(text));
}

char *mc_format_list(const char *format, va_list arguments)
{
    /* The first vsnprintf only measures and uses up its list. */
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    char *const text = length < 0 ? NULL : mc_alloc((size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

char *mc_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *const text = mc_format_list(format, arguments);
    va_end(arguments);
    return text;
}

bool mc_grow(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    /* Doubling: n items cost O(n) copies in total. */
    const size_t wanted = *capacity ? *capacity * 2 : 8;
    if (wanted > SIZE_MAX / size)
        return false;
    void *const larger = mc_realloc(*items, wanted * size);
    if (!larger)
        return false;
    *items = larger;
    *capacity = wanted;
    return true;
}

/* The only way to the heap, so that tests can make any allocation fail. */
#ifndef MC_BASE_MEMORY_H
#define MC_BASE_MEMORY_H

#include <mergecraft/error.h>

#include <stdarg.h>
#include <stdbool.h>

/*
 * As malloc, calloc, realloc and free; sizes of 0 give a pointer that can be freed. NULL without
 * memory.
 */
void *mc_alloc(size_t size);
void *mc_alloc_zero(size_t count, size_t size);
void *mc_realloc(void *memory, size_t size);
void mc_free(void *memory);
/*
 * As mc_alloc, on huge pages if the system has them: for matrices of several megabytes, whose rows
 * would otherwise lie in as many pages. What does not fill a huge page lies on small ones.
 */
void *mc_alloc_huge(size_t size);

/* Copies of text; NULL without memory. */
char *mc_strdup(const char *text);
char *mc_strndup(const char *text, size_t length);
/* printf into new memory. */
char *mc_format(const char *format, ...) MC_PRINTF(1, 2);
char *mc_format_list(const char *format, va_list arguments) MC_PRINTF(1, 0);

/*
 * Makes room for one more item of `size` bytes in *items, which holds `count` and has room for
 * *capacity. False (and nothing changed) without memory.
 */
bool mc_grow(void **items, size_t count, size_t *capacity, size_t size);
#define MC_GROW(items_, count_, capacity_)                                                         \
    mc_grow((void **)&(items_), (count_), &(capacity_), sizeof *(items_))

/* Fails every allocation after the next `count` (for tests); a negative count switches it off. */
void mc_memory_fail_after(long count);
/* Fails only the one after the next `count`: later allocations succeed. */
void mc_memory_fail_once(long count);
/* Allocations made since the last mc_memory_fail_after or mc_memory_fail_once, while on. */
long mc_memory_allocations(void);

#endif

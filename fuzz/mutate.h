/*
 * Mutations that know the structure of an input: they get to what libFuzzer's own, which know only
 * bytes, seldom reach behind lengths, offsets and counts that must fit each other. A target uses
 * them in NAME_mutator.c.
 */
#ifndef MC_FUZZ_MUTATE_H
#define MC_FUZZ_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's: what a target may define, and mutations of plain bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

typedef struct fuzz_random {
    uint64_t state; /* any number */
} fuzz_random;

/* A number below `below`, which is not 0. */
uint32_t fuzz_draw(fuzz_random *random, size_t below);
/* A number at which something may change: small, large, around powers of two, or any. */
uint64_t fuzz_draw_number(fuzz_random *random);

/* Little-endian numbers of `width` bytes, at most 8. */
uint64_t fuzz_get(const uint8_t *bytes, size_t width);
void fuzz_set(uint8_t *bytes, size_t width, uint64_t number);

/*
 * Replaces `removed` bytes at `at` by `count` others; returns the new size, or changes nothing if
 * that were above max_size.
 */
size_t fuzz_splice(uint8_t *data, size_t size, size_t max_size, size_t at, size_t removed,
                   const void *bytes, size_t count);

/*
 * The size of the pickle instruction at the beginning of the bytes; all that is left, if it is cut
 * off. left is not 0.
 */
size_t fuzz_instruction_size(const uint8_t *bytes, size_t left);

/* Mutations as LLVMFuzzerMutate makes them, of a pickle and of JSON. */
size_t fuzz_mutate_pickle(uint8_t *data, size_t size, size_t max_size, fuzz_random *random);
size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t max_size, fuzz_random *random);

#endif

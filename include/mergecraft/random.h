/*
 * Random numbers that depend only on what they are for: (seed, layer, stream, element). Any piece
 * of a layer can be drawn by any thread in any order and holds the same numbers.
 *
 * The generator is Philox4x32 with ten rounds: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011. It maps a counter of four words and a key
 * of two to four words:
 *
 *     counter   element / 4 (low) | element / 4 (high) | stream | 0
 *     key       random_key (low)  | random_key (high)
 *     element e is word e % 4 of the result
 */
#ifndef MERGECRAFT_RANDOM_H
#define MERGECRAFT_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* splitmix64's last step: a bijection that spreads every bit over all. */
static inline uint64_t mc_random_mix(uint64_t value)
{
    value ^= value >> 30;
    value *= UINT64_C(0xbf58476d1ce4e5b9);
    value ^= value >> 27;
    value *= UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/*
 * The key of a layer: mix(mix(seed + 0x9e3779b97f4a7c15) ^ h), h being the 64-bit FNV-1a hash of
 * the name's bytes without its NUL. The additive constant keeps seed 0 away from mix's fixed point.
 */
static inline uint64_t mc_random_key(uint64_t seed, const char *layer_name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = layer_name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return mc_random_mix(mc_random_mix(seed + UINT64_C(0x9e3779b97f4a7c15)) ^ hash);
}

/* How many counters are computed side by side: a multiple of any vector's lanes. */
#define MC_RANDOM_LANES 32

/* Words of MC_RANDOM_LANES counters: word[w][lane]. */
typedef struct mc_random_words {
    uint32_t word[4][MC_RANDOM_LANES];
} mc_random_words;

/* The upper half of a product of two words. */
static inline uint32_t mc_random_high(uint32_t a, uint32_t b)
{
    return (uint32_t)(((uint64_t)a * b) >> 32);
}

/*
 * One round on all lanes. The halves of a product are written apart because compilers then see two
 * vector instructions.
 */
static inline void mc_random_round(mc_random_words *words, uint32_t key0, uint32_t key1)
{
    const uint32_t factor0 = UINT32_C(0xd2511f53), factor1 = UINT32_C(0xcd9e8d57);
    for (size_t i = 0; i < MC_RANDOM_LANES; i++) {
        const uint32_t a = words->word[0][i], b = words->word[2][i];
        words->word[0][i] = mc_random_high(b, factor1) ^ words->word[1][i] ^ key0;
        words->word[1][i] = b * factor1;
        words->word[2][i] = mc_random_high(a, factor0) ^ words->word[3][i] ^ key1;
        words->word[3][i] = a * factor0;
    }
}

/* The generator: counters in, random words out. */
static inline void mc_random_rounds(mc_random_words *words, uint64_t key)
{
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        mc_random_round(words, key0, key1);
        key0 += UINT32_C(0x9e3779b9);
        key1 += UINT32_C(0xbb67ae85);
    }
}

/* The 4 · MC_RANDOM_LANES numbers of the elements from 4 · block on. */
static inline void mc_random_block(uint64_t key, uint32_t stream, uint64_t block, uint32_t *out)
{
    mc_random_words words;
    for (size_t i = 0; i < MC_RANDOM_LANES; i++) {
        words.word[0][i] = (uint32_t)(block + i);
        words.word[1][i] = (uint32_t)((block + i) >> 32);
        words.word[2][i] = stream;
        words.word[3][i] = 0;
    }
    mc_random_rounds(&words, key);
    for (size_t i = 0; i < MC_RANDOM_LANES; i++)
        for (size_t w = 0; w < 4; w++)
            out[4 * i + w] = words.word[w][i];
}

/*
 * Writes the numbers of elements first … first + count − 1 (first ≥ 0) of a stream, each uniform
 * over all 32-bit values. `key` is layer->random_key; `stream` tells apart what needs independent
 * numbers within a layer, say the model's index.
 */
static inline void mc_random_u32(uint64_t key, uint32_t stream, int64_t first, size_t count,
                                 uint32_t *out)
{
    uint64_t block = (uint64_t)first / 4;
    size_t skip = (size_t)first % 4;
    while (count > 0) {
        uint32_t numbers[4 * MC_RANDOM_LANES];
        const size_t left = 4 * MC_RANDOM_LANES - skip;
        const size_t taken = count < left ? count : left;
        mc_random_block(key, stream, block, numbers);
        memcpy(out, numbers + skip, taken * sizeof *out);
        block += MC_RANDOM_LANES;
        out += taken;
        count -= taken;
        skip = 0;
    }
}

#endif

/*
 * Random numbers that depend only on what they are for: (seed, layer, stream, element). Any piece
 * of a layer can be drawn by any thread in any order and holds the same numbers.
 *
 * A method needs mc_random_u32, mc_random_u8 and mc_random_bernoulli, with layer->random_key. What
 * they are made of is inline beside them, because a plug-in is linked with nothing, and compiled
 * for the CPU level of the method that draws.
 *
 * The generator is Philox4x32 with ten rounds: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011. It maps a counter of four words and a key
 * of two to four words:
 *
 *     counter   element / 4 (low) | element / 4 (high) | stream | 0 (the other functions: more)
 *     key       random_key (low)  | random_key (high)
 *     element e is word e % 4 of the result
 */
#ifndef MERGECRAFT_RANDOM_H
#define MERGECRAFT_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <mergecraft/export.h>

MC_BEGIN_DECLS

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

/*
 * What a word is kept in. AVX-512 multiplies the lower halves of 64-bit lanes by one instruction,
 * so there a word has a lane to itself, and what is above its 32 bits means nothing.
 */
#ifdef __AVX512F__
typedef uint64_t mc_random_lane;
#else
typedef uint32_t mc_random_lane;
#endif

/* Words of MC_RANDOM_LANES counters: word[w][lane], the lower 32 bits of each. */
typedef struct mc_random_words {
    mc_random_lane word[4][MC_RANDOM_LANES];
} mc_random_words;

/* The multipliers of a round, and what is added to the two halves of the key after each. */
#define MC_RANDOM_FACTOR0 UINT32_C(0xd2511f53)
#define MC_RANDOM_FACTOR1 UINT32_C(0xcd9e8d57)
#define MC_RANDOM_STEP0 UINT32_C(0x9e3779b9)
#define MC_RANDOM_STEP1 UINT32_C(0xbb67ae85)

#ifdef __AVX512F__
/*
 * The generator: turns counters into random words. It uses intrinsics, because compilers clear the
 * upper halves of lanes before they multiply the lower ones. The loop below takes 1.5 times as
 * long.
 */
static inline void mc_random_rounds(mc_random_words *words, uint64_t key)
{
    enum { VECTORS = MC_RANDOM_LANES / 8, XOR3 = 0x96 }; /* the truth table of x ^ y ^ z */
    const __m512i factor0 = _mm512_set1_epi64(MC_RANDOM_FACTOR0);
    const __m512i factor1 = _mm512_set1_epi64(MC_RANDOM_FACTOR1);
    __m512i w0[VECTORS], w1[VECTORS], w2[VECTORS], w3[VECTORS];
    memcpy(w0, words->word[0], sizeof w0);
    memcpy(w1, words->word[1], sizeof w1);
    memcpy(w2, words->word[2], sizeof w2);
    memcpy(w3, words->word[3], sizeof w3);
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const __m512i k0 = _mm512_set1_epi64(key0), k1 = _mm512_set1_epi64(key1);
        for (int v = 0; v < VECTORS; v++) {
            const __m512i a = _mm512_mul_epu32(w0[v], factor0);
            const __m512i b = _mm512_mul_epu32(w2[v], factor1);
            w0[v] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(b, 32), w1[v], k0, XOR3);
            w1[v] = b;
            w2[v] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(a, 32), w3[v], k1, XOR3);
            w3[v] = a;
        }
        key0 += MC_RANDOM_STEP0;
        key1 += MC_RANDOM_STEP1;
    }
    memcpy(words->word[0], w0, sizeof w0);
    memcpy(words->word[1], w1, sizeof w1);
    memcpy(words->word[2], w2, sizeof w2);
    memcpy(words->word[3], w3, sizeof w3);
}
#else
/*
 * One round on all lanes. The halves of a product are written apart because compilers then see two
 * vector instructions.
 */
static inline void mc_random_round(mc_random_words *words, uint32_t key0, uint32_t key1)
{
    for (size_t i = 0; i < MC_RANDOM_LANES; i++) {
        const uint32_t a = words->word[0][i], b = words->word[2][i];
        words->word[0][i] = (uint32_t)((uint64_t)b * MC_RANDOM_FACTOR1 >> 32) ^ words->word[1][i] ^
                            key0;
        words->word[1][i] = b * MC_RANDOM_FACTOR1;
        words->word[2][i] = (uint32_t)((uint64_t)a * MC_RANDOM_FACTOR0 >> 32) ^ words->word[3][i] ^
                            key1;
        words->word[3][i] = a * MC_RANDOM_FACTOR0;
    }
}

/* The generator: counters in, random words out. */
static inline void mc_random_rounds(mc_random_words *words, uint64_t key)
{
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        mc_random_round(words, key0, key1);
        key0 += MC_RANDOM_STEP0;
        key1 += MC_RANDOM_STEP1;
    }
}
#endif

/* The counters from `block` on. */
static inline void mc_random_counters(mc_random_words *words, uint32_t stream, uint64_t block,
                                      uint32_t last)
{
    for (size_t i = 0; i < MC_RANDOM_LANES; i++) {
        words->word[0][i] = (uint32_t)(block + i);
        words->word[1][i] = (uint32_t)((block + i) >> 32);
        words->word[2][i] = stream;
        words->word[3][i] = last;
    }
}

/* The 4 · MC_RANDOM_LANES numbers of the elements from 4 · block on. */
static inline void mc_random_block(uint64_t key, uint32_t stream, uint64_t block, uint32_t *out)
{
    mc_random_words words;
    mc_random_counters(&words, stream, block, 0);
    mc_random_rounds(&words, key);
    for (size_t i = 0; i < MC_RANDOM_LANES; i++)
        for (size_t w = 0; w < 4; w++)
            out[4 * i + w] = (uint32_t)words.word[w][i];
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

/* Numbers of 8 bits that MC_RANDOM_LANES counters make, and the last word of their counters. */
#define MC_RANDOM_BYTES ((size_t)16 * MC_RANDOM_LANES)
#define MC_RANDOM_BYTES_WORD 17

/* The numbers of a group of MC_RANDOM_BYTES elements, in the order in which words are kept. */
static inline void mc_random_byte_group(uint64_t key, uint32_t stream, uint64_t group,
                                        uint8_t out[MC_RANDOM_BYTES])
{
    mc_random_words words;
    uint32_t narrow[4 * MC_RANDOM_LANES];
    mc_random_counters(&words, stream, group * MC_RANDOM_LANES, MC_RANDOM_BYTES_WORD);
    mc_random_rounds(&words, key);
    for (size_t w = 0; w < 4; w++)
        for (size_t i = 0; i < MC_RANDOM_LANES; i++)
            narrow[w * MC_RANDOM_LANES + i] = (uint32_t)words.word[w][i];
    memcpy(out, narrow, sizeof narrow);
}

/*
 * Writes the numbers of elements first … first + count − 1 (first ≥ 0) of a stream, each uniform
 * over all 8-bit values. It takes a quarter of the time of mc_random_u32. Calls that end at
 * multiples of MC_RANDOM_BYTES compute nothing twice.
 *
 * With o = e % 512, the number of element e is byte o % 4 (0: the lowest) of word o / 128 of the
 * result for the counter e / 512 · 32 + o / 4 % 32 | stream | 17.
 */
static inline void mc_random_u8(uint64_t key, uint32_t stream, int64_t first, size_t count,
                                uint8_t *out)
{
    uint64_t group = (uint64_t)first / MC_RANDOM_BYTES;
    size_t skip = (size_t)first % MC_RANDOM_BYTES;
    while (count > 0) {
        uint8_t numbers[MC_RANDOM_BYTES];
        const size_t left = MC_RANDOM_BYTES - skip, taken = count < left ? count : left;
        mc_random_byte_group(key, stream, group++, numbers);
        memcpy(out, numbers + skip, taken);
        out += taken;
        count -= taken;
        skip = 0;
    }
}

/* Elements that MC_RANDOM_LANES counters have a bit each for. */
#define MC_RANDOM_GROUP ((size_t)4 * 32 * MC_RANDOM_LANES)

/*
 * Compares the 16-bit numbers of a group's elements with a threshold, from the last digit on that
 * matters: those below it are as they are whatever they are. Bit e % 32 of bits[e / 32] is that of
 * element e of the group.
 */
static inline void mc_random_bits(uint64_t key, uint32_t stream, uint64_t group, uint16_t threshold,
                                  uint32_t bits[4 * MC_RANDOM_LANES])
{
    memset(bits, 0xff, 4 * MC_RANDOM_LANES * sizeof *bits);
    for (uint32_t digit = 0; digit < 16; digit++) {
        mc_random_words words;
        const uint32_t one = 0 - (uint32_t)(threshold >> digit & 1);
        if ((threshold & ((2u << digit) - 1)) == 0)
            continue;
        mc_random_counters(&words, stream, group * MC_RANDOM_LANES, digit + 1);
        mc_random_rounds(&words, key);
        for (size_t w = 0; w < 4; w++)
            for (size_t i = 0; i < MC_RANDOM_LANES; i++) {
                const uint32_t old = bits[w * MC_RANDOM_LANES + i];
                const uint32_t number = (uint32_t)words.word[w][i];
                bits[w * MC_RANDOM_LANES + i] = (old & number) | (~one & (old | number));
            }
    }
}

/*
 * out[i] = 1 with probability 1 − threshold / 2^16, else 0, for the elements first … first + count
 * − 1 (first ≥ 0) of a stream. Each has a number that is uniform over all 16-bit values, which is
 * compared with the threshold. A threshold with few binary digits costs few random bits: a half,
 * one. Pieces that end at multiples of MC_RANDOM_GROUP cost nothing twice.
 *
 * Digit d (0: the lowest) of the number of element e, o being e % 4096, is bit o % 32 of word
 * o / 1024 of the result for the counter e / 4096 · 32 + o / 32 % 32 | stream | d + 1.
 */
static inline void mc_random_bernoulli(uint64_t key, uint32_t stream, int64_t first, size_t count,
                                       uint16_t threshold, uint16_t *out)
{
    uint64_t group = (uint64_t)first / MC_RANDOM_GROUP;
    size_t skip = (size_t)first % MC_RANDOM_GROUP;
    while (count > 0) {
        uint32_t bits[4 * MC_RANDOM_LANES];
        uint16_t flags[32];
        mc_random_bits(key, stream, group++, threshold, bits);
        for (; count > 0 && skip < MC_RANDOM_GROUP; skip += 32 - skip % 32) {
            const uint32_t word = bits[skip / 32];
            const size_t left = 32 - skip % 32, taken = count < left ? count : left;
            uint16_t *const to = taken == 32 ? out : flags;
            for (size_t i = 0; i < 32; i++)
                to[i] = word >> i & 1;
            if (taken < 32)
                memcpy(out, flags + skip % 32, taken * sizeof *out);
            out += taken;
            count -= taken;
        }
        skip = 0;
    }
}

MC_END_DECLS

#endif

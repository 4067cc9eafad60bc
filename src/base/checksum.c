#include "base/checksum.h"

#include "base/memory.h"
#include "base/system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * The constants, rotations and their order are XXH64's. Each value is part of the format: the
 * result must equal that of xxhsum.
 */
#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64_C(0x165667B19E3779F9)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64_C(0x27D4EB2F165667C5)

/*
 * BLOCK is XXH64's stripe of four lanes of 8 bytes. READ_BYTES: large enough that the system call
 * costs nothing beside the hash.
 */
enum { BLOCK = 32, READ_BYTES = 1 << 20 };

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* Little-endian, as every machine that this builds for. */
static uint64_t load_64(const unsigned char *bytes)
{
    uint64_t x;
    memcpy(&x, bytes, sizeof x);
    return x;
}

static uint32_t load_32(const unsigned char *bytes)
{
    uint32_t x;
    memcpy(&x, bytes, sizeof x);
    return x;
}

static uint64_t mix_round(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * PRIME_2, 31) * PRIME_1;
}

void mc_checksum_begin(mc_checksum *sum)
{
    *sum = (mc_checksum){.lanes = {PRIME_1 + PRIME_2, PRIME_2, 0, -PRIME_1}};
}

/* Whole blocks. The four lanes are independent, so that their multiplications overlap. */
static void add_blocks(mc_checksum *sum, const unsigned char *bytes, size_t blocks)
{
    uint64_t a = sum->lanes[0], b = sum->lanes[1], c = sum->lanes[2], d = sum->lanes[3];
    for (const unsigned char *const end = bytes + blocks * BLOCK; bytes < end; bytes += BLOCK) {
        a = mix_round(a, load_64(bytes));
        b = mix_round(b, load_64(bytes + 8));
        c = mix_round(c, load_64(bytes + 16));
        d = mix_round(d, load_64(bytes + 24));
    }
    sum->lanes[0] = a, sum->lanes[1] = b, sum->lanes[2] = c, sum->lanes[3] = d;
}

void mc_checksum_add(mc_checksum *sum, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    /* Bytes of the previous calls that did not fill a block. */
    const size_t held = sum->size % BLOCK;
    sum->size += size;
    if (held) {
        const size_t taken = size < BLOCK - held ? size : BLOCK - held;
        memcpy(sum->rest + held, at, taken);
        if (held + taken < BLOCK)
            return;
        add_blocks(sum, sum->rest, 1);
        at += taken;
        size -= taken;
    }
    add_blocks(sum, at, size / BLOCK);
    if (size % BLOCK)
        memcpy(sum->rest, at + size / BLOCK * BLOCK, size % BLOCK);
}

static uint64_t merge_lanes(const mc_checksum *sum)
{
    const uint64_t *const v = sum->lanes;
    uint64_t hash = rotate(v[0], 1) + rotate(v[1], 7) + rotate(v[2], 12) + rotate(v[3], 18);
    for (int i = 0; i < 4; i++)
        hash = (hash ^ mix_round(0, v[i])) * PRIME_1 + PRIME_4;
    return hash;
}

uint64_t mc_checksum_end(const mc_checksum *sum)
{
    /* Texts shorter than a block never touch the lanes; XXH64 starts them from the seed instead. */
    uint64_t hash = (sum->size >= BLOCK ? merge_lanes(sum) : PRIME_5) + sum->size;
    const unsigned char *at = sum->rest;
    size_t left = sum->size % BLOCK;
    /* The rest is at most 31 bytes: by 8, then 4, then 1, each with its own constants. */
    for (; left >= 8; at += 8, left -= 8)
        hash = rotate(hash ^ mix_round(0, load_64(at)), 27) * PRIME_1 + PRIME_4;
    if (left >= 4) {
        hash = rotate(hash ^ load_32(at) * PRIME_1, 23) * PRIME_2 + PRIME_3;
        at += 4;
        left -= 4;
    }
    for (; left > 0; at++, left--)
        hash = rotate(hash ^ *at * PRIME_5, 11) * PRIME_1;
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    return hash ^ hash >> 32;
}

void mc_checksum_text(uint64_t value, char out[MC_CHECKSUM_TEXT])
{
    snprintf(out, MC_CHECKSUM_TEXT, "%016" PRIx64, value);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Reads up to `size` bytes; 0 at the end of the file, −1 and errno on failure. */
static ssize_t read_at(int fd, void *out, size_t size, int64_t from)
{
    ssize_t got;
    do
        got = mc_system->pread(fd, out, size, (off_t)from);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Adds bytes from `from` to `end`, or to the end of the file. *at: where it stopped. */
static mc_status add_range(mc_checksum *sum, int fd, const char *path, int64_t from, int64_t end,
                           const volatile int *cancel, int64_t *at, mc_error *error)
{
    char *const block = mc_alloc(READ_BYTES);
    mc_status status = block ? MC_OK : mc_fail_memory(error);
    /* A regular file's read returns 0 at its end: `got` stops the loop there. */
    ssize_t got = 1;
    for (*at = from; status == MC_OK && *at < end && got > 0; *at += got) {
        const int64_t size = end - *at < READ_BYTES ? end - *at : READ_BYTES;
        if (cancel && *cancel)
            status = mc_fail(error, MC_INTERRUPTED, "interrupted");
        else if ((got = read_at(fd, block, (size_t)size, *at)) < 0)
            status = mc_fail_errno(error, path, "cannot read it");
        if (status != MC_OK)
            break;
        mc_checksum_add(sum, block, (size_t)got);
    }
    mc_free(block);
    return status;
}

mc_status mc_checksum_add_file(mc_checksum *sum, int fd, const char *path, int64_t from,
                               int64_t end, mc_error *error)
{
    int64_t at = from;
    if (from >= end)
        return MC_OK;
    MC_TRY(add_range(sum, fd, path, from, end, NULL, &at, error));
    if (at == end)
        return MC_OK;
    return mc_fail_at(error, MC_IO, path, NULL, at, "expected %" PRId64 " bytes, found the end",
                      end);
}

mc_status mc_checksum_file(int fd, const char *path, const volatile int *cancel, int64_t *size,
                           uint64_t *value, mc_error *error)
{
    mc_checksum sum;
    mc_checksum_begin(&sum);
    /* The size is not known in advance: reads to the end and reports where that was. */
    MC_TRY(add_range(&sum, fd, path, 0, INT64_MAX, cancel, size, error));
    *value = mc_checksum_end(&sum);
    return MC_OK;
}

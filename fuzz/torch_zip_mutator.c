/*
 * The members of a zip file are taken apart, one of them is changed, and a file is made of them in
 * which all sizes and offsets are right again; or one number of the records is made wrong.
 */
#include "mutate.h"

#include <string.h>

enum { MOST_MEMBERS = 8, NAME_BYTES = 32, SPARE = 256, CAPACITY = 1 << 16 };

typedef struct member {
    uint8_t name[NAME_BYTES];
    size_t name_size;
    uint8_t *data; /* in `bytes` of the archive */
    size_t size;
} member;

typedef struct archive {
    member members[MOST_MEMBERS];
    size_t count;
    uint8_t bytes[CAPACITY]; /* of all members, each with SPARE behind it */
    size_t used;
} archive;

static bool add_member(archive *a, const uint8_t *name, size_t name_size, const uint8_t *data,
                       size_t size)
{
    if (a->count == MOST_MEMBERS || name_size > NAME_BYTES || size > CAPACITY - SPARE - a->used)
        return false;
    member *const one = &a->members[a->count++];
    memcpy(one->name, name, name_size);
    one->name_size = name_size;
    one->data = a->bytes + a->used;
    one->size = size;
    if (size > 0)
        memcpy(one->data, data, size);
    a->used += size + SPARE;
    return true;
}

/* By the local headers: they follow each other in the files that are kept. */
static void take_apart(const uint8_t *data, size_t size, archive *a)
{
    size_t at = 0;
    a->count = a->used = 0;
    while (size - at >= 30 && memcmp(data + at, "PK\3\4", 4) == 0) {
        const size_t name_size = fuzz_get(data + at + 26, 2), extra = fuzz_get(data + at + 28, 2);
        const size_t left = size - at - 30;
        size_t length = fuzz_get(data + at + 18, 4);
        if (name_size + extra > left)
            return;
        const uint8_t *const name = data + at + 30, *const body = name + name_size + extra;
        if (length == UINT32_MAX && extra >= 20)
            length = fuzz_get(name + name_size + 12, 8);
        if (length > left - name_size - extra || !add_member(a, name, name_size, body, length))
            return;
        at += 30 + name_size + extra + length;
    }
}

/* ---- changes ---- */

static void change_name(member *one, fuzz_random *random)
{
    static const char *const names[] = {"m/data.pkl",      "m/data/0",    "m/data/1", "m/byteorder",
                                        "m/version",       "n/data.pkl",  "../x",     "/x",
                                        "m/constants.pkl", "m/../data/0", "m\\x",     "m/data/2"};
    const char *const name = names[fuzz_draw(random, sizeof names / sizeof *names)];
    if (fuzz_draw(random, 4) == 0) {
        one->name_size = LLVMFuzzerMutate(one->name, one->name_size, NAME_BYTES);
        return;
    }
    one->name_size = strlen(name);
    memcpy(one->name, name, one->name_size);
}

static void change_size(member *one, fuzz_random *random)
{
    const size_t wanted = fuzz_draw(random, 4) ? fuzz_draw(random, 5) * 4 : fuzz_draw(random, 40);
    if (wanted > one->size + SPARE)
        return;
    if (wanted > one->size)
        memset(one->data + one->size, 0, wanted - one->size);
    one->size = wanted;
}

static bool is_pickle(const member *one)
{
    return one->name_size >= 4 && memcmp(one->name + one->name_size - 4, ".pkl", 4) == 0;
}

static void change_data(member *one, fuzz_random *random)
{
    if (is_pickle(one))
        one->size = fuzz_mutate_pickle(one->data, one->size, one->size + SPARE, random);
    else if (fuzz_draw(random, 2))
        change_size(one, random);
    else
        one->size = LLVMFuzzerMutate(one->data, one->size, one->size + SPARE);
}

static void change(archive *a, fuzz_random *random)
{
    const size_t which = fuzz_draw(random, a->count), other = fuzz_draw(random, a->count);
    member *const one = &a->members[which];
    switch (fuzz_draw(random, 16)) {
    case 0:
        change_name(one, random);
        break;
    case 1: {
        const member swapped = *one;
        *one = a->members[other];
        a->members[other] = swapped;
        break;
    }
    case 2:
        if (add_member(a, one->name, one->name_size, one->data, one->size) && fuzz_draw(random, 4))
            change_name(&a->members[a->count - 1], random);
        break;
    case 3:
        if (a->count > 1)
            *one = a->members[--a->count];
        break;
    case 4:
    case 5:
    case 6:
        change_data(one, random);
        break;
    default: /* most is in the pickle */
        for (size_t i = 0; i < a->count; i++)
            if (is_pickle(&a->members[i])) {
                change_data(&a->members[i], random);
                break;
            }
    }
}

/* ---- writing ---- */

typedef struct writer {
    uint8_t *out;
    size_t size, capacity;
    bool full;
} writer;

static void put(writer *w, const void *bytes, size_t count)
{
    w->full = w->full || count > w->capacity - w->size;
    if (w->full)
        return;
    if (count > 0)
        memcpy(w->out + w->size, bytes, count);
    w->size += count;
}

static void put_number(writer *w, size_t width, uint64_t number)
{
    uint8_t bytes[8];
    fuzz_set(bytes, width, number);
    put(w, bytes, width);
}

/*
 * The fields that the local header and the directory have alike: version to the sizes of name and
 * extra field.
 */
static void put_common(writer *w, const member *one, bool wide, size_t extra)
{
    put_number(w, 8, 0); /* version, flags, method, time */
    put_number(w, 6, 0); /* date, checksum: nobody looks */
    put_number(w, 4, wide ? UINT32_MAX : one->size);
    put_number(w, 4, wide ? UINT32_MAX : one->size);
    put_number(w, 2, one->name_size);
    put_number(w, 2, wide ? extra : 0);
}

static void put_local(writer *w, const member *one, bool wide)
{
    put(w, "PK\3\4", 4);
    put_common(w, one, wide, 20);
    put(w, one->name, one->name_size);
    if (wide) {
        put_number(w, 4, 1 | 16 << 16);
        put_number(w, 8, one->size);
        put_number(w, 8, one->size);
    }
    put(w, one->data, one->size);
}

static void put_entry(writer *w, const member *one, bool wide, size_t offset)
{
    put(w, "PK\1\2\0\0", 6);
    put_common(w, one, wide, 28);
    put_number(w, 8, 0); /* comment, disk, attributes */
    put_number(w, 2, 0);
    put_number(w, 4, wide ? UINT32_MAX : offset);
    put(w, one->name, one->name_size);
    if (wide) {
        put_number(w, 4, 1 | 24 << 16);
        put_number(w, 8, one->size);
        put_number(w, 8, one->size);
        put_number(w, 8, offset);
    }
}

static void put_end64(writer *w, size_t count, size_t directory)
{
    const size_t at = w->size;
    put(w, "PK\6\6", 4);
    put_number(w, 8, 44);
    put_number(w, 8, 0);
    put_number(w, 4, 0);
    put_number(w, 8, count);
    put_number(w, 8, count);
    put_number(w, 8, at - directory);
    put_number(w, 8, directory);
    put(w, "PK\6\7", 4);
    put_number(w, 4, 0);
    put_number(w, 8, at);
    put_number(w, 4, 1);
}

/* 0 if it does not fit. */
static size_t put_together(const archive *a, bool wide, uint8_t *out, size_t capacity)
{
    writer w = {out, 0, capacity, false};
    size_t offsets[MOST_MEMBERS];
    for (size_t i = 0; i < a->count; i++) {
        offsets[i] = w.size;
        put_local(&w, &a->members[i], wide);
    }
    const size_t directory = w.size;
    for (size_t i = 0; i < a->count; i++)
        put_entry(&w, &a->members[i], wide, offsets[i]);
    const size_t length = w.size - directory;
    if (wide)
        put_end64(&w, a->count, directory);
    put(&w, "PK\5\6\0\0\0", 8);
    put_number(&w, 2, a->count);
    put_number(&w, 2, a->count);
    put_number(&w, 4, length);
    put_number(&w, 4, directory);
    put_number(&w, 2, 0);
    return w.full ? 0 : w.size;
}

/* A number in one of the records, which begin with PK. */
static size_t make_wrong(uint8_t *data, size_t size, fuzz_random *random)
{
    enum { RECORD = 60 };
    for (int tries = 0; tries < 32 && size > RECORD; tries++) {
        const size_t at = fuzz_draw(random, size - RECORD);
        const uint8_t *const record = memmem(data + at, size - at, "PK", 2);
        if (!record)
            continue;
        const size_t place = (size_t)(record - data) + 4 + fuzz_draw(random, RECORD - 4);
        const size_t width = (size_t)1 << fuzz_draw(random, 4);
        if (place + width > size)
            continue;
        fuzz_set(data + place, width, fuzz_draw_number(random));
        break;
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static archive a;
    static uint8_t made[CAPACITY];
    fuzz_random random = {seed};
    const uint32_t choice = fuzz_draw(&random, 16);
    take_apart(data, size, &a);
    if (choice < 2 || a.count == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (choice < 4)
        return make_wrong(data, size, &random);
    change(&a, &random);
    const size_t now = put_together(&a, fuzz_draw(&random, 4) == 0, made,
                                    max_size < CAPACITY ? max_size : CAPACITY);
    if (now == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    memcpy(data, made, now);
    return now;
}

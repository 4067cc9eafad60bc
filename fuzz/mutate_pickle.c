/* Mutations of pickles, instruction by instruction. */
#include "mutate.h"

#include "checkpoint/torch_globals.h"

#include <string.h>

enum { MOST_INSTRUCTIONS = 1024, LONGEST_INSERT = 256 };

/*
 * How an instruction goes on: a number of bytes, a length of so many bytes and the bytes, or lines.
 */
static const struct {
    uint8_t opcode, fixed, length, lines;
} forms[] = {
    {'K', .fixed = 1},   {'M', .fixed = 2},   {'J', .fixed = 4},   {'G', .fixed = 8},
    {0x80, .fixed = 1},  {0x95, .fixed = 8},  {'q', .fixed = 1},   {'h', .fixed = 1},
    {'r', .fixed = 4},   {'j', .fixed = 4},   {0x82, .fixed = 1},  {'U', .length = 1},
    {0x8c, .length = 1}, {'C', .length = 1},  {0x8a, .length = 1}, {'X', .length = 4},
    {'T', .length = 4},  {'B', .length = 4},  {0x8b, .length = 4}, {0x8d, .length = 8},
    {0x8e, .length = 8}, {0x96, .length = 8}, {'c', .lines = 2},   {'i', .lines = 2},
    {'P', .lines = 1},   {'I', .lines = 1},   {'L', .lines = 1},
};

static size_t form_of(uint8_t opcode)
{
    size_t i = 0;
    while (i < sizeof forms / sizeof *forms && forms[i].opcode != opcode)
        i++;
    return i;
}

size_t fuzz_instruction_size(const uint8_t *bytes, size_t left)
{
    const size_t form = form_of(bytes[0]);
    if (form == sizeof forms / sizeof *forms)
        return 1;
    size_t size = 1 + (size_t)forms[form].fixed + forms[form].length;
    if (size > left)
        return left;
    if (forms[form].length > 0) {
        const uint64_t length = fuzz_get(bytes + 1, forms[form].length);
        return length > left - size ? left : size + (size_t)length;
    }
    for (int line = 0; line < forms[form].lines; line++) {
        const uint8_t *const end = memchr(bytes + size, '\n', left - size);
        if (!end)
            return left;
        size = (size_t)(end - bytes) + 1;
    }
    return size;
}

/* Where each instruction begins, and the end of the last. */
static size_t find_instructions(const uint8_t *data, size_t size, size_t starts[])
{
    size_t count = 0;
    for (size_t at = 0; at < size && count < MOST_INSTRUCTIONS;
         at += fuzz_instruction_size(data + at, size - at))
        starts[count++] = at;
    starts[count] = count == MOST_INSTRUCTIONS ? starts[count - 1] : size;
    return count;
}

/* What pickles of checkpoints are made of, and what could be used against their reader. */
#define SNIPPET(text_)                                                                             \
    {                                                                                              \
        text_, sizeof text_ - 1                                                                    \
    }
static const struct {
    const char *bytes;
    size_t size;
} snippets[] = {
    SNIPPET("("),
    SNIPPET("0"),
    SNIPPET("1"),
    SNIPPET("2"),
    SNIPPET("N"),
    SNIPPET("}"),
    SNIPPET("]"),
    SNIPPET(")"),
    SNIPPET("R"),
    SNIPPET("Q"),
    SNIPPET("a"),
    SNIPPET("b"),
    SNIPPET("d"),
    SNIPPET("e"),
    SNIPPET("l"),
    SNIPPET("o"),
    SNIPPET("s"),
    SNIPPET("t"),
    SNIPPET("u"),
    SNIPPET("."),
    SNIPPET("\x81"),
    SNIPPET("\x85"),
    SNIPPET("\x86"),
    SNIPPET("\x87"),
    SNIPPET("\x88"),
    SNIPPET("\x89"),
    SNIPPET("\x8f"),
    SNIPPET("\x90"),
    SNIPPET("\x91"),
    SNIPPET("\x92"),
    SNIPPET("\x93"),
    SNIPPET("\x94"),
    SNIPPET("q\x01"),
    SNIPPET("h\x01"),
    SNIPPET("r\x02\0\0\0"),
    SNIPPET("j\x02\0\0\0"),
    SNIPPET("K\x02"),
    SNIPPET("J\xff\xff\xff\xff"),
    SNIPPET("G\0\0\0\0\0\0\0\0"),
    SNIPPET("U\x01x"),
    SNIPPET("C\x01x"),
    SNIPPET("\x8c\x05model"),
    SNIPPET("\x8a\x08\0\0\0\0\0\0\0\x40"),
    SNIPPET("\x8b\x02\0\0\0\0\x80"),
    SNIPPET("\x8d\x01\0\0\0\0\0\0\0y"),
    SNIPPET("\x8e\x01\0\0\0\0\0\0\0y"),
    SNIPPET("\x96\x01\0\0\0\0\0\0\0y"),
    SNIPPET("\x95\x10\0\0\0\0\0\0\0"),
    SNIPPET("\x80\x04"),
    SNIPPET("cos\nsystem\n"),
    SNIPPET("ios\nsystem\n"),
    SNIPPET("\x8c\x02os\x8c\x06system\x93"),
    SNIPPET("X\x01\0\0\0w"
            "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
            "X\x01\0\0\0000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89}tRs"),
    SNIPPET("ccollections\nOrderedDict\n)R"),
    SNIPPET("ccollections\nOrderedDict\n](X\x01\0\0\0aN\x86\x65\x85R"),
};

/* GLOBAL of a name that the reader knows. */
static size_t write_global(char *out, size_t capacity, fuzz_random *random)
{
    size_t known = 0;
    while (mc_torch_globals[known].name)
        known++;
    const char *const name = mc_torch_globals[fuzz_draw(random, known)].name;
    const char *const dot = strrchr(name, '.');
    const size_t module = (size_t)(dot - name), member = strlen(dot + 1);
    if (module + member + 3 > capacity)
        return 0;
    out[0] = 'c';
    memcpy(out + 1, name, module);
    out[1 + module] = '\n';
    memcpy(out + 2 + module, dot + 1, member);
    out[2 + module + member] = '\n';
    return module + member + 3;
}

static size_t insert_something(uint8_t *data, size_t size, size_t max_size, size_t at,
                               size_t removed, fuzz_random *random)
{
    char global[LONGEST_INSERT];
    const size_t all = sizeof snippets / sizeof *snippets, choice = fuzz_draw(random, all + 8);
    if (choice < all)
        return fuzz_splice(data, size, max_size, at, removed, snippets[choice].bytes,
                           snippets[choice].size);
    return fuzz_splice(data, size, max_size, at, removed, global,
                       write_global(global, sizeof global, random));
}

/* Other bytes with a length that is right, or a number. */
static size_t change_argument(uint8_t *data, size_t size, size_t max_size, size_t at, size_t length,
                              fuzz_random *random)
{
    uint8_t changed[LONGEST_INSERT];
    const size_t form = form_of(data[at]);
    if (form == sizeof forms / sizeof *forms || length > sizeof changed)
        return insert_something(data, size, max_size, at, length, random);
    memcpy(changed, data + at, length);
    if (forms[form].fixed > 0 && length == 1u + forms[form].fixed) {
        fuzz_set(changed + 1, forms[form].fixed, fuzz_draw_number(random));
        return fuzz_splice(data, size, max_size, at, length, changed, length);
    }
    const size_t head = 1 + (size_t)forms[form].length;
    if (length < head)
        return size;
    /* Names keep their two ends of lines, mostly. */
    const size_t tail = forms[form].lines > 0 && length > head ? 1 : 0;
    const size_t room = sizeof changed < head + tail + 255 ? sizeof changed - head - tail : 255;
    const size_t body = LLVMFuzzerMutate(changed + head, length - head - tail, room);
    if (forms[form].length > 0)
        fuzz_set(changed + 1, forms[form].length, body);
    if (tail)
        changed[head + body] = '\n';
    return fuzz_splice(data, size, max_size, at, length, changed, head + body + tail);
}

static size_t copy_instructions(uint8_t *data, size_t size, size_t max_size, size_t from,
                                size_t length, size_t to)
{
    uint8_t copy[LONGEST_INSERT];
    if (length > sizeof copy)
        length = sizeof copy;
    memcpy(copy, data + from, length);
    return fuzz_splice(data, size, max_size, to, 0, copy, length);
}

size_t fuzz_mutate_pickle(uint8_t *data, size_t size, size_t max_size, fuzz_random *random)
{
    size_t starts[MOST_INSTRUCTIONS + 1];
    const size_t count = find_instructions(data, size, starts);
    if (count == 0 || fuzz_draw(random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    const size_t one = fuzz_draw(random, count), other = fuzz_draw(random, count);
    const size_t at = starts[one], length = starts[one + 1] - at;
    const size_t last = one + 1 + fuzz_draw(random, 8);
    const size_t run = starts[last < count ? last : count] - at;
    switch (fuzz_draw(random, 6)) {
    case 0:
        return insert_something(data, size, max_size, at, 0, random);
    case 1:
        return insert_something(data, size, max_size, at, length, random);
    case 2:
        return copy_instructions(data, size, max_size, at, run, starts[other]);
    case 3:
        return fuzz_splice(data, size, max_size, at, length, NULL, 0);
    default:
        return change_argument(data, size, max_size, at, length, random);
    }
}

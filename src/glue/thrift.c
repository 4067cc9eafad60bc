#include "glue/thrift.h"

/*
 * Parquet's own structures nest 6 deep; the bound keeps a crafted file from exhausting the stack.
 */
enum { MOST_NESTED = 32 };

/*
 * Errors are kept, not returned: every read after the first one fails at once, since nothing is
 * left, and the caller checks once per structure.
 */
static void fail(mc_thrift *t, const char *problem)
{
    if (!t->problem)
        t->problem = problem;
    t->at = t->end;
}

static unsigned read_byte(mc_thrift *t)
{
    if (t->at < t->end)
        return *t->at++;
    fail(t, "it ends too early");
    return 0;
}

static uint64_t read_varint(mc_thrift *t)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const unsigned byte = read_byte(t);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    fail(t, "an integer is longer than 64 bits");
    return 0;
}

/* Zigzag maps 0, −1, 1, −2 … to 0, 1, 2, 3 …, so that small negative numbers are short. */
static int64_t read_zigzag(mc_thrift *t)
{
    const uint64_t value = read_varint(t);
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

static void expect_type(mc_thrift *t, const mc_thrift_field *field, mc_thrift_type type)
{
    if (field->type != type)
        fail(t, "a field has another type than Parquet says");
}

bool mc_thrift_next(mc_thrift *t, mc_thrift_field *field)
{
    const unsigned head = read_byte(t);
    field->type = head & 0x0f;
    if (head == 0 || t->problem)
        return false;
    /* Short distances from the last id are part of the type byte. */
    if (head >> 4)
        field->id += head >> 4;
    else
        field->id = read_zigzag(t);
    if (field->id < 0 || field->id > INT16_MAX || field->type == 0 ||
        field->type > MC_THRIFT_STRUCT)
        fail(t, "a field has a number or a type that does not exist");
    return !t->problem;
}

int64_t mc_thrift_integer(mc_thrift *t, const mc_thrift_field *field)
{
    if (field->type == MC_THRIFT_I8)
        return (int8_t)read_byte(t);
    if (field->type < MC_THRIFT_I8 || field->type > MC_THRIFT_I64)
        expect_type(t, field, MC_THRIFT_I64);
    const int64_t value = read_zigzag(t);
    return t->problem ? 0 : value;
}

bool mc_thrift_bool(mc_thrift *t, const mc_thrift_field *field)
{
    if (field->type != MC_THRIFT_FALSE)
        expect_type(t, field, MC_THRIFT_TRUE);
    return field->type == MC_THRIFT_TRUE;
}

static const unsigned char *read_bytes(mc_thrift *t, size_t *size)
{
    const uint64_t length = read_varint(t);
    const unsigned char *const bytes = t->at;
    *size = 0;
    if (length > (size_t)(t->end - t->at)) {
        fail(t, "a text reaches beyond the end");
        return t->end;
    }
    *size = (size_t)length;
    t->at += length;
    return bytes;
}

const char *mc_thrift_text(mc_thrift *t, const mc_thrift_field *field, size_t *size)
{
    expect_type(t, field, MC_THRIFT_BINARY);
    return (const char *)read_bytes(t, size);
}

void mc_thrift_struct(mc_thrift *t, const mc_thrift_field *field)
{
    expect_type(t, field, MC_THRIFT_STRUCT);
}

/* An element takes at least one byte. */
static size_t check_length(mc_thrift *t, uint64_t length)
{
    if (length <= (size_t)(t->end - t->at))
        return (size_t)length;
    fail(t, "a list has more elements than there are bytes left");
    return 0;
}

static size_t read_list(mc_thrift *t, unsigned *type)
{
    const unsigned head = read_byte(t);
    *type = head & 0x0f;
    /* The upper half of the first byte is the length; 15 means that a varint follows. */
    return check_length(t, head >> 4 == 15 ? read_varint(t) : head >> 4);
}

size_t mc_thrift_structs(mc_thrift *t, const mc_thrift_field *field)
{
    unsigned type = 0;
    expect_type(t, field, MC_THRIFT_LIST);
    const size_t length = read_list(t, &type);
    if (length > 0 && type != MC_THRIFT_STRUCT)
        fail(t, "a list has elements of another type than Parquet says");
    return t->problem ? 0 : length;
}

static void skip_value(mc_thrift *t, unsigned type, unsigned depth);

static void skip_struct(mc_thrift *t, unsigned depth)
{
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field))
        skip_value(t, field.type, depth);
}

/* In a list, unlike in a field, a bool is a byte. */
static void skip_element(mc_thrift *t, unsigned type, unsigned depth)
{
    if (type == MC_THRIFT_TRUE || type == MC_THRIFT_FALSE)
        read_byte(t);
    else
        skip_value(t, type, depth);
}

static void skip_list(mc_thrift *t, unsigned depth)
{
    unsigned type = 0;
    for (size_t left = read_list(t, &type); left > 0 && !t->problem; left--)
        skip_element(t, type, depth);
}

static void skip_map(mc_thrift *t, unsigned depth)
{
    const size_t length = check_length(t, read_varint(t));
    /* An empty map has no byte for the types of keys and values. */
    const unsigned types = length > 0 ? read_byte(t) : 0;
    for (size_t left = length; left > 0 && !t->problem; left--) {
        skip_element(t, types >> 4, depth);
        skip_element(t, types & 0x0f, depth);
    }
}

static void skip_fixed(mc_thrift *t, size_t size)
{
    if (size > (size_t)(t->end - t->at))
        fail(t, "it ends too early");
    else
        t->at += size;
}

static void skip_value(mc_thrift *t, unsigned type, unsigned depth)
{
    size_t size;
    if (depth == 0)
        fail(t, "it is nested too deeply");
    else if (type >= MC_THRIFT_I16 && type <= MC_THRIFT_I64)
        read_varint(t);
    else if (type == MC_THRIFT_I8 || type == MC_THRIFT_DOUBLE)
        skip_fixed(t, type == MC_THRIFT_I8 ? 1 : 8);
    else if (type == MC_THRIFT_BINARY)
        read_bytes(t, &size);
    else if (type == MC_THRIFT_LIST || type == MC_THRIFT_SET)
        skip_list(t, depth - 1);
    else if (type == MC_THRIFT_MAP)
        skip_map(t, depth - 1);
    else if (type == MC_THRIFT_STRUCT)
        skip_struct(t, depth - 1);
    else if (type != MC_THRIFT_TRUE && type != MC_THRIFT_FALSE)
        fail(t, "a value has a type that does not exist");
}

void mc_thrift_skip(mc_thrift *t, unsigned type)
{
    skip_value(t, type, MOST_NESTED);
}

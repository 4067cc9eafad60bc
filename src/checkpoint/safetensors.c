/*
 * safetensors: 8 bytes of header length, a JSON header, the data.
 *
 *     {"__metadata__": {"format": "pt"},
 *      "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *
 * Offsets count from the end of the header. Every byte of the data belongs to exactly one tensor.
 */
#include "checkpoint/reader.h"
#include "checkpoint/stored.h"

#include "base/json_scan.h"
#include "base/memory.h"
#include "tensor/source.h"

#include <stdlib.h>
#include <string.h>

/* The limit is that of the reference implementation. */
enum { LENGTH_BYTES = 8, HEADER_LIMIT = 100000000 };

/* One tensor of the header. Names are borrowed from its text. */
typedef struct entry {
    const char *name;
    size_t position; /* in the header */
    mc_dtype dtype;
    int rank;
    int64_t shape[MC_MAX_RANK];
    int64_t begin, end;
} entry;

/* The ninth byte begins the JSON, which may have blanks before it. */
static bool probe(const unsigned char head[MC_PROBE_BYTES], int64_t size)
{
    return size > LENGTH_BYTES && head[LENGTH_BYTES] != '\0' &&
           strchr("{ \t\r\n", head[LENGTH_BYTES]);
}

static mc_status header_size(mc_file *file, int64_t *size, mc_error *error)
{
    const int64_t file_size = mc_file_size(file);
    if (file_size < LENGTH_BYTES)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, 0,
                          "expected a header length of %d bytes, but the file has only %lld bytes",
                          LENGTH_BYTES, (long long)file_size);
    unsigned char bytes[LENGTH_BYTES];
    MC_TRY(mc_file_read(file, 0, bytes, sizeof bytes, error));
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    /* Checked before memory is allocated. */
    if (length > HEADER_LIMIT)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, 0,
                          "expected a header of at most %d bytes, found a length of %llu",
                          HEADER_LIMIT, (unsigned long long)length);
    if ((int64_t)length > file_size - LENGTH_BYTES)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, 0,
                          "expected a header of %lld bytes, but only %lld bytes follow its length",
                          (long long)length, (long long)(file_size - LENGTH_BYTES));
    *size = (int64_t)length;
    return MC_OK;
}

static mc_status load_header(mc_file *file, int64_t size, char **out, mc_error *error)
{
    char *const text = mc_alloc((size_t)size);
    if (!text)
        return mc_fail_memory(error);
    const mc_status status = mc_file_read(file, LENGTH_BYTES, text, (size_t)size, error);
    if (status == MC_OK)
        *out = text;
    else
        mc_free(text);
    return status;
}

static mc_status skip_metadata(mc_scan *s, mc_error *error)
{
    if (mc_scan_peek(s) != '{') {
        const bool null = mc_scan_peek(s) == 'n';
        mc_scan_skip(s);
        MC_TRY(mc_scan_check(s, error));
        return null ? MC_OK : mc_fail(error, MC_FORMAT, "expected an object as __metadata__");
    }
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
        const char *const key = mc_scan_keep(s, mc_scan_name(s));
        if (!s->problem && mc_scan_peek(s) != '"') {
            mc_scan_skip(s);
            MC_TRY(mc_scan_check(s, error));
            return mc_fail(error, MC_FORMAT, "expected a string as '%s' in __metadata__", key);
        }
        mc_scan_skip(s);
    }
    return mc_scan_check(s, error);
}

static mc_status parse_dtype(mc_scan *s, entry *one, mc_error *error)
{
    if (mc_scan_peek(s) != '"')
        return mc_fail(error, MC_FORMAT, "expected a string as dtype");
    const char *const name = mc_scan_keep(s, mc_scan_string(s));
    MC_TRY(mc_scan_check(s, error));
    if (!mc_dtype_from_name(name, &one->dtype))
        return mc_fail(error, MC_UNSUPPORTED, "unknown dtype '%s'", name);
    return MC_OK;
}

/* An integer from 0 up; −1: the next value is something else. */
static int64_t take_integer(mc_scan *s)
{
    const char first = mc_scan_peek(s);
    if (first >= '0' && first <= '9')
        return mc_scan_integer(mc_scan_number(s), INT64_MAX);
    mc_scan_skip(s);
    return -1;
}

/* A 0-dimensional tensor has an empty array. */
static mc_status parse_shape(mc_scan *s, entry *one, mc_error *error)
{
    size_t rank = 0;
    if (mc_scan_peek(s) != '[')
        return mc_fail(error, MC_FORMAT, "expected an array as shape");
    for (bool more = mc_scan_open(s, '['); more; more = mc_scan_next(s, ']'), rank++) {
        const int64_t dimension = take_integer(s);
        MC_TRY(mc_scan_check(s, error));
        if (dimension < 0)
            return mc_fail(error, MC_FORMAT,
                           "expected integers from 0 up in the shape, dimension %zu is not", rank);
        if (rank < MC_MAX_RANK)
            one->shape[rank] = dimension;
    }
    MC_TRY(mc_scan_check(s, error));
    if (rank > MC_MAX_RANK)
        return mc_fail(error, MC_UNSUPPORTED, "expected at most %d dimensions, found %zu",
                       MC_MAX_RANK, rank);
    one->rank = (int)rank;
    return MC_OK;
}

static mc_status parse_offsets(mc_scan *s, entry *one, mc_error *error)
{
    int64_t numbers[2] = {0, 0};
    size_t count = 0;
    bool integers = mc_scan_peek(s) == '[';
    for (bool more = integers && mc_scan_open(s, '['); more; more = mc_scan_next(s, ']'), count++) {
        const int64_t number = take_integer(s);
        integers = integers && number >= 0;
        if (count < 2)
            numbers[count] = number;
    }
    MC_TRY(mc_scan_check(s, error));
    if (!integers || count != 2)
        return mc_fail(error, MC_FORMAT, "expected two integers from 0 up as data_offsets");
    one->begin = numbers[0];
    one->end = numbers[1];
    if (one->end < one->begin)
        return mc_fail(error, MC_FORMAT, "expected data_offsets in order, found [%lld, %lld]",
                       (long long)one->begin, (long long)one->end);
    return MC_OK;
}

/* The members of an entry. Any others are ignored. */
static const struct {
    const char *name;
    mc_status (*parse)(mc_scan *s, entry *one, mc_error *error);
} members[] = {{"dtype", parse_dtype}, {"shape", parse_shape}, {"data_offsets", parse_offsets}};

enum { MEMBERS = sizeof members / sizeof *members };

static mc_status parse_member(mc_scan *s, entry *one, unsigned *seen, mc_error *error)
{
    const mc_scan_text name = mc_scan_name(s);
    MC_TRY(mc_scan_check(s, error));
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (!mc_scan_is(name, members[i].name))
            continue;
        if (*seen & 1U << i)
            return mc_fail(error, MC_FORMAT, "expected one %s, found a duplicate", members[i].name);
        *seen |= 1U << i;
        return members[i].parse(s, one, error);
    }
    mc_scan_skip(s);
    return mc_scan_check(s, error);
}

static mc_status parse_entry(mc_scan *s, entry *one, mc_error *error)
{
    unsigned seen = 0;
    if (mc_scan_peek(s) != '{')
        return mc_fail(error, MC_FORMAT, "expected an object with dtype, shape and data_offsets");
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}'))
        MC_TRY(parse_member(s, one, &seen, error));
    MC_TRY(mc_scan_check(s, error));
    for (unsigned i = 0; i < MEMBERS; i++)
        if (!(seen & 1U << i))
            return mc_fail(error, MC_FORMAT, "expected dtype, shape and data_offsets, found no %s",
                           members[i].name);
    /* The shape is checked before its size is compared: the product must not overflow. */
    int64_t count, bytes;
    MC_TRY(mc_shape_count(one->dtype, one->rank, one->shape, &count, &bytes, error));
    if (bytes == one->end - one->begin)
        return MC_OK;
    char shape[128];
    return mc_fail(
        error, MC_FORMAT,
        "expected %lld bytes for shape %s of %s, but data_offsets [%lld, %lld] hold %lld",
        (long long)bytes, mc_shape_text(one->rank, one->shape, shape, sizeof shape),
        mc_dtype_name(one->dtype), (long long)one->begin, (long long)one->end,
        (long long)(one->end - one->begin));
}

/*
 * By offset, which is the order on disk. Empty tensors share their offset with the next tensor and
 * sort before it. `position` makes the order total, since qsort is not stable.
 */
static int compare_entries(const void *a, const void *b)
{
    const entry *const x = a, *const y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->position < y->position ? -1 : 1;
}

/* The tensors of a header. `capacity` is what `items` has room for. */
typedef struct entry_list {
    entry *items;
    size_t count, capacity;
} entry_list;

static mc_status parse_entries(mc_scan *s, entry_list *all, mc_error *error)
{
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
        const char *const name = mc_scan_keep(s, mc_scan_name(s));
        MC_TRY(mc_scan_check(s, error));
        if (strcmp(name, "__metadata__") == 0) {
            MC_TRY(skip_metadata(s, error));
            continue;
        }
        if (!MC_GROW(all->items, all->count, all->capacity))
            return mc_fail_memory(error);
        entry *const one = &all->items[all->count];
        *one = (entry){.name = name, .position = all->count++};
        MC_TRY(mc_in_tensor(error, name, parse_entry(s, one, error)));
    }
    mc_scan_end(s);
    return mc_scan_check(s, error);
}

/*
 * The next tensor must begin where the one before it ended: the format allows neither holes nor
 * overlaps, so that no byte of a file can hide.
 */
static mc_status check_place(const entry *one, int64_t expected, int64_t data_size, mc_error *error)
{
    if (one->begin != expected)
        return mc_fail(
            error, MC_FORMAT,
            "expected data to begin at byte %lld, where the tensor before it ends, found "
            "data_offsets [%lld, %lld] (%s)",
            (long long)expected, (long long)one->begin, (long long)one->end,
            one->begin < expected ? "an overlap" : "a hole");
    if (one->end > data_size)
        return mc_fail(error, MC_FORMAT,
                       "expected data_offsets within %lld bytes of data, found [%lld, %lld]",
                       (long long)data_size, (long long)one->begin, (long long)one->end);
    return MC_OK;
}

static mc_status add_entry(mc_file *file, const entry *one, int64_t data, mc_state_dict *dict,
                           mc_error *error)
{
    mc_source *source = NULL;
    /* The dict had no tensor before this file's. */
    if (mc_state_dict_find(dict, one->name))
        return mc_fail(error, MC_FORMAT, "expected one tensor of this name, found a duplicate");
    MC_TRY(mc_stored_new(file, data + one->begin, data + one->end, data + one->begin, one->dtype,
                         one->rank, one->shape, NULL, &source, error));
    const mc_status status = mc_state_dict_set(dict, one->name, source, error);
    mc_source_unref(source);
    return status;
}

static mc_status add_entries(mc_file *file, const entry *entries, size_t count, int64_t data,
                             mc_state_dict *dict, mc_error *error)
{
    const int64_t data_size = mc_file_size(file) - data;
    int64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        MC_TRY(
            mc_in_tensor(error, entries[i].name, check_place(&entries[i], end, data_size, error)));
        MC_TRY(
            mc_in_tensor(error, entries[i].name, add_entry(file, &entries[i], data, dict, error)));
        end = entries[i].end;
    }
    /* Bytes behind the last tensor would be a hole too. */
    if (end != data_size)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, data + end,
                          "expected %lld bytes of data as the header says, found %lld",
                          (long long)end, (long long)data_size);
    return MC_OK;
}

static mc_status parse_header(const char *text, int64_t size, entry_list *all, mc_error *error)
{
    mc_scan s = mc_scan_begin(text, 0, (size_t)size);
    const char first = mc_scan_peek(&s);
    if (first == '{')
        return parse_entries(&s, all, error);
    mc_scan_skip(&s);
    mc_scan_end(&s);
    MC_TRY(mc_scan_check(&s, error));
    return mc_fail_at(error, MC_FORMAT, NULL, NULL, LENGTH_BYTES,
                      "expected a JSON object as header");
}

static mc_status read_tensors(mc_file *file, const char *text, int64_t size, mc_state_dict *dict,
                              mc_error *error)
{
    entry_list all = {0};
    mc_status status = parse_header(text, size, &all, error);
    if (status == MC_OK && all.count > 0)
        qsort(all.items, all.count, sizeof *all.items, compare_entries);
    if (status == MC_OK)
        status = add_entries(file, all.items, all.count, LENGTH_BYTES + size, dict, error);
    mc_free(all.items);
    return status;
}

static mc_status read_file(mc_file *file, mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    (void)notes; /* every entry of a header is a tensor, or an error */
    int64_t size = 0;
    char *text = NULL;
    MC_TRY(header_size(file, &size, error));
    MC_TRY(load_header(file, size, &text, error));
    const mc_status status = read_tensors(file, text, size, dict, error);
    mc_free(text);
    return status;
}

const mc_reader mc_reader_safetensors = {.name = "safetensors", .probe = probe, .read = read_file};

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

#include "base/json.h"
#include "base/memory.h"
#include "tensor/source.h"

#include <stdlib.h>
#include <string.h>

/* The limit is that of the reference implementation. */
enum { LENGTH_BYTES = 8, HEADER_LIMIT = 100000000 };

/* One tensor of the header. Names are borrowed from the JSON. */
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

static mc_status load_header(mc_file *file, int64_t size, json_t **out, mc_error *error)
{
    char *const text = mc_alloc((size_t)size);
    if (!text)
        return mc_fail_memory(error);
    mc_status status = mc_file_read(file, LENGTH_BYTES, text, (size_t)size, error);
    if (status == MC_OK)
        status = mc_json_parse_unique(text, (size_t)size, out, error);
    mc_free(text);
    return status;
}

static mc_status check_metadata(json_t *metadata, mc_error *error)
{
    if (json_is_null(metadata))
        return MC_OK;
    if (!json_is_object(metadata))
        return mc_fail(error, MC_FORMAT, "expected an object as __metadata__");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return mc_fail(
        error, MC_FORMAT, "expected text in __metadata__ as '%s'", key);
    return MC_OK;
}

static mc_status parse_dtype(const json_t *value, mc_dtype *dtype, mc_error *error)
{
    if (!json_is_string(value))
        return mc_fail(error, MC_FORMAT, "expected a text as dtype");
    if (!mc_dtype_from_name(json_string_value(value), dtype))
        return mc_fail(error, MC_UNSUPPORTED, "unknown dtype '%s'", json_string_value(value));
    return MC_OK;
}

static mc_status parse_shape(const json_t *value, entry *one, mc_error *error)
{
    /* A 0-dimensional tensor has an empty array. */
    if (!json_is_array(value))
        return mc_fail(error, MC_FORMAT, "expected an array as shape");
    const size_t rank = json_array_size(value);
    if (rank > MC_MAX_RANK)
        return mc_fail(error, MC_UNSUPPORTED, "expected at most %d dimensions, found %zu",
                       MC_MAX_RANK, rank);
    one->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *const dimension = json_array_get(value, i);
        if (!json_is_integer(dimension) || json_integer_value(dimension) < 0)
            return mc_fail(error, MC_FORMAT,
                           "expected integers from 0 up in the shape, dimension %zu is not", i);
        one->shape[i] = json_integer_value(dimension);
    }
    return MC_OK;
}

static mc_status parse_offsets(const json_t *value, entry *one, mc_error *error)
{
    const json_t *const begin = json_array_get(value, 0), *const end = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return mc_fail(error, MC_FORMAT, "expected two integers as data_offsets");
    one->begin = json_integer_value(begin);
    one->end = json_integer_value(end);
    if (one->begin < 0 || one->end < one->begin)
        return mc_fail(error, MC_FORMAT,
                       "expected data_offsets from 0 up in order, found [%lld, %lld]",
                       (long long)one->begin, (long long)one->end);
    return MC_OK;
}

static mc_status parse_entry(const json_t *value, entry *one, mc_error *error)
{
    if (!json_is_object(value))
        return mc_fail(error, MC_FORMAT, "expected an object with dtype, shape and data_offsets");
    MC_TRY(parse_dtype(json_object_get(value, "dtype"), &one->dtype, error));
    MC_TRY(parse_shape(json_object_get(value, "shape"), one, error));
    MC_TRY(parse_offsets(json_object_get(value, "data_offsets"), one, error));
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

static mc_status parse_entries(json_t *header, entry *entries, size_t *count, mc_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            MC_TRY(check_metadata(value, error));
            continue;
        }
        entries[*count] = (entry){.name = name, .position = *count};
        MC_TRY(mc_in_tensor(error, name, parse_entry(value, &entries[*count], error)));
        ++*count;
    }
    qsort(entries, *count, sizeof *entries, compare_entries);
    return MC_OK;
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

static mc_status read_tensors(mc_file *file, json_t *header, int64_t data, mc_state_dict *dict,
                              mc_error *error)
{
    if (!json_is_object(header))
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, LENGTH_BYTES,
                          "expected a JSON object as header");
    entry *const entries = mc_alloc_zero(json_object_size(header), sizeof *entries);
    if (!entries)
        return mc_fail_memory(error);
    size_t count = 0;
    mc_status status = parse_entries(header, entries, &count, error);
    if (status == MC_OK)
        status = add_entries(file, entries, count, data, dict, error);
    mc_free(entries);
    return status;
}

static mc_status read_file(mc_file *file, mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    (void)notes; /* every entry of a header is a tensor, or an error */
    int64_t size = 0;
    json_t *header = NULL;
    MC_TRY(header_size(file, &size, error));
    MC_TRY(load_header(file, size, &header, error));
    const mc_status status = read_tensors(file, header, LENGTH_BYTES + size, dict, error);
    json_decref(header);
    return status;
}

const mc_reader mc_reader_safetensors = {.name = "safetensors", .probe = probe, .read = read_file};

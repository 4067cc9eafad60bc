#include "glue/parquet_values.h"

#include "base/memory.h"

#include <string.h>

const char *mc_parquet_encoding_name(int64_t encoding)
{
    static const char *const names[] = {
        "PLAIN",          "GROUP_VAR_INT",       "PLAIN_DICTIONARY",        "RLE",
        "BIT_PACKED",     "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
        "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"};
    return encoding >= 0 && encoding <= MC_PARQUET_BYTE_STREAM_SPLIT ? names[encoding] : "unknown";
}

static mc_status fail_short(const char *what, mc_error *error)
{
    return mc_fail(error, MC_FORMAT, "%s: the page ends before its last value", what);
}

/* Consumes bytes; false if there are too few. */
static bool take(mc_span *in, size_t size, const unsigned char **out)
{
    if (size > in->size)
        return false;
    *out = in->bytes;
    in->bytes += size;
    in->size -= size;
    return true;
}

/* A number of `size` (up to 8) bytes, little-endian. */
static uint64_t little_endian(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static bool take_varint(mc_span *in, uint64_t *out)
{
    const unsigned char *byte;
    *out = 0;
    /* LEB128: seven bits per byte, the lowest first; the highest bit means that more follow. */
    for (unsigned shift = 0; shift < 64 && take(in, 1, &byte); shift += 7) {
        *out |= (uint64_t)(*byte & 0x7f) << shift;
        if (!(*byte & 0x80))
            return true;
    }
    return false;
}

static bool take_zigzag(mc_span *in, uint64_t *out)
{
    if (!take_varint(in, out))
        return false;
    /* Zigzag: the lowest bit is the sign. */
    *out = *out >> 1 ^ (0 - (*out & 1));
    return true;
}

/* Number `index` of numbers packed with `width` (0 to 64) bits each, lowest bit first. */
static uint64_t unpack(const unsigned char *bytes, unsigned width, size_t index)
{
    const size_t first = index * width, end = first + width;
    uint64_t value = 0;
    for (size_t bit = first; bit < end;) {
        const unsigned in_byte = bit % 8;
        const size_t left = end - bit;
        const unsigned taken = left < 8 - in_byte ? (unsigned)left : 8 - in_byte;
        const uint64_t bits = (unsigned)(bytes[bit / 8] >> in_byte) & ((1u << taken) - 1);
        value |= bits << (bit - first);
        bit += taken;
    }
    return value;
}

/* ---- runs ---- */

/* Reads `groups` of eight numbers; padding at the end may be missing. Adds to *done. */
static bool read_packed_run(mc_span *in, unsigned width, uint64_t groups, size_t count,
                            uint32_t *out, size_t *done)
{
    const unsigned char *packed;
    const size_t left = count - *done;
    const size_t numbers = groups > left / 8 ? left : (size_t)groups * 8;
    /* `groups` comes from the file: compared first, so that the product cannot overflow. */
    const size_t bytes = groups > in->size ? in->size : (size_t)groups * width;
    /* Some writers leave out the padding of the last group. */
    const size_t there = bytes < in->size ? bytes : in->size;
    if (!take(in, there, &packed) || (numbers * width + 7) / 8 > there)
        return false;
    for (size_t i = 0; i < numbers; i++)
        out[*done + i] = (uint32_t)unpack(packed, width, i);
    *done += numbers;
    return true;
}

/* Reads one number that is repeated `run` times. Adds to *done. */
static bool read_repeated_run(mc_span *in, unsigned width, uint64_t run, size_t count,
                              uint32_t *out, size_t *done)
{
    const unsigned char *bytes;
    const size_t left = count - *done;
    const size_t numbers = run > left ? left : (size_t)run;
    if (!take(in, (width + 7) / 8, &bytes))
        return false;
    const uint32_t number = (uint32_t)little_endian(bytes, (width + 7) / 8);
    for (size_t i = 0; i < numbers; i++)
        out[*done + i] = number;
    *done += numbers;
    return true;
}

mc_status mc_parquet_read_runs(mc_span in, unsigned width, size_t count, uint32_t *out,
                               mc_error *error)
{
    if (width > 32)
        return mc_fail(error, MC_FORMAT, "expected numbers of at most 32 bits, found %u", width);
    /*
     * The hybrid of run lengths and bit packing, of the Parquet format:
     *
     *   run = header (varint), then
     *     lowest bit 1:  header >> 1 groups of eight numbers, packed
     *     lowest bit 0:  one number, header >> 1 times
     */
    for (size_t done = 0; done < count;) {
        uint64_t head;
        if (!take_varint(&in, &head) || !(head & 1 ? read_packed_run : read_repeated_run)(
                                            &in, width, head >> 1, count, out, &done))
            return fail_short("runs", error);
    }
    return MC_OK;
}

/* ---- numbers ---- */

static size_t size_of(mc_parquet_type type)
{
    return type == MC_PARQUET_INT32 || type == MC_PARQUET_FLOAT    ? 4
           : type == MC_PARQUET_INT64 || type == MC_PARQUET_DOUBLE ? 8
                                                                   : 0;
}

static mc_cell cell_of_bits(const mc_parquet_page *page, uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    mc_cell cell = {.kind = MC_CELL_INTEGER};
    float single;
    if (page->type == MC_PARQUET_INT64) {
        cell.integer = (int64_t)bits;
    } else if (page->type == MC_PARQUET_INT32) {
        cell.integer = page->is_unsigned ? (int64_t)low : (int32_t)low;
    } else {
        cell.kind = MC_CELL_REAL;
        memcpy(&single, &low, sizeof single);
        cell.real = (double)single;
        if (page->type == MC_PARQUET_DOUBLE)
            memcpy(&cell.real, &bits, sizeof cell.real);
    }
    return cell;
}

static mc_status plain_numbers(const mc_parquet_page *page, size_t count, mc_cell *out,
                               mc_error *error)
{
    const size_t size = size_of(page->type);
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): other types were rejected */
    if (count > page->values.size / size)
        return fail_short(mc_parquet_type_name(page->type), error);
    for (size_t i = 0; i < count; i++)
        out[i] = cell_of_bits(page, little_endian(page->values.bytes + i * size, size));
    return MC_OK;
}

/* All first bytes, then all second bytes, … */
static mc_status split_numbers(const mc_parquet_page *page, size_t count, mc_cell *out,
                               mc_error *error)
{
    const size_t size = size_of(page->type);
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): other types were rejected */
    if (count > page->values.size / size)
        return fail_short("BYTE_STREAM_SPLIT", error);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        for (size_t k = 0; k < size; k++)
            bits |= (uint64_t)page->values.bytes[k * count + i] << 8 * k;
        out[i] = cell_of_bits(page, bits);
    }
    return MC_OK;
}

static mc_status plain_bools(const mc_parquet_page *page, size_t count, mc_cell *out,
                             mc_error *error)
{
    if (count > page->values.size * 8)
        return fail_short("BOOLEAN", error);
    for (size_t i = 0; i < count; i++)
        out[i] = (mc_cell){.kind = MC_CELL_INTEGER,
                           .integer = page->values.bytes[i / 8] >> i % 8 & 1};
    return MC_OK;
}

static mc_status run_bools(const mc_parquet_page *page, size_t count, mc_cell *out, mc_error *error)
{
    mc_span in = page->values;
    const unsigned char *length;
    if (!take(&in, 4, &length) || little_endian(length, 4) > in.size)
        return fail_short("RLE", error);
    uint32_t *const bits = mc_alloc(count * sizeof *bits);
    if (!bits)
        return mc_fail_memory(error);
    in.size = (size_t)little_endian(length, 4);
    const mc_status status = mc_parquet_read_runs(in, 1, count, bits, error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        out[i] = (mc_cell){.kind = MC_CELL_INTEGER, .integer = bits[i] & 1};
    mc_free(bits);
    return status;
}

/* ---- differences ---- */

/*
 * DELTA_BINARY_PACKED:
 *
 *   page  = numbers per block, miniblocks per block, count, first number, then blocks
 *   block = smallest difference, a width in bits for each miniblock, then the miniblocks
 *   miniblock = differences minus the smallest one, packed with its width
 *
 * Sums wrap around, as the format says: unsigned arithmetic does so in C.
 */
typedef struct delta_header {
    uint64_t block, miniblocks, count, first;
} delta_header;

static mc_status read_delta_header(mc_span *in, size_t count, delta_header *h, mc_error *error)
{
    if (!take_varint(in, &h->block) || !take_varint(in, &h->miniblocks) ||
        !take_varint(in, &h->count) || !take_zigzag(in, &h->first))
        return fail_short("DELTA_BINARY_PACKED", error);
    if (h->miniblocks == 0 || h->block == 0 || h->block > UINT32_MAX ||
        h->block % h->miniblocks != 0 || h->block / h->miniblocks % 8 != 0)
        return mc_fail(error, MC_FORMAT,
                       "expected blocks of whole groups of 8 differences, found %llu in %llu parts",
                       (unsigned long long)h->block, (unsigned long long)h->miniblocks);
    if (h->count != count)
        return mc_fail(error, MC_FORMAT, "expected %zu differences in a page, found %llu", count,
                       (unsigned long long)h->count);
    return MC_OK;
}

/* Adds up the differences of one miniblock. */
static bool read_miniblock(mc_span *in, unsigned width, uint64_t size, uint64_t smallest,
                           size_t count, uint64_t *out, size_t *done)
{
    const unsigned char *packed;
    /* The product fits: blocks are below 2^32 numbers. */
    if (width > 64 || !take(in, (size_t)(size / 8 * width), &packed))
        return false;
    for (size_t i = 0; i < size && *done < count; i++, (*done)++)
        out[*done] = out[*done - 1] + smallest + unpack(packed, width, i);
    return true;
}

/* Consumes `count` (> 0) numbers. */
static mc_status read_deltas(mc_span *in, size_t count, uint64_t *out, mc_error *error)
{
    delta_header h = {0};
    MC_TRY(read_delta_header(in, count, &h, error));
    out[0] = h.first;
    for (size_t done = 1; done < count;) {
        uint64_t smallest;
        const unsigned char *widths;
        bool ok = take_zigzag(in, &smallest) && take(in, (size_t)h.miniblocks, &widths);
        /* The last block may lack miniblocks that no number needs. */
        for (uint64_t m = 0; ok && m < h.miniblocks && done < count; m++)
            ok = read_miniblock(in, widths[m], h.block / h.miniblocks, smallest, count, out, &done);
        if (!ok)
            return fail_short("DELTA_BINARY_PACKED", error);
    }
    return MC_OK;
}

static mc_status delta_numbers(const mc_parquet_page *page, size_t count, mc_cell *out,
                               mc_error *error)
{
    mc_span in = page->values;
    uint64_t *const numbers = mc_alloc(count * sizeof *numbers);
    if (!numbers)
        return mc_fail_memory(error);
    const mc_status status = read_deltas(&in, count, numbers, error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        out[i] = cell_of_bits(page, numbers[i]);
    mc_free(numbers);
    return status;
}

/* ---- texts ---- */

static mc_cell text_cell(const unsigned char *bytes, size_t size)
{
    return (mc_cell){.kind = MC_CELL_TEXT, .text = {(const char *)bytes, size}};
}

static mc_status plain_texts(const mc_parquet_page *page, size_t count, mc_cell *out,
                             mc_error *error)
{
    mc_span in = page->values;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *length, *bytes;
        if (!take(&in, 4, &length) || !take(&in, (size_t)little_endian(length, 4), &bytes))
            return fail_short("BYTE_ARRAY", error);
        out[i] = text_cell(bytes, (size_t)little_endian(length, 4));
    }
    return MC_OK;
}

/* All lengths, then all texts. */
static mc_status cut_texts(mc_span in, const uint64_t *lengths, size_t count, mc_cell *out,
                           mc_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const unsigned char *bytes;
        if (lengths[i] > in.size || !take(&in, (size_t)lengths[i], &bytes))
            return fail_short("DELTA_LENGTH_BYTE_ARRAY", error);
        out[i] = text_cell(bytes, (size_t)lengths[i]);
    }
    return MC_OK;
}

static mc_status delta_length_texts(mc_span in, size_t count, mc_cell *out, mc_error *error)
{
    uint64_t *const lengths = mc_alloc(count * sizeof *lengths);
    if (!lengths)
        return mc_fail_memory(error);
    mc_status status = read_deltas(&in, count, lengths, error);
    if (status == MC_OK)
        status = cut_texts(in, lengths, count, out, error);
    mc_free(lengths);
    return status;
}

/* Assembles texts from a prefix of the preceding text and the suffix that is in `out` already. */
static mc_status join_texts(mc_table *table, const uint64_t *prefixes, size_t count, mc_cell *out,
                            mc_error *error)
{
    uint64_t total = 0, before = 0;
    /* Prefixes make texts longer than the page: the total is bounded before memory is allocated. */
    for (size_t i = 0; i < count && total <= table->byte_limit; i++) {
        if (prefixes[i] > before)
            return mc_fail(error, MC_FORMAT,
                           "expected a prefix of at most the preceding text's length, found %llu "
                           "of %llu bytes",
                           (unsigned long long)prefixes[i], (unsigned long long)before);
        before = prefixes[i] + out[i].text.size;
        total += before;
    }
    void *memory = NULL;
    MC_TRY(mc_table_alloc(table, (size_t)total, &memory, error));
    char *to = memory;
    const char *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const size_t prefix = (size_t)prefixes[i], size = out[i].text.size;
        if (prefix > 0)
            memcpy(to, last, prefix);
        if (size > 0)
            memcpy(to + prefix, out[i].text.bytes, size);
        out[i].text.bytes = last = to;
        out[i].text.size = prefix + size;
        to += prefix + size;
    }
    return MC_OK;
}

static mc_status delta_texts(mc_table *table, const mc_parquet_page *page, size_t count,
                             mc_cell *out, mc_error *error)
{
    mc_span in = page->values;
    uint64_t *const prefixes = mc_alloc(count * sizeof *prefixes);
    if (!prefixes)
        return mc_fail_memory(error);
    mc_status status = read_deltas(&in, count, prefixes, error);
    if (status == MC_OK)
        status = delta_length_texts(in, count, out, error);
    if (status == MC_OK)
        status = join_texts(table, prefixes, count, out, error);
    mc_free(prefixes);
    return status;
}

/* ---- dictionaries ---- */

static mc_status look_up(const mc_parquet_page *page, const uint32_t *indices, size_t count,
                         mc_cell *out, mc_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (indices[i] >= page->dictionary_count)
            return mc_fail(error, MC_FORMAT,
                           "value %zu: expected an index below %zu into the dictionary, found %u",
                           i, page->dictionary_count, indices[i]);
        out[i] = page->dictionary[indices[i]];
    }
    return MC_OK;
}

static mc_status dictionary_values(const mc_parquet_page *page, size_t count, mc_cell *out,
                                   mc_error *error)
{
    mc_span in = page->values;
    const unsigned char *width;
    if (!page->dictionary)
        return mc_fail(error, MC_FORMAT, "expected a dictionary before a page that refers to it");
    /* The width of an index in bits, then runs. */
    if (!take(&in, 1, &width))
        return fail_short("RLE_DICTIONARY", error);
    uint32_t *const indices = mc_alloc(count * sizeof *indices);
    if (!indices)
        return mc_fail_memory(error);
    mc_status status = mc_parquet_read_runs(in, *width, count, indices, error);
    if (status == MC_OK)
        status = look_up(page, indices, count, out, error);
    mc_free(indices);
    return status;
}

/* ---- dispatch ---- */

static mc_status fail_encoding(const mc_parquet_page *page, mc_error *error)
{
    return mc_fail(error, MC_UNSUPPORTED, "unsupported encoding: %s in %s (%lld)",
                   mc_parquet_type_name(page->type), mc_parquet_encoding_name(page->encoding),
                   (long long)page->encoding);
}

static mc_status decode_texts(mc_table *table, const mc_parquet_page *page, size_t count,
                              mc_cell *out, mc_error *error)
{
    switch (page->encoding) {
    case MC_PARQUET_PLAIN:
        return plain_texts(page, count, out, error);
    case MC_PARQUET_DELTA_LENGTH_BYTE_ARRAY:
        return delta_length_texts(page->values, count, out, error);
    case MC_PARQUET_DELTA_BYTE_ARRAY:
        return delta_texts(table, page, count, out, error);
    default:
        return fail_encoding(page, error);
    }
}

static mc_status decode_numbers(const mc_parquet_page *page, size_t count, mc_cell *out,
                                mc_error *error)
{
    const bool whole = page->type == MC_PARQUET_INT32 || page->type == MC_PARQUET_INT64;
    if (page->encoding == MC_PARQUET_PLAIN)
        return plain_numbers(page, count, out, error);
    if (page->encoding == MC_PARQUET_BYTE_STREAM_SPLIT)
        return split_numbers(page, count, out, error);
    if (page->encoding == MC_PARQUET_DELTA_BINARY_PACKED && whole)
        return delta_numbers(page, count, out, error);
    return fail_encoding(page, error);
}

static mc_status decode_bools(const mc_parquet_page *page, size_t count, mc_cell *out,
                              mc_error *error)
{
    if (page->encoding == MC_PARQUET_PLAIN)
        return plain_bools(page, count, out, error);
    if (page->encoding == MC_PARQUET_RLE)
        return run_bools(page, count, out, error);
    return fail_encoding(page, error);
}

mc_status mc_parquet_decode(mc_table *table, const mc_parquet_page *page, size_t count,
                            mc_cell *out, mc_error *error)
{
    if (count == 0)
        return MC_OK;
    if (page->encoding == MC_PARQUET_PLAIN_DICTIONARY ||
        page->encoding == MC_PARQUET_RLE_DICTIONARY)
        return dictionary_values(page, count, out, error);
    if (page->type == MC_PARQUET_BYTE_ARRAY)
        return decode_texts(table, page, count, out, error);
    if (page->type == MC_PARQUET_BOOLEAN)
        return decode_bools(page, count, out, error);
    return decode_numbers(page, count, out, error);
}

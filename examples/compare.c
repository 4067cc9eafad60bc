/*
 * Prints how much models differ from a merge of them.
 *
 *     compare MERGED MODEL...
 *
 * prints one line per model: its format, and the mean and the largest |model − merged| over all
 * elements of the float tensors that both have. It reads both in pieces: memory does not depend on
 * the size of the models.
 */
#include <mergecraft/mergecraft.h>

#include <inttypes.h>
#include <stdio.h>

enum { PIECE = 16384, NAME_WIDTH = 28 };

/* Returns the status of a library function that failed; the error has the text. */
#define TRY(call_)                                                                                 \
    do {                                                                                           \
        const mc_status status_ = (call_);                                                         \
        if (status_ != MC_OK)                                                                      \
            return status_;                                                                        \
    } while (0)

typedef struct difference {
    double total, largest;
    int64_t elements;
} difference;

static void add_element(difference *d, double a, double b)
{
    const double found = a == b ? 0 : fabs(a - b); /* ∞ − ∞ would be NaN */
    d->total += found;
    if (!(found <= d->largest) && !isnan(d->largest)) /* once NaN, it stays NaN */
        d->largest = found;
    d->elements++;
}

static bool is_float(const mc_source *source)
{
    return mc_dtype_kind_of(mc_source_dtype(source)) == MC_KIND_FLOAT;
}

static bool same_shape(const mc_source *a, const mc_source *b)
{
    if (mc_source_rank(a) != mc_source_rank(b))
        return false;
    for (int i = 0; i < mc_source_rank(a); i++)
        if (mc_source_shape(a)[i] != mc_source_shape(b)[i])
            return false;
    return true;
}

static mc_status add_tensor(difference *d, const char *name, const mc_source *a, const mc_source *b,
                            mc_error *error)
{
    static double from_a[PIECE], from_b[PIECE];
    if (!same_shape(a, b))
        return mc_fail(error, MC_MISMATCH, "tensor '%s' has another shape in the two models", name);
    const int64_t size = mc_source_count(a);
    for (int64_t first = 0; first < size; first += PIECE) {
        const int64_t count = size - first < PIECE ? size - first : PIECE;
        TRY(mc_source_read_f64(a, first, count, from_a, error));
        TRY(mc_source_read_f64(b, first, count, from_b, error));
        for (int64_t i = 0; i < count; i++)
            add_element(d, from_a[i], from_b[i]);
    }
    return MC_OK;
}

static mc_status compare(const mc_state_dict *a, const mc_state_dict *b, difference *d,
                         mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(a); i++) {
        const char *const name = mc_state_dict_name(a, i);
        const mc_source *const in_a = mc_state_dict_source(a, i);
        const mc_source *const in_b = mc_state_dict_find(b, name);
        if (in_b && is_float(in_a) && is_float(in_b))
            TRY(add_tensor(d, name, in_a, in_b, error));
    }
    if (d->elements == 0)
        return mc_fail(error, MC_MISMATCH, "the two models have no float tensor in common");
    return MC_OK;
}

static int64_t bytes_of(const mc_state_dict *dict)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++)
        bytes += mc_source_bytes(mc_state_dict_source(dict, i));
    return bytes;
}

/* The dtype of all its tensors, or "mixed". */
static const char *dtype_of(const mc_state_dict *dict)
{
    for (size_t i = 1; i < mc_state_dict_count(dict); i++)
        if (mc_source_dtype(mc_state_dict_source(dict, i)) !=
            mc_source_dtype(mc_state_dict_source(dict, 0)))
            return "mixed";
    return mc_state_dict_count(dict) ? mc_dtype_name(mc_source_dtype(mc_state_dict_source(dict, 0)))
                                     : "none";
}

static mc_status print_difference(const mc_model *merged, const mc_model *model, mc_error *error)
{
    const mc_state_dict *const dict = mc_model_state_dict(model);
    difference d = {0};
    TRY(compare(mc_model_state_dict(merged), dict, &d, error));
    printf("%-*s  %-12s  %-5s  %11" PRId64 "  %11.3g  %11.3g\n", NAME_WIDTH, mc_model_name(model),
           mc_model_format(model), dtype_of(dict), bytes_of(dict), d.total / (double)d.elements,
           d.largest);
    return MC_OK;
}

static mc_status compare_with_path(const mc_model *merged, const char *path, mc_error *error)
{
    mc_model *model = NULL;
    TRY(mc_model_open(path, &model, error));
    const mc_status status = print_difference(merged, model, error);
    mc_model_close(model);
    return status;
}

static mc_status compare_all(const char *merged_path, char *const *paths, mc_error *error)
{
    mc_model *merged = NULL;
    TRY(mc_model_open(merged_path, &merged, error));
    printf("%-*s  %-12s  %-5s  %11s  %11s  %11s\n", NAME_WIDTH, "MODEL", "FORMAT", "DTYPE", "BYTES",
           "MEAN |DIFF|", "MAX |DIFF|");
    mc_status status = MC_OK;
    for (; *paths && status == MC_OK; paths++)
        status = compare_with_path(merged, *paths, error);
    mc_model_close(merged);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: compare MERGED MODEL...\n");
        return 2;
    }
    mc_error error = MC_ERROR_NONE;
    if (compare_all(argv[1], argv + 2, &error) == MC_OK)
        return 0;
    char line[sizeof error];
    fprintf(stderr, "compare: %s\n", mc_error_message(&error, line, sizeof line));
    return 1;
}

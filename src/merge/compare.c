#include <mergecraft/compare.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/team.h"
#include "linalg/linalg.h"
#include "merge/agreement.h"
#include "merge/align.h"
#include "merge/estimate.h"
#include "merge/folder_differences.h"
#include "merge/reduce.h"
#include "merge/report.h"
#include "methods/compare.h"
#include "methods/variant.h"
#include "model/model.h"
#include "model/parts.h"

#include <fnmatch.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*
 * TILE: elements that are read at a time; the leaves of a tile stay in the second-level cache.
 * BLOCK: bytes at a time where only bytes are compared.
 */
enum { TILE = 16 * MC_LEAF, BLOCK = 1 << 16 };

/* A tensor that all have. */
typedef struct pair_row {
    char *name;
    mc_source **inputs; /* the compared models', then the base's */
    mc_part part;
    double *sums;
} pair_row;

struct mc_comparison {
    const mc_model **models; /* compared ones, then the base */
    size_t model_count;      /* without the base */
    bool has_base;           /* false: the first model is in its place */
    bool rank;               /* effective ranks are wanted */
    pair_row *rows;          /* in the order of the base's tensors */
    size_t count, capacity;
    mc_report *report;
    bool identical;
};

void mc_comparison_free(mc_comparison *comparison)
{
    if (!comparison)
        return;
    for (size_t i = 0; i < comparison->count; i++) {
        pair_row *const row = &comparison->rows[i];
        for (size_t k = 0; row->inputs && k <= comparison->model_count; k++)
            mc_source_unref(row->inputs[k]);
        mc_free(row->inputs);
        mc_free(row->name);
        mc_free(row->sums);
    }
    mc_free(comparison->rows);
    mc_free(comparison->models);
    mc_report_free(comparison->report);
    mc_free(comparison);
}

/* ---- which tensors --------------------------------------------------------------------------- */

/* Names that are not compared, by the reason. */
typedef struct left_out {
    mc_names missing, shapes, dtypes, kinds;
} left_out;

static bool is_excluded(const mc_compare_input *input, const char *name)
{
    for (size_t i = 0; i < input->exclude_count; i++)
        if (fnmatch(input->exclude[i], name, 0) == 0)
            return true;
    return false;
}

/* The tensors of one name; *found is false if a model lacks it. */
static void find_all(const mc_alignment *aligned, const char *name, mc_source **sources,
                     bool *found)
{
    *found = true;
    for (size_t i = 0; i < aligned->count; i++) {
        sources[i] = mc_state_dict_find(aligned->dicts[i], name);
        *found = *found && sources[i];
    }
}

static bool is_float(const mc_source *source)
{
    return mc_dtype_kind_of(source->dtype) == MC_KIND_FLOAT;
}

/*
 * NULL if the tensors can be subtracted, or at least compared; otherwise the list for the reason
 * why not.
 */
static mc_names *obstacle(mc_source *const *sources, size_t count, left_out *left)
{
    const mc_source *const base = sources[count - 1];
    for (size_t i = 0; i + 1 < count; i++) {
        if (!mc_source_same_shape(sources[i], base))
            return &left->shapes;
        if (is_float(sources[i]) != is_float(base) ||
            (!is_float(base) && sources[i]->dtype != base->dtype))
            return &left->kinds;
    }
    return NULL;
}

static bool same_dtypes(mc_source *const *sources, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (sources[i]->dtype != sources[0]->dtype)
            return false;
    return true;
}

static mc_status add_row(mc_comparison *c, const char *name, mc_source *const *sources,
                         mc_error *error)
{
    if (!MC_GROW(c->rows, c->count, c->capacity))
        return mc_fail_memory(error);
    pair_row *const row = &c->rows[c->count];
    const size_t count = c->model_count + 1;
    *row = (pair_row){.name = mc_strdup(name),
                      .inputs = mc_alloc(count * sizeof *row->inputs),
                      .part = mc_part_of(mc_model_type(c->models[c->model_count]), name),
                      .sums = mc_alloc_zero(compare_size(c->model_count), sizeof *row->sums)};
    for (size_t i = 0; row->inputs && i < count; i++)
        row->inputs[i] = mc_source_ref(sources[i]);
    c->count++;
    return row->name && row->inputs && row->sums ? MC_OK : mc_fail_memory(error);
}

static mc_status add_name(mc_comparison *c, const mc_alignment *aligned, const char *name,
                          mc_source **sources, left_out *left, mc_error *error)
{
    bool found;
    find_all(aligned, name, sources, &found);
    mc_names *const reason = found ? obstacle(sources, aligned->count, left) : &left->missing;
    if (reason)
        return mc_names_add(reason, name, error);
    if (!same_dtypes(sources, aligned->count))
        MC_TRY(mc_names_add(&left->dtypes, name, error));
    return add_row(c, name, sources, error);
}

/* Adds the names of the base first, then those that only models have. The base is the last dict. */
static mc_status add_names(mc_comparison *c, const mc_compare_input *input,
                           const mc_alignment *aligned, left_out *left, mc_error *error)
{
    mc_source **const sources = mc_alloc(aligned->count * sizeof *sources);
    mc_index seen = {0};
    mc_status status = sources ? MC_OK : mc_fail_memory(error);
    for (size_t d = aligned->count; status == MC_OK && d-- > 0;) {
        const mc_state_dict *const dict = aligned->dicts[d];
        for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(dict); i++) {
            const char *const name = mc_state_dict_name(dict, i);
            if (mc_index_find(&seen, name) != MC_INDEX_NONE || is_excluded(input, name))
                continue;
            if (!mc_index_set(&seen, name, 0))
                status = mc_fail_memory(error);
            if (status == MC_OK)
                status = add_name(c, aligned, name, sources, left, error);
        }
    }
    mc_index_free(&seen);
    mc_free(sources);
    return status;
}

static mc_status report_left_out(mc_comparison *c, const left_out *left, mc_error *error)
{
    MC_TRY(mc_report_names(c->report, &left->missing, false, "not in all models and not compared",
                           error));
    MC_TRY(mc_report_names(c->report, &left->shapes, false, "of different shapes and not compared",
                           error));
    MC_TRY(mc_report_names(c->report, &left->kinds, false, "not floats and of different dtypes",
                           error));
    return mc_report_names(c->report, &left->dtypes, false, "stored in different dtypes", error);
}

static mc_status match(mc_comparison *c, const mc_compare_input *input, mc_error *error)
{
    mc_alignment aligned = {0};
    left_out left = {0};
    mc_report *unused = NULL; /* the renamings of alignment say nothing about values */
    mc_status status = mc_report_new(&unused, error);
    if (status == MC_OK)
        status = mc_align(c->models, c->model_count, c->model_count + 1, &aligned, unused, error);
    if (status == MC_OK)
        status = add_names(c, input, &aligned, &left, error);
    /* With a common name there is something to report, even if no tensor can be compared. */
    if (status == MC_OK && c->count + left.shapes.count + left.kinds.count == 0)
        status = mc_fail(error, MC_MISMATCH, "the models have no tensor in common");
    if (status == MC_OK)
        status = report_left_out(c, &left, error);
    mc_report_free(unused);
    mc_alignment_free(&aligned);
    mc_names_free(&left.missing);
    mc_names_free(&left.shapes);
    mc_names_free(&left.dtypes);
    mc_names_free(&left.kinds);
    return status;
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct run {
    mc_comparison *comparison;
    size_t *order; /* of rows: the largest first, so that threads end at about the same time */
    const mc_run_options *options;
    mc_workspace *workspaces; /* one per thread */
    mc_params *params;
    atomic_int_least64_t bytes;
    int64_t total;
    double began;
} run;

static mc_status compare_floats(const run *r, pair_row *row, mc_workspace *workspace,
                                mc_error *error)
{
    const size_t models = r->comparison->model_count;
    const mc_merged_parts parts = {.method = mc_method_compare(),
                                   .params = r->params,
                                   .name = row->name,
                                   .inputs = row->inputs,
                                   .input_count = models + 1,
                                   .model_count = models,
                                   .has_base = true};
    mc_job job = {0};
    void *state = NULL;
    mc_status status = mc_job_init(&job, &parts, error);
    if (status == MC_OK && job.count > 0)
        status = mc_reduction_run(&job, workspace, &state, error);
    if (state)
        memcpy(row->sums, state, compare_size(models) * sizeof(double));
    mc_free(state);
    mc_job_free(&job);
    return status;
}

/*
 * Compares integers and bits, which have no task vector: only whether the tensors are equal. One
 * different byte counts all elements as different.
 */
static mc_status compare_bytes(size_t models, pair_row *row, mc_workspace *workspace,
                               mc_error *error)
{
    const mc_source *const base = row->inputs[models];
    MC_TRY(mc_workspace_reserve(workspace, (size_t)2 * BLOCK, error));
    char *const a = workspace->memory, *const b = a + BLOCK;
    row->sums[COMPARE_ELEMENTS] = (double)base->count;
    for (int64_t at = 0; at < base->bytes; at += BLOCK) {
        const int64_t size = base->bytes - at < BLOCK ? base->bytes - at : BLOCK;
        MC_TRY(mc_source_read_raw(base, at, size, a, error));
        for (size_t m = 0; m < models; m++) {
            double *const own = row->sums + COMPARE_MODELS + COMPARE_PER_MODEL * m;
            MC_TRY(mc_source_read_raw(row->inputs[m], at, size, b, error));
            if (memcmp(a, b, (size_t)size) != 0)
                own[COMPARE_DIFFERENT] = (double)base->count;
        }
    }
    return MC_OK;
}

/* exp(−Σ p log p) of p = s / Σ s; singular values s [count] that are not all 0. */
static double entropy_rank(const double *s, size_t count, double sum)
{
    double entropy = 0;
    for (size_t i = 0; i < count; i++) {
        const double p = s[i] / sum;
        entropy -= p > 0 ? p * log(p) : 0;
    }
    return exp(entropy);
}

/* Adds the effective rank of model − base. memory: [2 · m · n + k + work] doubles. */
static mc_status add_rank(const mc_source *model, const mc_source *base, double *own,
                          double *memory, mc_error *error)
{
    const size_t m = (size_t)base->shape[0], n = (size_t)base->shape[1], k = m < n ? m : n;
    double *const a = memory, *const b = a + m * n, *const s = b + m * n, unused = 0;
    double none[2] = {unused, unused}, sum = 0;
    MC_TRY(mc_source_read_f64(model, 0, base->count, a, error));
    MC_TRY(mc_source_read_f64(base, 0, base->count, b, error));
    bool finite = true;
    for (size_t i = 0; i < m * n; i++) {
        a[i] -= b[i];
        finite = finite && isfinite(a[i]);
    }
    own[COMPARE_MATRICES]++;
    /* NaN and infinities have no singular values. */
    if (!finite) {
        own[COMPARE_RANKS] = NAN;
        return MC_OK;
    }
    MC_TRY(mc_svd(mc_svd_kind_for(m, n, false), m, n, 0, a, none, s, none + 1, s + k, error));
    for (size_t i = 0; i < k; i++)
        sum += s[i];
    own[COMPARE_RANKS] += entropy_rank(s, k, sum);
    return MC_OK;
}

/* The matrices that differ; others have no rank. */
static mc_status add_ranks(const mc_comparison *c, pair_row *row, mc_error *error)
{
    const mc_source *const base = row->inputs[c->model_count];
    if (base->rank != 2 || base->shape[0] < 2 || base->shape[1] < 2)
        return MC_OK;
    const size_t m = (size_t)base->shape[0], n = (size_t)base->shape[1];
    const size_t work = mc_svd_work(m, n, mc_svd_kind_for(m, n, false));
    double *const memory = mc_alloc((2 * m * n + (m < n ? m : n) + work) * sizeof *memory);
    mc_status status = memory ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < c->model_count; i++) {
        double *const own = row->sums + COMPARE_MODELS + COMPARE_PER_MODEL * i;
        if (own[COMPARE_DIFFERENT] > 0)
            status = add_rank(row->inputs[i], base, own, memory, error);
    }
    mc_free(memory);
    return status;
}

static void report_progress(run *r, const pair_row *row, int worker)
{
    const mc_run_options *const options = r->options;
    int64_t bytes = 0;
    for (size_t i = 0; i <= r->comparison->model_count; i++)
        bytes += row->inputs[i]->bytes;
    /* Bytes are counted by all threads; only the calling thread reports them. */
    const int64_t done = atomic_fetch_add(&r->bytes, bytes) + bytes;
    const double seconds = mc_seconds() - r->began;
    const mc_progress progress = {
        .bytes_done = done,
        .bytes_total = r->total,
        .seconds = seconds,
        .seconds_left = mc_estimate_even((double)done, (double)r->total, seconds)};
    if (options->progress && worker == 0) /* the calling thread */
        options->progress(&progress, options->user);
}

static mc_status compare_row(void *arg, int worker, size_t item, mc_error *error)
{
    run *const r = arg;
    pair_row *const row = &r->comparison->rows[r->order[item]];
    const size_t models = r->comparison->model_count;
    if (r->options->cancel && *r->options->cancel)
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    for (size_t i = 0; i <= models; i++)
        mc_source_read_ahead(row->inputs[i], 0, row->inputs[i]->bytes);
    mc_workspace *const workspace = &r->workspaces[worker];
    const bool floats = is_float(row->inputs[models]);
    mc_status status = floats ? compare_floats(r, row, workspace, error)
                              : compare_bytes(models, row, workspace, error);
    if (status == MC_OK && floats && r->comparison->rank)
        status = add_ranks(r->comparison, row, error);
    if (status == MC_OK)
        report_progress(r, row, worker);
    return mc_in_tensor(error, row->name, status);
}

static int compare_sizes(const void *a, const void *b, void *rows)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const int64_t left = ((const pair_row *)rows)[x].inputs[0]->bytes;
    const int64_t right = ((const pair_row *)rows)[y].inputs[0]->bytes;
    return left != right ? (left < right) - (left > right) : (x > y) - (x < y);
}

static mc_status run_rows(run *r, int threads, mc_error *error)
{
    mc_comparison *const c = r->comparison;
    r->order = mc_alloc(c->count * sizeof *r->order);
    r->workspaces = mc_alloc_zero((size_t)threads, sizeof *r->workspaces);
    if (!r->order || !r->workspaces)
        return mc_fail_memory(error);
    for (size_t i = 0; i < c->count; i++) {
        r->order[i] = i;
        for (size_t k = 0; k <= c->model_count; k++)
            r->total += c->rows[i].inputs[k]->bytes;
    }
    qsort_r(r->order, c->count, sizeof *r->order, compare_sizes, c->rows);
    MC_TRY(mc_params_new(mc_method_compare(), c->model_count, &r->params, error));
    return mc_parallel(c->count, threads, compare_row, r, error);
}

static mc_status compare_values(mc_comparison *c, const mc_run_options *options, mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    run r = {.comparison = c, .options = options ? options : &standard, .began = mc_seconds()};
    const int threads = r.options->threads > 0 ? r.options->threads : mc_cpu_count();
    const mc_status status = run_rows(&r, threads, error);
    for (int i = 0; r.workspaces && i < threads; i++)
        mc_workspace_free(&r.workspaces[i]);
    mc_free(r.workspaces);
    mc_free(r.order);
    mc_params_unref(r.params);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static mc_status take_models(mc_comparison *c, const mc_compare_input *input, mc_error *error)
{
    const size_t first = input->base ? 0 : 1;
    if (input->model_count < 1 + first)
        return mc_fail(error, MC_USAGE, "expected %s, found %zu",
                       input->base ? "models to compare with the base" : "two models or more",
                       input->model_count);
    if (input->rank)
        MC_TRY(mc_linalg_check(error));
    c->rank = input->rank;
    c->has_base = input->base != NULL;
    c->model_count = input->model_count - first;
    c->models = mc_alloc((c->model_count + 1) * sizeof *c->models);
    if (!c->models)
        return mc_fail_memory(error);
    for (size_t i = 0; i < c->model_count; i++)
        c->models[i] = input->models[i + first];
    c->models[c->model_count] = input->base ? input->base : input->models[0];
    return mc_report_new(&c->report, error);
}

static mc_status compare_files(mc_comparison *c, mc_error *error)
{
    const mc_model *const base = c->models[c->model_count];
    const size_t count = c->model_count + 1;
    /*
     * Without a base the question is whether models are equal: every key and byte counts. With one
     * it is whether their values can be merged.
     */
    for (size_t i = 0; !c->has_base && i < c->model_count; i++)
        MC_TRY(mc_report_folder_differences(base, c->models[i], c->report, error));
    if (!c->has_base)
        return MC_OK;
    MC_TRY(mc_agree_on_labels(c->models, count, false, c->report, error));
    MC_TRY(mc_agree_on_configs(c->models, count, base, false, false, c->report, error));
    return mc_agree_on_tokens(c->models, count, base, false, c->report, error);
}

static bool nothing_differs(const mc_comparison *c)
{
    bool same = mc_report_count(c->report) == 0;
    for (size_t i = 0; i < c->count; i++)
        for (size_t m = 0; m < c->model_count; m++)
            same = same &&
                   c->rows[i].sums[COMPARE_MODELS + COMPARE_PER_MODEL * m + COMPARE_DIFFERENT] == 0;
    return same;
}

mc_status mc_compare(const mc_compare_input *input, const mc_run_options *options,
                     mc_comparison **out, mc_error *error)
{
    mc_comparison *const c = mc_alloc_zero(1, sizeof *c);
    mc_status status = c ? take_models(c, input, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = match(c, input, error);
    if (status == MC_OK)
        status = compare_files(c, error);
    if (status == MC_OK)
        status = compare_values(c, options, error);
    for (size_t i = 0; status == MC_OK && i <= c->model_count; i++)
        status = mc_model_check(c->models[i], error);
    if (status != MC_OK) {
        mc_comparison_free(c);
        return status;
    }
    c->identical = nothing_differs(c);
    *out = c;
    return MC_OK;
}

/* ---- reading it ------------------------------------------------------------------------------ */

size_t mc_comparison_models(const mc_comparison *comparison)
{
    return comparison->model_count;
}

bool mc_comparison_has_base(const mc_comparison *comparison)
{
    return comparison->has_base;
}

const char *mc_comparison_model(const mc_comparison *comparison, size_t index)
{
    return mc_model_name(comparison->models[index]);
}

size_t mc_comparison_count(const mc_comparison *comparison)
{
    return comparison->count;
}

/* The fields that are numbers of the sums. */
static void digest(mc_compared *one, const double *sums)
{
    one->sums = sums;
    one->elements = (int64_t)sums[COMPARE_ELEMENTS];
    one->agree = (int64_t)sums[COMPARE_AGREE];
    one->conflict = (int64_t)sums[COMPARE_CONFLICT];
    one->base_norm = sqrt(sums[COMPARE_BASE_SQUARES]);
}

void mc_comparison_at(const mc_comparison *comparison, size_t index, mc_compared *out)
{
    const pair_row *const row = &comparison->rows[index];
    *out = (mc_compared){.name = row->name,
                         .block = row->part.block,
                         .role = mc_part_role_text(row->part.role),
                         .models = comparison->model_count};
    digest(out, row->sums);
}

size_t mc_comparison_sum_size(const mc_comparison *comparison)
{
    return compare_size(comparison->model_count) * sizeof(double);
}

void mc_compared_add(mc_compared *total, void *memory, const mc_compared *one)
{
    compare_add(memory, one->sums, one->models);
    *total = (mc_compared){.block = -1, .models = one->models};
    digest(total, memory);
}

static double of_model(const mc_compared *one, size_t model, size_t which)
{
    return one->sums[COMPARE_MODELS + COMPARE_PER_MODEL * model + which];
}

/* Σ τ_a · τ_b; the matrix is filled above its diagonal. */
static double product(const mc_compared *one, size_t a, size_t b)
{
    const size_t row = a < b ? a : b, column = a < b ? b : a;
    return one->sums[compare_products(one->models) + row * one->models + column];
}

double mc_compared_norm(const mc_compared *one, size_t model)
{
    return sqrt(product(one, model, model));
}

double mc_compared_mean(const mc_compared *one, size_t model)
{
    const double elements = one->sums[COMPARE_ELEMENTS];
    return elements > 0 ? of_model(one, model, COMPARE_ABSOLUTE) / elements : 0;
}

double mc_compared_largest(const mc_compared *one, size_t model)
{
    return of_model(one, model, COMPARE_LARGEST);
}

int64_t mc_compared_different(const mc_compared *one, size_t model)
{
    return (int64_t)of_model(one, model, COMPARE_DIFFERENT);
}

double mc_compared_rank(const mc_compared *one, size_t model)
{
    const double matrices = of_model(one, model, COMPARE_MATRICES);
    return matrices > 0 ? of_model(one, model, COMPARE_RANKS) / matrices : NAN;
}

double mc_compared_cosine(const mc_compared *one, size_t a, size_t b)
{
    const double norms = mc_compared_norm(one, a) * mc_compared_norm(one, b);
    return norms == 0 ? NAN : product(one, a, b) / norms;
}

double mc_compared_mean_cosine(const mc_compared *one)
{
    double sum = 0;
    size_t pairs = 0;
    for (size_t a = 0; a < one->models; a++)
        for (size_t b = a + 1; b < one->models; b++) {
            /* A model that equals the base has a zero task vector, and no direction. */
            const double cosine = mc_compared_cosine(one, a, b);
            if (!isnan(cosine)) {
                sum += cosine;
                pairs++;
            }
        }
    return pairs ? sum / (double)pairs : NAN;
}

const mc_report *mc_comparison_report(const mc_comparison *comparison)
{
    return comparison->report;
}

bool mc_comparison_identical(const mc_comparison *comparison)
{
    return comparison->identical;
}

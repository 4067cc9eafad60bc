#include "lora/plan.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/writer.h"
#include "linalg/linalg.h"
#include "merge/report.h"
#include "model/parts.h"

#include <math.h>
#include <string.h>

mc_status mc_lora_plan_new(mc_lora_plan **out, mc_error *error)
{
    mc_lora_plan *const plan = mc_alloc_zero(1, sizeof *plan);
    if (!plan)
        return mc_fail_memory(error);
    pthread_mutex_init(&plan->lock, NULL);
    mc_status status = mc_report_new(&plan->report, error);
    if (status == MC_OK)
        status = mc_state_dict_new(&plan->whole, error);
    if (status == MC_OK)
        status = mc_state_dict_new(&plan->dict, error);
    if (status != MC_OK) {
        mc_lora_plan_free(plan);
        return status;
    }
    *out = plan;
    return MC_OK;
}

void mc_lora_plan_free(mc_lora_plan *plan)
{
    if (!plan)
        return;
    mc_state_dict_free(plan->dict); /* its sources read from all below */
    mc_state_dict_free(plan->whole);
    mc_pairs_unref(plan->pairs);
    if (plan->free_user)
        plan->free_user(plan->user);
    for (size_t i = 0; i < plan->count; i++) {
        mc_free(plan->rows[i].path);
        for (size_t k = 0; k < 3; k++)
            mc_free(plan->rows[i].names[k]);
    }
    for (size_t i = 0; i < plan->guarded_count; i++)
        mc_free(plan->guarded[i]);
    mc_free(plan->guarded);
    mc_free(plan->rows);
    mc_free(plan->config_text);
    mc_free(plan->title);
    mc_report_free(plan->report);
    json_decref(plan->config);
    json_decref(plan->summary);
    json_decref(plan->inputs);
    pthread_mutex_destroy(&plan->lock);
    mc_free(plan);
}

mc_status mc_lora_plan_add(mc_lora_plan *plan, const char *path, mc_lora_row **out, mc_error *error)
{
    char *const copy = mc_strdup(path);
    if (!copy || !MC_GROW(plan->rows, plan->count, plan->capacity)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    *out = &plan->rows[plan->count++];
    **out = (mc_lora_row){.path = copy, .experts = 1};
    return MC_OK;
}

mc_status mc_lora_plan_guard(mc_lora_plan *plan, const char *path, mc_error *error)
{
    char *const copy = path ? mc_strdup(path) : NULL;
    if (!path)
        return MC_OK;
    if (!copy || !MC_GROW(plan->guarded, plan->guarded_count, plan->guarded_capacity)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    plan->guarded[plan->guarded_count++] = copy;
    return MC_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

mc_status mc_lora_check_memory(const char *path, int64_t needed, int64_t memory, mc_error *error)
{
    if (memory == 0 || needed <= memory)
        return MC_OK;
    return mc_fail_at(
        error, MC_USAGE, NULL, path, -1,
        "expected at least %lld bytes of memory to decompose it, found a limit of %lld",
        (long long)needed, (long long)memory);
}

int mc_lora_threads(int threads, int64_t most, int64_t memory)
{
    const int64_t fit = memory == 0 || most == 0 ? threads : memory / most;
    return fit < 1 ? 1 : fit < threads ? (int)fit : threads;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Factors are read as float32 unless they are float64: what only double holds would be infinite. */
static mc_status check_range(const mc_lora_row *row, const double *values, int64_t count,
                             mc_error *error)
{
    for (int64_t i = 0; row->dtype != MC_F64 && i < count; i++)
        if (isfinite(values[i]) && !isfinite((float)values[i]))
            return mc_fail_at(error, MC_UNSUPPORTED, NULL, row->path, -1,
                              "expected factors within the range of float32, found %g", values[i]);
    return MC_OK;
}

static mc_status compute_pair(void *user, size_t index, double *a, double *b, mc_error *error)
{
    mc_lora_plan *const plan = user;
    const mc_lora_row *const row = &plan->rows[index];
    mc_energy energy = {0};
    const int64_t rank = row->rank * row->experts;
    memset(a, 0, (size_t)(rank * row->columns) * sizeof *a);
    memset(b, 0, (size_t)(rank * row->rows) * sizeof *b);
    MC_TRY(mc_in_tensor(error, row->path, plan->compute(plan->user, index, a, b, &energy, error)));
    MC_TRY(check_range(row, a, rank * row->columns, error));
    MC_TRY(check_range(row, b, rank * row->rows, error));
    energy.known = true;
    pthread_mutex_lock(&plan->lock);
    plan->rows[index].energy = energy;
    pthread_mutex_unlock(&plan->lock);
    return MC_OK;
}

/*
 * The name of a factor: that of the inputs, or in PEFT's files,
 * "base_model.model.PATH.lora_A.weight". Each wrapper around the one with the factors adds
 * ".base_layer".
 */
static char *name_of(const mc_lora_row *row, bool is_b)
{
    mc_text name = {0};
    if (row->names[is_b])
        return mc_strdup(row->names[is_b]);
    mc_text_add(&name, "base_model.model.%s", row->path);
    for (int i = 0; i < row->outer; i++)
        mc_text_add(&name, ".base_layer");
    mc_text_add(&name, row->embedding ? ".lora_embedding_%c" : ".lora_%c.weight", is_b ? 'B' : 'A');
    if (!name.failed)
        return name.data;
    mc_text_free(&name);
    return NULL;
}

static mc_status add_factor(mc_lora_plan *plan, size_t index, bool is_b, mc_error *error)
{
    const mc_lora_row *const row = &plan->rows[index];
    const int64_t ranks = row->rank * row->experts;
    int64_t shape[MC_MAX_RANK] = {is_b ? row->rows : ranks, is_b ? ranks : row->columns};
    const int rest = is_b ? row->b_rank : row->a_rank;
    const int before = is_b ? 2 : 1; /* dimensions in front of the rest */
    memcpy(shape + before, is_b ? row->b_rest : row->a_rest, (size_t)rest * sizeof *shape);
    const int rank = rest > 0 ? before + rest : 2;
    mc_source *source = NULL;
    char *const name = name_of(row, is_b);
    mc_status status = name ? mc_pairs_source(plan->pairs, index, is_b, row->dtype, rank, shape,
                                              &source, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_state_dict_set(plan->dict, name, source, error);
    mc_source_unref(source);
    mc_free(name);
    return status;
}

/* Alpha is the rank, so that the scale is 1. */
static mc_status compute_alpha(void *cookie, int64_t first, int64_t count, void *out,
                               mc_error *error)
{
    const mc_lora_row *const row = cookie;
    (void)first;
    (void)error;
    if (count > 0)
        *(float *)out = (float)row->rank;
    return MC_OK;
}

static mc_status add_alpha(const mc_lora_plan *plan, mc_lora_row *row, mc_error *error)
{
    mc_source *source = NULL;
    if (!row->names[2])
        return MC_OK;
    mc_status status = mc_source_compute(MC_F32, 0, NULL, compute_alpha, NULL, row, &source, error);
    if (status == MC_OK)
        status = mc_state_dict_set(plan->dict, row->names[2], source, error);
    mc_source_unref(source);
    return status;
}

static mc_status add_whole(mc_lora_plan *plan, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(plan->whole); i++) {
        char *const name = mc_format("base_model.model.%s", mc_state_dict_name(plan->whole, i));
        const mc_status status = name ? mc_state_dict_set(plan->dict, name,
                                                          mc_state_dict_source(plan->whole, i),
                                                          error)
                                      : mc_fail_memory(error);
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

/* Sets the elements of both factors. Their bytes as doubles, with room for sums, fit int64_t. */
static mc_status measure_factors(const mc_lora_row *row, mc_pair_size *size, mc_error *error)
{
    const int64_t most = INT64_MAX / 64;
    int64_t ranks;
    if (__builtin_mul_overflow(row->rank, row->experts, &ranks) ||
        __builtin_mul_overflow(ranks, row->columns, &size->a) ||
        __builtin_mul_overflow(ranks, row->rows, &size->b) || size->a > most || size->b > most)
        return mc_fail_at(error, MC_UNSUPPORTED, NULL, row->path, -1,
                          "factors of rank %lld for %lld x %lld elements are too large",
                          (long long)row->rank, (long long)row->rows, (long long)row->columns);
    return MC_OK;
}

static mc_status make_tensors(mc_lora_plan *plan, mc_error *error)
{
    mc_pair_size *const sizes = mc_alloc(plan->count * sizeof *sizes);
    if (!sizes)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    for (size_t i = 0; i < plan->count; i++) {
        const mc_lora_row *const row = &plan->rows[i];
        /* Without a bound the work is not counted: added up, that of hostile shapes overflows. */
        const bool bounded = plan->how.memory > 0;
        mc_lora_rank how = plan->how;
        how.rank = row->rank;
        how.energy = 0;
        sizes[i] = (mc_pair_size){.work = bounded ? plan->work(plan->user, i, &how) : 0};
        if (status == MC_OK)
            status = measure_factors(row, &sizes[i], error);
        if (status == MC_OK)
            status = mc_lora_check_memory(row->path, mc_pair_bytes(&sizes[i]), plan->how.memory,
                                          error);
    }
    if (status == MC_OK)
        status = mc_pairs_new(plan->count, sizes, plan->how.memory, compute_pair, plan,
                              &plan->pairs, error);
    mc_free(sizes);
    /* A and B of a module follow each other: they are computed together. */
    for (size_t i = 0; status == MC_OK && i < 2 * plan->count; i++)
        status = add_factor(plan, i / 2, i % 2 != 0, error);
    for (size_t i = 0; status == MC_OK && i < plan->count; i++)
        status = add_alpha(plan, &plan->rows[i], error);
    return status == MC_OK ? add_whole(plan, error) : status;
}

/* ---- configuration --------------------------------------------------------------------------- */

/*
 * The rank for the configuration's r. PEFT applies rank_pattern to modules only, so with experts it
 * is theirs; otherwise the largest, and patterns give the others.
 */
static int64_t common_rank(const mc_lora_plan *plan)
{
    int64_t rank = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->rows[i].experts > 1 || plan->rows[i].plain_rank)
            return plan->rows[i].rank;
        rank = plan->rows[i].rank > rank ? plan->rows[i].rank : rank;
    }
    return rank;
}

/* Sets lora_alpha = r everywhere: PEFT scales updates by lora_alpha / r, so they are B·A itself. */
static mc_status set_ranks(mc_lora_plan *plan, mc_error *error)
{
    const int64_t common = common_rank(plan);
    json_t *pattern = json_object(), *config = json_incref(plan->config);
    for (size_t i = 0; i < plan->count; i++) {
        const mc_lora_row *const row = &plan->rows[i];
        if (row->rank == common)
            continue;
        /* PEFT matches the path of the parameter, where there is one. */
        char *const key = mc_format("%s%s%s", row->path, row->parameter ? "." : "",
                                    row->parameter ? row->parameter : "");
        pattern = mc_json_put(pattern, key ? key : "", key ? json_integer(row->rank) : NULL);
        mc_free(key);
    }
    config = mc_json_put(config, "r", json_integer(common > 0 ? common : 1));
    config = mc_json_put(config, "lora_alpha", json_integer(common > 0 ? common : 1));
    config = mc_json_put(config, "rank_pattern", json_incref(pattern));
    config = mc_json_put(config, "alpha_pattern", pattern);
    plan->config_text = config ? mc_json_write(config, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(config);
    return plan->config_text ? MC_OK : mc_fail_memory(error);
}

mc_status mc_lora_plan_finish(mc_lora_plan *plan, mc_error *error)
{
    MC_TRY(plan->config ? set_ranks(plan, error) : MC_OK);
    return make_tensors(plan, error);
}

mc_status mc_lora_rank_check(const mc_lora_rank *rank, mc_error *error)
{
    if (rank->rank > 0 && rank->energy > 0)
        return mc_fail(error, MC_USAGE, "expected a rank or an energy, found both");
    if (!(rank->energy >= 0 && rank->energy <= 1))
        return mc_fail(error, MC_USAGE, "expected an energy above 0 and at most 1, found %g",
                       rank->energy);
    if (rank->max_rank > 0 && !(rank->energy > 0))
        return mc_fail(error, MC_USAGE, "expected an energy with the largest rank, found none");
    if (rank->rank < 0 || rank->max_rank < 0)
        return mc_fail(error, MC_USAGE, "expected a rank of at least 1, found %lld",
                       (long long)(rank->rank < 0 ? rank->rank : rank->max_rank));
    return mc_linalg_check(error);
}

/* ---- reading --------------------------------------------------------------------------------- */

const mc_report *mc_lora_plan_report(const mc_lora_plan *plan)
{
    return plan->report;
}

const char *mc_lora_plan_config(const mc_lora_plan *plan)
{
    return plan->config_text;
}

size_t mc_lora_plan_count(const mc_lora_plan *plan)
{
    return plan->count + mc_state_dict_count(plan->whole);
}

double mc_energy_share(const mc_energy *energy)
{
    if (!energy->known)
        return NAN;
    return energy->total > 0 ? energy->kept / energy->total : 1;
}

void mc_lora_plan_line(const mc_lora_plan *plan, size_t index, mc_lora_line *line)
{
    if (index >= plan->count) {
        *line = (mc_lora_line){.path = mc_state_dict_name(plan->whole, index - plan->count),
                               .whole = true};
        return;
    }
    const mc_lora_row *const row = &plan->rows[index];
    *line = (mc_lora_line){.path = row->path,
                           .rows = row->rows,
                           .columns = row->columns,
                           .rank = row->rank,
                           .experts = row->experts,
                           .energy = mc_energy_share(&row->energy)};
}

mc_status mc_lora_plan_state_dict(const mc_lora_plan *plan, mc_state_dict **out, mc_error *error)
{
    return mc_state_dict_copy(plan->dict, out, error);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

json_t *mc_lora_files_json(const char *name, const char *repository, const char *commit,
                           mc_file *const *files, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const char *const path = mc_file_path(files[i]), *const slash = strrchr(path, '/');
        list = mc_json_append(list, json_pack("{s:o, s:I}", "name",
                                              mc_json_text(slash ? slash + 1 : path), "bytes",
                                              (json_int_t)mc_file_identity_of(files[i]).size));
    }
    json_t *object = mc_json_put(json_object(), "name", mc_json_text(name));
    object = mc_json_put(object, "files", list);
    if (repository)
        object = mc_json_put(object, "repository", mc_json_text(repository));
    return commit ? mc_json_put(object, "commit", mc_json_text(commit)) : object;
}

static json_t *share_json(const mc_energy *energy)
{
    const double share = mc_energy_share(energy);
    return isnan(share) ? json_null() : json_real(round(share * 1e6) / 1e6);
}

/*
 * Finds or appends the sums of the transformer block that `path` lies in, "other" outside of any.
 * NULL and *failed: no memory.
 */
static mc_energy *block_at(mc_energy *sums, char **names, size_t *count, const char *path,
                           bool *failed)
{
    char *const tensor = mc_format("%s.weight", path);
    const mc_part part = tensor ? mc_part_of(NULL, tensor) : (mc_part){0};
    const size_t length = part.stack_length + part.number_length;
    char *const name = length > 0 ? mc_strndup(path, length) : mc_strdup("other");
    mc_free(tensor);
    *failed = *failed || !name || !tensor;
    if (*failed) {
        mc_free(name);
        return NULL;
    }
    for (size_t i = 0; i < *count; i++)
        if (strcmp(names[i], name) == 0) {
            mc_free(name);
            return &sums[i];
        }
    names[*count] = name;
    sums[*count] = (mc_energy){.known = true};
    return &sums[(*count)++];
}

json_t *mc_lora_blocks_json(const mc_lora_plan *plan)
{
    mc_energy *const sums = mc_alloc_zero(plan->count, sizeof *sums);
    char **const names = mc_alloc_zero(plan->count, sizeof *names);
    size_t count = 0;
    bool failed = !sums || !names;
    for (size_t i = 0; !failed && i < plan->count; i++) {
        mc_energy *const sum = block_at(sums, names, &count, plan->rows[i].path, &failed);
        if (!sum)
            break;
        sum->known = sum->known && plan->rows[i].energy.known;
        sum->total += plan->rows[i].energy.total;
        sum->kept += plan->rows[i].energy.kept;
    }
    json_t *list = failed ? NULL : json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *const block = mc_json_put(json_object(), "block", mc_json_text(names[i]));
        list = mc_json_append(list, mc_json_put(block, "energy", share_json(&sums[i])));
        mc_free(names[i]);
    }
    mc_free(sums);
    mc_free(names);
    return list;
}

static json_t *module_json(const mc_lora_row *row)
{
    json_t *object = mc_json_put(json_object(), "path", mc_json_text(row->path));
    object = mc_json_put(object, "shape",
                         json_pack("[I, I]", (json_int_t)row->rows, (json_int_t)row->columns));
    object = mc_json_put(object, "rank", json_integer(row->rank));
    object = mc_json_put(object, "experts", json_integer(row->experts));
    return mc_json_put(object, "energy", share_json(&row->energy));
}

static json_t *report_json(const mc_report *report)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        lines = mc_json_append(lines, mc_json_text(mc_report_line(report, i)));
    return lines;
}

static json_t *plan_json(const mc_lora_plan *plan)
{
    json_t *modules = json_array(), *saved = json_array(), *object = json_object();
    for (size_t i = 0; i < plan->count; i++)
        modules = mc_json_append(modules, module_json(&plan->rows[i]));
    for (size_t i = 0; i < mc_state_dict_count(plan->whole); i++)
        saved = mc_json_append(saved, mc_json_text(mc_state_dict_name(plan->whole, i)));
    if (object && json_object_update(object, plan->summary) != 0) {
        json_decref(object);
        object = NULL;
    }
    object = mc_json_put(object, "warnings", report_json(plan->report));
    object = mc_json_put(object, "modules", modules);
    object = mc_json_put(object, "blocks", mc_lora_blocks_json(plan));
    return mc_json_put(object, "saved", saved);
}

mc_status mc_lora_plan_json(const mc_lora_plan *plan, char **out, mc_error *error)
{
    json_t *const object = plan_json(plan);
    *out = object ? json_dumps(object, JSON_COMPACT | mc_json_shortest(object)) : NULL;
    json_decref(object);
    return *out ? MC_OK : mc_fail_memory(error);
}

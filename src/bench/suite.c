#include "bench/suite.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "recipe/yaml.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_FILE = 1 << 20, MOST_POINTS = 100000 };
static const char seed_mark[] = "{seed}";

/* ---- reading nodes -------------------------------------------------------------------------- */

typedef struct reader {
    mc_suite *suite;
    mc_error *error;
} reader;

static bool is_scalar(const mc_yaml *node)
{
    return node->kind != MC_YAML_LIST && node->kind != MC_YAML_MAP && node->kind != MC_YAML_NULL;
}

/* Fails with "expected WHAT, found KIND" or, of a scalar, its text, at the line of a node. */
static mc_status refuse(const reader *r, const mc_yaml *node, const char *expected)
{
    const bool scalar = is_scalar(node);
    return mc_yaml_fail(r->error, MC_FORMAT, r->suite->path, node->line, node->column,
                        "expected %s, found %s%s%s", expected, scalar ? "'" : "",
                        scalar ? node->text : mc_yaml_kind_text(node->kind), scalar ? "'" : "");
}

static mc_status read_text(const reader *r, const mc_yaml *node, const char *what, const char **out)
{
    if (!is_scalar(node))
        return refuse(r, node, what);
    *out = node->text;
    return MC_OK;
}

/* Reads the text of a key. *out stays NULL if the key is optional and missing. */
static mc_status read_key(const reader *r, const mc_yaml *map, const char *key, bool required,
                          const char **out)
{
    const mc_yaml *const node = mc_yaml_get(map, key);
    *out = NULL;
    if (node)
        return read_text(r, node, key, out);
    if (!required)
        return MC_OK;
    return mc_yaml_fail(r->error, MC_FORMAT, r->suite->path, map->line, map->column,
                        "expected the key '%s', which is missing", key);
}

/*
 * Rejects keys that are not in `known`, which ends with NULL: a misspelt one would silently have no
 * effect.
 */
static mc_status check_keys(const reader *r, const mc_yaml *map, const char *const *known)
{
    for (size_t i = 0; i < map->count; i++) {
        const mc_yaml *const key = map->pairs[i].key;
        size_t k = 0;
        while (known[k] && strcmp(known[k], key->text) != 0)
            k++;
        const char *const near = known[k] ? NULL : mc_suggest(key->text, known, k);
        if (!known[k])
            return mc_yaml_fail(r->error, MC_FORMAT, r->suite->path, key->line, key->column,
                                "unknown key '%s'%s%s%s", key->text, near ? "; did you mean '" : "",
                                near ? near : "", near ? "'?" : "");
    }
    return MC_OK;
}

/* Reads a list of texts, or a single one. */
static mc_status read_texts(const reader *r, const mc_yaml *node, const char *what,
                            const char ***out, size_t *count)
{
    const bool list = node->kind == MC_YAML_LIST;
    const size_t size = list ? node->count : 1;
    *out = mc_alloc_zero(size, sizeof **out);
    if (!*out)
        return mc_fail_memory(r->error);
    for (*count = 0; *count < size; ++*count)
        MC_TRY(read_text(r, list ? node->items[*count] : node, what, &(*out)[*count]));
    return MC_OK;
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static mc_status find_metric(const reader *r, const mc_yaml *map, mc_suite_task *task)
{
    MC_TRY(read_key(r, map, "metric", false, &task->metric));
    for (size_t i = 0; task->metric && task->task->metrics[i]; i++)
        if (strcmp(task->task->metrics[i], task->metric) == 0)
            return MC_OK;
    if (!task->metric)
        return MC_OK;
    return mc_yaml_fail(r->error, MC_USAGE, r->suite->path, map->line, map->column,
                        "the task %s has no metric '%s'", task->task->name, task->metric);
}

static mc_status read_task(const reader *r, const mc_yaml_pair *pair, mc_suite_task *task)
{
    static const char *const keys[] = {"task", "model", "data", "metric", NULL};
    const mc_yaml *const map = pair->value;
    const char *name = NULL, *data = NULL;
    if (map->kind != MC_YAML_MAP)
        return refuse(r, map, "a map with task and model");
    MC_TRY(check_keys(r, map, keys));
    task->name = pair->key->text;
    MC_TRY(read_key(r, map, "task", true, &name));
    MC_TRY(read_key(r, map, "model", true, &task->model));
    MC_TRY(read_key(r, map, "data", false, &data));
    task->task = mc_glue_task_find(name);
    if (!task->task)
        return mc_yaml_fail(r->error, MC_USAGE, r->suite->path, map->line, map->column,
                            "expected a GLUE task such as rte, found '%s'", name);
    if (data && !(task->data = mc_suite_model(r->suite, data, "")))
        return mc_fail_memory(r->error);
    return find_metric(r, map, task);
}

static mc_status read_tasks(const reader *r, const mc_yaml *map)
{
    if (!map || map->kind != MC_YAML_MAP || map->count == 0)
        return mc_fail_at(r->error, MC_FORMAT, r->suite->path, NULL, -1,
                          "expected tasks: a map from names to task, model and data");
    r->suite->tasks = mc_alloc_zero(map->count, sizeof *r->suite->tasks);
    if (!r->suite->tasks)
        return mc_fail_memory(r->error);
    for (size_t i = 0; i < map->count; i++) {
        /* Counted before it is read, so that a failure frees it too. */
        r->suite->task_count++;
        MC_TRY(read_task(r, &map->pairs[i], &r->suite->tasks[i]));
    }
    return MC_OK;
}

/* ---- methods -------------------------------------------------------------------------------- */

/*
 * Reads a parameter's values. A list is a grid of values to try; values per model are one text,
 * "0.3,0.7".
 */
static mc_status read_axis(const reader *r, const mc_yaml_pair *pair, mc_suite_axis *axis)
{
    const bool list = pair->value->kind == MC_YAML_LIST;
    const size_t size = list ? pair->value->count : 1;
    axis->settings = mc_alloc_zero(size, sizeof *axis->settings);
    if (!axis->settings)
        return mc_fail_memory(r->error);
    if (size == 0)
        return refuse(r, pair->value, "one value or more");
    for (; axis->count < size; axis->count++) {
        const char *value = NULL;
        MC_TRY(read_text(r, list ? pair->value->items[axis->count] : pair->value,
                         "a value or a list of values", &value));
        axis->settings[axis->count] = mc_format("%s=%s", pair->key->text, value);
        if (!axis->settings[axis->count])
            return mc_fail_memory(r->error);
    }
    return MC_OK;
}

/* Axes multiply: a few long ones are more merges than anybody waits for. */
static mc_status check_grid(const reader *r, const mc_yaml *map, const mc_suite_method *method)
{
    size_t points = 1;
    for (size_t i = 0; i < method->axis_count; i++) {
        if (method->axes[i].count > MOST_POINTS / points)
            return mc_yaml_fail(r->error, MC_USAGE, r->suite->path, map->line, map->column,
                                "expected a grid of at most %d points, found more", MOST_POINTS);
        points *= method->axes[i].count;
    }
    return MC_OK;
}

static mc_status read_axes(const reader *r, const mc_yaml *map, mc_suite_method *method)
{
    if (!map)
        return MC_OK;
    if (map->kind != MC_YAML_MAP)
        return refuse(r, map, "a map of parameters");
    method->axes = mc_alloc_zero(map->count, sizeof *method->axes);
    if (!method->axes)
        return mc_fail_memory(r->error);
    for (size_t i = 0; i < map->count; i++) {
        method->axis_count++;
        MC_TRY(read_axis(r, &map->pairs[i], &method->axes[i]));
    }
    return check_grid(r, map, method);
}

static mc_status read_then(const reader *r, const mc_yaml *node, mc_suite_method *method)
{
    const char **names = NULL;
    size_t count = 0;
    if (!node)
        return MC_OK;
    mc_status status = read_texts(r, node, "the name of an add-on", &names, &count);
    method->then = status == MC_OK ? mc_alloc_zero(count, sizeof *method->then) : NULL;
    if (status == MC_OK && !method->then)
        status = mc_fail_memory(r->error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        method->then[method->then_count++] = mc_method_find(names[i]);
        if (!method->then[i] || !method->then[i]->add_on)
            status = mc_yaml_fail(r->error, MC_USAGE, r->suite->path, node->line, node->column,
                                  "expected an add-on such as lines, svc or boost, found '%s'",
                                  names[i]);
    }
    mc_free(names);
    return status;
}

static mc_status read_side(const reader *r, const mc_yaml_pair *pair, mc_suite_side *side)
{
    size_t count = 0;
    side->name = pair->key->text;
    MC_TRY(read_texts(r, pair->value, "the name of a model", &side->models, &count));
    if (count == r->suite->task_count)
        return MC_OK;
    return mc_yaml_fail(r->error, MC_USAGE, r->suite->path, pair->value->line, pair->value->column,
                        "expected %zu models, one per task, found %zu", r->suite->task_count,
                        count);
}

static mc_status read_sides(const reader *r, const mc_yaml *map, mc_suite_method *method)
{
    if (!map)
        return MC_OK;
    if (map->kind != MC_YAML_MAP)
        return refuse(r, map, "a map from names of side inputs to models");
    method->sides = mc_alloc_zero(map->count, sizeof *method->sides);
    if (!method->sides)
        return mc_fail_memory(r->error);
    for (size_t i = 0; i < map->count; i++) {
        method->side_count++;
        MC_TRY(read_side(r, &map->pairs[i], &method->sides[i]));
    }
    return MC_OK;
}

static mc_status read_method(const reader *r, const mc_yaml *map, mc_suite_method *method)
{
    static const char *const keys[] = {"name",     "method", "then", "parameters",
                                       "per_task", "side",   NULL};
    const char *name = NULL;
    if (map->kind != MC_YAML_MAP)
        return refuse(r, map, "a map with method");
    MC_TRY(check_keys(r, map, keys));
    MC_TRY(read_key(r, map, "method", true, &name));
    method->method = mc_method_find(name);
    if (!method->method)
        return mc_yaml_fail(r->error, MC_USAGE, r->suite->path, map->line, map->column,
                            "expected a method, found '%s'", name);
    MC_TRY(read_key(r, map, "name", false, &method->name));
    method->name = method->name ? method->name : name;
    MC_TRY(read_key(r, map, "per_task", false, &method->per_task));
    MC_TRY(read_then(r, mc_yaml_get(map, "then"), method));
    MC_TRY(read_sides(r, mc_yaml_get(map, "side"), method));
    return read_axes(r, mc_yaml_get(map, "parameters"), method);
}

static mc_status read_methods(const reader *r, const mc_yaml *list)
{
    if (!list || list->kind != MC_YAML_LIST || list->count == 0)
        return mc_fail_at(r->error, MC_FORMAT, r->suite->path, NULL, -1,
                          "expected methods: a list of maps with method and parameters");
    r->suite->methods = mc_alloc_zero(list->count, sizeof *r->suite->methods);
    if (!r->suite->methods)
        return mc_fail_memory(r->error);
    for (size_t i = 0; i < list->count; i++) {
        r->suite->method_count++;
        MC_TRY(read_method(r, list->items[i], &r->suite->methods[i]));
    }
    return MC_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static mc_status read_share(const reader *r, const mc_yaml *node)
{
    r->suite->validation = 1. / 3;
    if (!node)
        return MC_OK;
    r->suite->validation = node->number;
    if ((node->kind == MC_YAML_NUMBER || node->kind == MC_YAML_INTEGER) && node->number > 0 &&
        node->number < 1)
        return MC_OK;
    return refuse(r, node, "a share between 0 and 1");
}

/* A seed that is listed twice would count as two, and lower the deviation over seeds. */
static mc_status check_seeds(const reader *r, const mc_yaml *node)
{
    const mc_suite *const suite = r->suite;
    if (suite->seed_count == 0)
        return refuse(r, node, "one seed or more");
    for (size_t i = 1; i < suite->seed_count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(suite->seeds[i], suite->seeds[k]) == 0)
                return mc_yaml_fail(r->error, MC_USAGE, suite->path, node->items[i]->line,
                                    node->items[i]->column, "seed '%s' is listed twice",
                                    suite->seeds[i]);
    return MC_OK;
}

/* Reads the seeds. Without any there is one, whose name is empty. */
static mc_status read_seeds(const reader *r, const mc_yaml *node)
{
    mc_suite *const suite = r->suite;
    if (node) {
        MC_TRY(read_texts(r, node, "a seed", &suite->seeds, &suite->seed_count));
        return check_seeds(r, node);
    }
    suite->seeds = mc_alloc_zero(1, sizeof *suite->seeds);
    if (!suite->seeds)
        return mc_fail_memory(r->error);
    suite->seeds[0] = "";
    suite->seed_count = 1;
    return MC_OK;
}

/* Seeds that no name contains would give the same models again. */
static mc_status check_seed_mark(const reader *r, const mc_yaml *seeds)
{
    const mc_suite *const suite = r->suite;
    bool found = !seeds || strstr(suite->base, seed_mark);
    for (size_t t = 0; t < suite->task_count; t++)
        found = found || strstr(suite->tasks[t].model, seed_mark);
    return found ? MC_OK
                 : mc_yaml_fail(r->error, MC_USAGE, suite->path, seeds->line, seeds->column,
                                "expected %s in the name of a model, found none", seed_mark);
}

static mc_status read_document(const reader *r, const mc_yaml *root)
{
    static const char *const keys[] = {"base",  "seeds",   "validation", "heads",
                                       "tasks", "methods", NULL};
    mc_suite *const suite = r->suite;
    const mc_yaml *const heads = mc_yaml_get(root, "heads");
    if (root->kind != MC_YAML_MAP)
        return refuse(r, root, "a map with base, tasks and methods");
    MC_TRY(check_keys(r, root, keys));
    MC_TRY(read_key(r, root, "base", true, &suite->base));
    MC_TRY(read_share(r, mc_yaml_get(root, "validation")));
    MC_TRY(read_seeds(r, mc_yaml_get(root, "seeds")));
    if (heads)
        MC_TRY(read_texts(r, heads, "a pattern", &suite->heads, &suite->head_count));
    MC_TRY(read_tasks(r, mc_yaml_get(root, "tasks")));
    MC_TRY(check_seed_mark(r, mc_yaml_get(root, "seeds")));
    return read_methods(r, mc_yaml_get(root, "methods"));
}

static mc_status read_suite(mc_suite *suite, const char *path, mc_error *error)
{
    const char *const slash = strrchr(path, '/');
    size_t size = 0;
    suite->path = mc_strdup(path);
    suite->folder = slash ? mc_strndup(path, (size_t)(slash - path)) : mc_strdup(".");
    if (!suite->path || !suite->folder)
        return mc_fail_memory(error);
    MC_TRY(mc_file_load(path, LARGEST_FILE, &suite->text, &size, error));
    MC_TRY(mc_yaml_parse(path, suite->text, size, &suite->yaml, error));
    if (suite->yaml->document_count != 1)
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1, "expected one document, found %zu",
                          suite->yaml->document_count);
    /* A key that is written twice: one of the two values would silently have no effect. */
    if (suite->yaml->warning_count > 0)
        return mc_yaml_fail(error, MC_FORMAT, path, suite->yaml->warnings[0].line,
                            suite->yaml->warnings[0].column, "%s", suite->yaml->warnings[0].text);
    const reader r = {suite, error};
    return read_document(&r, suite->yaml->documents[0]);
}

mc_status mc_suite_open(const char *path, mc_suite **out, mc_error *error)
{
    mc_suite *const suite = mc_alloc_zero(1, sizeof *suite);
    if (!suite)
        return mc_fail_memory(error);
    const mc_status status = read_suite(suite, path, error);
    if (status == MC_OK)
        *out = suite;
    else
        mc_suite_close(suite);
    return status;
}

static void free_method(mc_suite_method *method)
{
    for (size_t i = 0; i < method->axis_count; i++) {
        for (size_t k = 0; k < method->axes[i].count; k++)
            mc_free(method->axes[i].settings[k]);
        mc_free(method->axes[i].settings);
    }
    for (size_t i = 0; i < method->side_count; i++)
        mc_free(method->sides[i].models);
    mc_free(method->sides);
    mc_free(method->axes);
    mc_free(method->then);
}

void mc_suite_close(mc_suite *suite)
{
    if (!suite)
        return;
    for (size_t i = 0; i < suite->task_count; i++)
        mc_free(suite->tasks[i].data);
    for (size_t i = 0; i < suite->method_count; i++)
        free_method(&suite->methods[i]);
    mc_free(suite->tasks);
    mc_free(suite->methods);
    mc_free(suite->seeds);
    mc_free(suite->heads);
    mc_yaml_free(suite->yaml);
    mc_free(suite->text);
    mc_free(suite->path);
    mc_free(suite->folder);
    mc_free(suite);
}

/* ---- grids and names ------------------------------------------------------------------------ */

size_t mc_suite_points(const mc_suite_method *method)
{
    size_t points = 1;
    for (size_t i = 0; i < method->axis_count; i++)
        points *= method->axes[i].count;
    return points;
}

/* Mixed radix, the last parameter fastest. */
void mc_suite_point(const mc_suite_method *method, size_t index, const char **out)
{
    for (size_t i = method->axis_count; i-- > 0;) {
        const mc_suite_axis *const axis = &method->axes[i];
        out[i] = axis->settings[index % axis->count];
        index /= axis->count;
    }
}

char *mc_suite_model(const mc_suite *suite, const char *text, const char *seed)
{
    const char *const mark = strstr(text, seed_mark);
    char *const name = mark ? mc_format("%.*s%s%s", (int)(mark - text), text, seed,
                                        mark + sizeof seed_mark - 1)
                            : mc_strdup(text);
    if (!name || *name == '/')
        return name;
    /*
     * A path beside the suite comes first; anything else is a path from here, or a name on the Hub.
     */
    char *const beside = mc_format("%s/%s", suite->folder, name);
    if (!beside || access(beside, F_OK) == 0) {
        mc_free(name);
        return beside;
    }
    mc_free(beside);
    return name;
}

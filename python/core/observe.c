/* Statistics of models (observe.h). */
#include "core.h"

#include <mergecraft/observe.h>

#include <stdbool.h>
#include <string.h>

static void on_progress(size_t done, size_t total, void *user)
{
    core_run_step(user, (int64_t)done, (int64_t)total);
}

/* Arguments of `observe`. */
typedef struct observe_arguments {
    PyObject *model, *data, *progress;
    mc_observe_options options;
    int threads;
    const char *path;
} observe_arguments;

/* Opens a pipeline without weights: those of the model are observed. */
static mc_status open_pipeline(const mc_model *model, int threads, mc_pipeline **out,
                               mc_error *error)
{
    const mc_pipeline_options options = {.threads = threads};
    if (!mc_model_config(model) || !mc_model_folder(model))
        return mc_fail(error, MC_NOT_FOUND, "%s: expected config.json and a tokenizer, found none",
                       mc_model_name(model));
    return mc_pipeline_new(mc_model_config(model), mc_model_folder(model), &options, out, error);
}

static mc_status observe_model(const observe_arguments *a, const mc_model *model,
                               const mc_glue_task *task, const mc_glue_data *data,
                               const mc_pipeline_run *run, mc_observe_result *result,
                               mc_error *error)
{
    mc_pipeline *pipeline = NULL;
    mc_status status = open_pipeline(model, a->threads, &pipeline, error);
    if (status == MC_OK)
        status = mc_pipeline_observe(pipeline, mc_model_state_dict(model), task, data, &a->options,
                                     run, a->path, result, error);
    mc_pipeline_close(pipeline);
    return status;
}

static PyObject *can_observe(PyObject *module, PyObject *object)
{
    const mc_model *const model = core_model_of(object);
    mc_pipeline *pipeline = NULL;
    mc_error error = MC_ERROR_NONE;
    (void)module;
    if (!model)
        return NULL;
    const mc_status status = open_pipeline(model, 1, &pipeline, &error);
    mc_pipeline_close(pipeline);
    if (status != MC_OK && status != MC_UNSUPPORTED && status != MC_NOT_FOUND)
        return core_raise(&error);
    return PyBool_FromLong(status == MC_OK);
}

static PyObject *dict_of_result(const mc_observe_result *r)
{
    return Py_BuildValue(
        "{s:N,s:O,s:K,s:K,s:O,s:O}", "path", PyUnicode_DecodeFSDefault(r->path), "cached",
        r->cached ? Py_True : Py_False, "examples", (unsigned long long)r->examples, "truncated",
        (unsigned long long)r->truncated, "singular", r->singular ? Py_True : Py_False, "guessed",
        r->labels_guessed ? Py_True : Py_False);
}

static PyObject *run_observe(const observe_arguments *a)
{
    const mc_glue_task *task;
    const mc_model *const model = core_model_of(a->model);
    const mc_glue_data *const data = model ? core_data_of(a->data, &task) : NULL;
    if (!data)
        return NULL;
    mc_observe_result result;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    core_run run = {.progress = a->progress};
    const mc_pipeline_run how = {.cancel = &run.cancel, .progress = on_progress, .user = &run};
    Py_BEGIN_ALLOW_THREADS status = observe_model(a, model, task, data, &how, &result, &error);
    Py_END_ALLOW_THREADS if (core_run_end(&run, status, &error) != 0) return NULL;
    return dict_of_result(&result);
}

static PyObject *observe(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"model",   "data", "grams",    "fishers", "empirical",
                            "threads", "path", "progress", NULL};
    int grams, fishers, empirical;
    PyObject *path = Py_None, *bytes = NULL;
    observe_arguments a = {.progress = Py_None};
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOppp|iOO", names, &a.model, &a.data, &grams,
                                     &fishers, &empirical, &a.threads, &path, &a.progress) ||
        (path != Py_None && !PyUnicode_FSConverter(path, &bytes)))
        return NULL;
    a.path = bytes ? PyBytes_AsString(bytes) : NULL;
    a.options = (mc_observe_options){.grams = grams != 0,
                                     .fishers = fishers != 0,
                                     .form = empirical ? MC_FISHER_EMPIRICAL : MC_FISHER_EXACT};
    PyObject *const found = run_observe(&a);
    Py_XDECREF(bytes);
    return found;
}

/* ---- all models together --------------------------------------------------------------------- */

/* Models that are observed together, each with a pipeline and its examples. */
typedef struct joint {
    Py_ssize_t count;
    mc_observed_model *models;
    mc_observe_result *results;
    double *weights;
} joint;

static void close_joint(joint *j)
{
    for (Py_ssize_t i = 0; j->models && i < j->count; i++)
        mc_pipeline_close((mc_pipeline *)(uintptr_t)j->models[i].pipeline);
    PyMem_Free(j->models);
    PyMem_Free(j->results);
    PyMem_Free(j->weights);
}

/* Fills models without their pipelines; -1 with an exception. */
static int fill_joint(joint *j, PyObject *models, PyObject *data)
{
    j->count = PyList_Size(models);
    if (PyList_Size(data) != j->count) {
        PyErr_SetString(PyExc_ValueError, "expected one data set per model");
        return -1;
    }
    j->models = PyMem_Calloc((size_t)j->count + 1, sizeof *j->models);
    j->results = PyMem_Calloc((size_t)j->count + 1, sizeof *j->results);
    j->weights = PyMem_Calloc((size_t)j->count + 1, sizeof *j->weights);
    if (!j->models || !j->results || !j->weights) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < j->count; i++) {
        mc_observed_model *const one = &j->models[i];
        one->model = core_model_of(PyList_GetItem(models, i));
        one->data = one->model ? core_data_of(PyList_GetItem(data, i), &one->task) : NULL;
        if (!one->data)
            return -1;
    }
    return 0;
}

/* Arguments of observe_jointly. */
typedef struct joint_arguments {
    const char *side;
    const mc_model *base;
    const char *const *params;
    Py_ssize_t param_count;
    int threads;
} joint_arguments;

static mc_status run_joint(joint *j, const joint_arguments *a, const mc_pipeline_run *run,
                           mc_error *error)
{
    const size_t count = (size_t)j->count, params = (size_t)a->param_count;
    for (size_t i = 0; i < count; i++) {
        mc_pipeline *pipeline = NULL;
        const mc_status status = open_pipeline(j->models[i].model, a->threads, &pipeline, error);
        if (status != MC_OK)
            return status;
        j->models[i].pipeline = pipeline;
    }
    if (strcmp(a->side, "weights") == 0)
        return mc_greedy_soup(j->models, count, run, j->weights, NULL, j->results, error);
    if (strcmp(a->side, "coefficients") == 0)
        return mc_learn_coefficients(j->models, count, a->base, a->params, params, run, NULL,
                                     j->results, error);
    return mc_observe_propagated(j->models, count, a->params, params, run, NULL, j->results, error);
}

/* A list of `count` weights or results. */
static PyObject *list_of_joint(const joint *j, bool weights, Py_ssize_t count)
{
    PyObject *const list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *const item = weights ? PyFloat_FromDouble(j->weights[i])
                                       : dict_of_result(&j->results[i]);
        if (!item) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, i, item);
    }
    return list;
}

/* All members of a soup are scored on the same examples, which one result counts. */
static PyObject *pair_of_joint(const joint *j, bool soup)
{
    PyObject *const results = list_of_joint(j, false, soup ? 1 : j->count);
    PyObject *const weights = list_of_joint(j, true, soup ? j->count : 0);
    if (results && weights)
        return Py_BuildValue("NN", results, weights);
    Py_XDECREF(results);
    Py_XDECREF(weights);
    return NULL;
}

static PyObject *observe_jointly(PyObject *module, PyObject *args)
{
    PyObject *models, *data, *base, *params;
    core_run run = {0};
    const mc_pipeline_run how = {.cancel = &run.cancel, .progress = on_progress, .user = &run};
    joint_arguments a = {0};
    joint j = {0};
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    (void)module;
    if (!PyArg_ParseTuple(args, "sO!O!OO!iO", &a.side, &PyList_Type, &models, &PyList_Type, &data,
                          &base, &PyList_Type, &params, &a.threads, &run.progress) ||
        (base != Py_None && !(a.base = core_model_of(base))))
        return NULL;
    const char **const names = core_strings(params, &a.param_count);
    PyObject *found = NULL;
    if (names && fill_joint(&j, models, data) == 0) {
        a.params = names;
        Py_BEGIN_ALLOW_THREADS status = run_joint(&j, &a, &how, &error);
        Py_END_ALLOW_THREADS if (core_run_end(&run, status, &error) == 0)
            found = pair_of_joint(&j, strcmp(a.side, "weights") == 0);
    }
    close_joint(&j);
    PyMem_Free((void *)(uintptr_t)names);
    return found;
}

static PyObject *take_side(PyObject *module, PyObject *args)
{
    PyObject *object;
    const char *side;
    mc_error error = MC_ERROR_NONE;
    (void)module;
    if (!PyArg_ParseTuple(args, "Os", &object, &side))
        return NULL;
    const mc_model *const model = core_model_of(object);
    if (!model)
        return NULL;
    if (mc_model_take_side((mc_model *)(uintptr_t)model, side, &error) != MC_OK)
        return core_raise(&error);
    Py_RETURN_NONE;
}

/* The pairs of a flat list of names, which are borrowed; NULL with an exception. */
static const char *(*pairs_of(PyObject *names, size_t *count))[2]
{
    Py_ssize_t length = 0;
    const char **const flat = core_strings(names, &length);
    *count = (size_t)length / 2;
    /* An array of pairs is the same memory as the flat array. */
    return (const char *(*)[2])flat;
}

static PyObject *save_statistics(PyObject *module, PyObject *args)
{
    PyObject *path = NULL, *values, *weights, *shared;
    unsigned long long examples, tokens;
    int empirical;
    mc_statistics_file s = {0};
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    (void)module;
    if (!PyArg_ParseTuple(args, "O&OOO!zzpKK", PyUnicode_FSConverter, &path, &values, &weights,
                          &PyList_Type, &shared, &s.model, &s.data, &empirical, &examples, &tokens))
        return NULL;
    s.values = core_dict_of(values);
    s.weights = s.values ? core_dict_of(weights) : NULL;
    const char *(*const pairs)[2] = s.weights ? pairs_of(shared, &s.shared_count) : NULL;
    if (!pairs) {
        Py_DECREF(path);
        return NULL;
    }
    s.shared = (const char *const(*)[2])pairs;
    s.form = empirical ? MC_FISHER_EMPIRICAL : MC_FISHER_EXACT;
    s.examples = (size_t)examples;
    s.tokens = (size_t)tokens;
    Py_BEGIN_ALLOW_THREADS status = mc_statistics_save(&s, PyBytes_AsString(path), &error);
    Py_END_ALLOW_THREADS PyMem_Free((void *)(uintptr_t)pairs);
    Py_DECREF(path);
    if (status != MC_OK)
        return core_raise(&error);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"observe", (PyCFunction)(void (*)(void))observe, METH_VARARGS | METH_KEYWORDS,
     "observe(model, data, grams, fishers, empirical, threads=0, path=None, progress=None)\n--\n\n"
     "Writes statistics of a model; returns path, cached, examples, truncated, singular."},
    {"observe_jointly", observe_jointly, METH_VARARGS,
     "observe_jointly(side, models, data, base, params, threads, progress)\n--\n\n"
     "Computes propagated_grams, coefficients or weights of models with one data set each.\n"
     "Returns a list of results as of observe, and the list of weights. Weights have one result."},
    {"can_observe", can_observe, METH_O,
     "can_observe(model)\n--\n\nReturns whether the architecture and the tokenizer are supported."},
    {"take_side", take_side, METH_VARARGS,
     "take_side(model, side)\n--\n\nKeeps the tensors of one side input of a file of statistics."},
    {"save_statistics", save_statistics, METH_VARARGS,
     "save_statistics(path, values, weights, shared, model, data, empirical, examples, tokens)\n"
     "--\n\nWrites statistics that were computed elsewhere; shared: names, two of each pair."},
    {0}};

int core_add_observe(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

/* Statistics of models (observe.h). */
#include "core.h"

#include <mergecraft/observe.h>

static void on_progress(size_t done, size_t total, void *user)
{
    core_run_step(user, (int64_t)done, (int64_t)total);
}

/* What `observe` was given. */
typedef struct observe_arguments {
    PyObject *model, *data, *progress;
    mc_observe_options options;
    int threads;
    const char *path;
} observe_arguments;

/* Opens a pipeline without weights, which is enough to observe those of the model. */
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
    return Py_BuildValue("{s:N,s:O,s:K,s:K,s:O}", "path", PyUnicode_DecodeFSDefault(result.path),
                         "cached", result.cached ? Py_True : Py_False, "examples",
                         (unsigned long long)result.examples, "truncated",
                         (unsigned long long)result.truncated, "singular",
                         result.singular ? Py_True : Py_False);
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

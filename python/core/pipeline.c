#include "core.h"

#include <string.h>

typedef struct pipeline_object {
    PyObject ob_base;
    mc_pipeline *pipeline;
    PyObject *model; /* must live as long */
} pipeline_object;

static PyTypeObject *pipeline_type;

static mc_pipeline *of(PyObject *object)
{
    return ((pipeline_object *)object)->pipeline;
}

static int precision_of(const char *name, mc_precision *precision)
{
    static const char *const names[] = {[MC_PRECISION_F32] = "float32",
                                        [MC_PRECISION_BF16] = "bfloat16",
                                        [MC_PRECISION_INT8] = "int8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *precision = (mc_precision)i;
            return 1;
        }
    PyErr_Format(PyExc_ValueError, "expected float32, bfloat16 or int8, found %s", name);
    return 0;
}

static PyObject *new_pipeline(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"model", "dtype", "threads", NULL};
    PyObject *model_object;
    const char *dtype = "float32";
    mc_pipeline_options options = {0};
    mc_pipeline *pipeline = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|si", names, &model_object, &dtype,
                                     &options.threads))
        return NULL;
    const mc_model *const model = core_model_of(model_object);
    if (!model || !precision_of(dtype, &options.precision))
        return NULL;
    /*
     * Loading reads tensors, which may be computed by Python: a kept exception is raised in place
     * of the error.
     */
    Py_BEGIN_ALLOW_THREADS status = mc_pipeline_open(model, &options, &pipeline, &error);
    Py_END_ALLOW_THREADS if (status != MC_OK) return core_raise_kept(&error);
    pipeline_object *const self = (pipeline_object *)PyType_GenericAlloc(type, 0);
    if (!self) {
        mc_pipeline_close(pipeline);
        return NULL;
    }
    self->pipeline = pipeline;
    self->model = Py_NewRef(model_object);
    return (PyObject *)self;
}

static void pipeline_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_pipeline_close(of(object));
    Py_XDECREF(((pipeline_object *)object)->model);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *get_labels(PyObject *self, void *closure)
{
    (void)closure;
    const size_t count = mc_pipeline_label_count(of(self));
    PyObject *const labels = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; labels && i < count; i++)
        PyList_SetItem(labels, (Py_ssize_t)i, PyUnicode_FromString(mc_pipeline_label(of(self), i)));
    return labels;
}

static PyObject *get_max_length(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(mc_pipeline_max_length(of(self)));
}

static PyGetSetDef pipeline_properties[] = {
    {"labels", get_labels, NULL, "names of the labels", NULL},
    {"max_length", get_max_length, NULL, "tokens of a text that count", NULL},
    {0}};

/* ---- texts ----------------------------------------------------------------------------------- */

static int text_of(PyObject *object, const char **text, size_t *size)
{
    Py_ssize_t length;
    *text = PyUnicode_AsUTF8AndSize(object, &length);
    *size = (size_t)length;
    return *text != NULL;
}

static int input_of(PyObject *item, mc_text_input *input)
{
    PyObject *text, *pair;
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "expected a tuple of a text and a text or None");
        return 0;
    }
    return PyArg_ParseTuple(item, "OO", &text, &pair) &&
           text_of(text, &input->text, &input->size) &&
           (pair == Py_None || text_of(pair, &input->pair, &input->pair_size));
}

/*
 * Converts a list of (text, pair or None); the list owns the texts. Returns NULL with an exception.
 */
static mc_text_input *texts_of(PyObject *list, Py_ssize_t *count)
{
    *count = PyList_Size(list);
    if (*count < 0)
        return NULL;
    mc_text_input *const texts = PyMem_Calloc((size_t)*count + 1, sizeof *texts);
    if (!texts)
        return (mc_text_input *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < *count; i++) {
        if (!input_of(PyList_GetItem(list, i), &texts[i])) {
            PyMem_Free(texts);
            return NULL;
        }
    }
    return texts;
}

static void on_progress(size_t done, size_t total, void *user)
{
    core_run_step(user, (int64_t)done, (int64_t)total);
}

typedef mc_status (*text_function)(const mc_pipeline *pipeline, const mc_text_input *texts,
                                   size_t count, const mc_pipeline_run *run, float *out,
                                   mc_error *error);

/* Memory of float32: [texts][labels]. */
static PyObject *run_texts(PyObject *self, PyObject *args, PyObject *keywords,
                           text_function function)
{
    static char *names[] = {"texts", "progress", NULL};
    PyObject *list, *progress = Py_None;
    Py_ssize_t count;
    void *out = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O", names, &list, &progress))
        return NULL;
    mc_text_input *const texts = texts_of(list, &count);
    const size_t labels = mc_pipeline_label_count(of(self));
    /* The library writes here without the lock. No Python code has the object yet. */
    PyObject *const memory = texts ? core_memory_new(
                                         (int64_t)((size_t)count * labels * sizeof(float)), &out)
                                   : NULL;
    core_run run = {.progress = progress};
    const mc_pipeline_run how = {.cancel = &run.cancel, .progress = on_progress, .user = &run};
    if (memory) {
        Py_BEGIN_ALLOW_THREADS status = function(of(self), texts, (size_t)count, &how, out, &error);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(texts);
    /* Without memory an exception is set, and nothing was run. */
    if (!memory || core_run_end(&run, status, &error) == 0)
        return memory;
    Py_DECREF(memory);
    return NULL;
}

static PyObject *pipeline_logits(PyObject *self, PyObject *args, PyObject *keywords)
{
    return run_texts(self, args, keywords, mc_pipeline_logits);
}

static PyObject *pipeline_classify(PyObject *self, PyObject *args, PyObject *keywords)
{
    return run_texts(self, args, keywords, mc_pipeline_classify);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

static PyObject *doubles(const double *values, size_t count)
{
    PyObject *const list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++)
        PyList_SetItem(list, (Py_ssize_t)i, PyFloat_FromDouble(values[i]));
    return list;
}

static PyObject *scores_of(const mc_evaluation *evaluation)
{
    void *out;
    const size_t size = evaluation->examples * evaluation->label_count * sizeof(float);
    PyObject *const memory = core_memory_new((int64_t)size, &out);
    if (memory && size > 0)
        memcpy(out, evaluation->scores, size);
    return memory;
}

static PyObject *evaluation_of(const mc_evaluation *e)
{
    PyObject *const metrics = core_metrics(e->metrics, e->metric_count);
    /* Without labels there is no loss: an empty dict. */
    PyObject *const loss = core_metrics(&e->loss, e->labelled ? 1 : 0);
    PyObject *const predictions = doubles(e->predictions, e->examples);
    PyObject *const scores = scores_of(e);
    /* "N" takes over a reference, "O" adds one: True and False are borrowed. */
    if (metrics && loss && predictions && scores)
        return Py_BuildValue("{s:N,s:N,s:N,s:N,s:O,s:K}", "metrics", metrics, "loss", loss,
                             "predictions", predictions, "scores", scores, "guessed",
                             e->guessed ? Py_True : Py_False, "truncated",
                             (unsigned long long)e->truncated);
    Py_XDECREF(metrics);
    Py_XDECREF(loss);
    Py_XDECREF(predictions);
    Py_XDECREF(scores);
    return NULL;
}

static PyObject *pipeline_evaluate(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"data", "progress", NULL};
    PyObject *data, *progress = Py_None;
    mc_evaluation evaluation = {0};
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O", names, &data, &progress))
        return NULL;
    const mc_glue_task *task;
    const mc_glue_data *const examples = core_data_of(data, &task);
    if (!examples)
        return NULL;
    core_run run = {.progress = progress};
    const mc_pipeline_run how = {.cancel = &run.cancel, .progress = on_progress, .user = &run};
    Py_BEGIN_ALLOW_THREADS status = mc_pipeline_evaluate(of(self), task, examples, &how,
                                                         &evaluation, &error);
    Py_END_ALLOW_THREADS PyObject *const found = core_run_end(&run, status, &error) == 0
                                                     ? evaluation_of(&evaluation)
                                                     : NULL;
    /*
     * After an error there is nothing to free. After a signal there may be: the call can have
     * succeeded.
     */
    if (status == MC_OK)
        mc_evaluation_free(&evaluation);
    return found;
}

static PyObject *pipeline_load(PyObject *self, PyObject *dict)
{
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    const mc_state_dict *const weights = core_dict_of(dict);
    if (!weights)
        return NULL;
    Py_BEGIN_ALLOW_THREADS status = mc_pipeline_load(of(self), weights, &error);
    Py_END_ALLOW_THREADS if (status != MC_OK) return core_raise_kept(&error);
    Py_RETURN_NONE;
}

static PyMethodDef pipeline_methods[] = {
    {"logits", (PyCFunction)(void (*)(void))pipeline_logits, METH_VARARGS | METH_KEYWORDS,
     "logits(texts, progress=None)\n--\n\nMemory of float32, [texts][labels]; texts: (text, pair "
     "or None), each."},
    {"classify", (PyCFunction)(void (*)(void))pipeline_classify, METH_VARARGS | METH_KEYWORDS,
     "classify(texts, progress=None)\n--\n\nAs logits, scores."},
    {"evaluate", (PyCFunction)(void (*)(void))pipeline_evaluate, METH_VARARGS | METH_KEYWORDS,
     "evaluate(data, progress=None)\n--\n\nReturns metrics and loss as {name: (value, standard "
     "error)}, predictions, scores, guessed, truncated."},
    {"load", pipeline_load, METH_O,
     "load(dict)\n--\n\nReplaces the weights by those of a Dict, in the same memory."},
    {0}};

static PyType_Slot pipeline_slots[] = {
    {Py_tp_doc, "Pipeline(model, dtype='float32', threads=0)\n--\n\n"
                "Tokenizer and encoder of a model, with its weights loaded."},
    {Py_tp_new, new_pipeline},
    {Py_tp_dealloc, pipeline_dealloc},
    {Py_tp_getset, pipeline_properties},
    {Py_tp_methods, pipeline_methods},
    {0}};

static PyType_Spec pipeline_spec = {"mergecraft._core.Pipeline", sizeof(pipeline_object), 0,
                                    Py_TPFLAGS_DEFAULT, pipeline_slots};

int core_add_pipeline(PyObject *module)
{
    pipeline_type = (PyTypeObject *)PyType_FromSpec(&pipeline_spec);
    return pipeline_type ? PyModule_AddType(module, pipeline_type) : -1;
}

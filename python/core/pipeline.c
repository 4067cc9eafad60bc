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

/* ---- texts -------------------------------------------------------------------------------------- */

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

/* A list of (text, pair or None), as the library wants them; the list owns the text. NULL with an exception. */
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

/* ---- GLUE --------------------------------------------------------------------------------------- */

typedef struct glue_object {
    PyObject ob_base;
    const mc_glue_task *task;
    mc_glue_data *data;
} glue_object;

static PyTypeObject *glue_type;

static int path_or_none(PyObject *object, void *path)
{
    return object == Py_None ? 1 : PyUnicode_FSConverter(object, path);
}

static PyObject *new_glue(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"task", "split", "path", "progress", NULL};
    const char *name, *split;
    PyObject *path = NULL;
    core_run run = {0};
    const mc_hub_options hub = core_hub_options(&run);
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "ss|O&O", names, &name, &split, path_or_none,
                                     &path, &run.progress))
        return NULL;
    const mc_glue_task *const task = mc_glue_task_find(name);
    if (!task) {
        Py_XDECREF(path);
        return PyErr_Format(PyExc_KeyError, "%s", name);
    }
    const char *const file = path ? PyBytes_AsString(path) : NULL;
    Py_BEGIN_ALLOW_THREADS status = file ? mc_glue_load(task, file, split, &data, &error)
                                         : mc_glue_load_default(task, split, &hub, &data, &error);
    Py_END_ALLOW_THREADS Py_XDECREF(path);
    if (core_run_end(&run, status, &error) != 0) {
        mc_glue_data_free(data);
        return NULL;
    }
    glue_object *const self = (glue_object *)PyType_GenericAlloc(type, 0);
    if (!self) {
        mc_glue_data_free(data);
        return NULL;
    }
    self->task = task;
    self->data = data;
    return (PyObject *)self;
}

static void glue_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_glue_data_free(((glue_object *)object)->data);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *glue_examples(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    const mc_glue_data *const data = ((glue_object *)self)->data;
    PyObject *const list = PyList_New((Py_ssize_t)mc_glue_count(data));
    for (size_t i = 0; list && i < mc_glue_count(data); i++) {
        const mc_glue_example e = mc_glue_example_at(data, i);
        PyObject *const text = PyUnicode_DecodeUTF8(e.text, (Py_ssize_t)e.size, "replace");
        PyObject *const pair = e.pair ? PyUnicode_DecodeUTF8(e.pair, (Py_ssize_t)e.pair_size,
                                                             "replace")
                                      : Py_NewRef(Py_None);
        PyObject *const item = text && pair ? Py_BuildValue("OOd", text, pair, e.label) : NULL;
        Py_XDECREF(text);
        Py_XDECREF(pair);
        if (!item) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *metrics_of(const mc_metric *metrics, size_t count)
{
    PyObject *const dict = PyDict_New();
    for (size_t i = 0; dict && i < count; i++) {
        PyObject *const value = PyFloat_FromDouble(metrics[i].value);
        const int failed = !value || PyDict_SetItemString(dict, metrics[i].name, value) != 0;
        Py_XDECREF(value);
        if (failed) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

static PyObject *glue_score(PyObject *self, PyObject *list)
{
    const glue_object *const glue = (glue_object *)self;
    const size_t count = mc_glue_count(glue->data);
    mc_metric metrics[MC_GLUE_METRICS];
    if (!PyList_Check(list) || (size_t)PyList_Size(list) != count)
        return PyErr_Format(PyExc_ValueError, "expected a list of %zu predictions", count);
    double *const values = PyMem_Calloc(2 * count + 1, sizeof *values);
    if (!values)
        return PyErr_NoMemory();
    for (size_t i = 0; i < count && !PyErr_Occurred(); i++) {
        values[i] = PyFloat_AsDouble(PyList_GetItem(list, (Py_ssize_t)i));
        values[count + i] = mc_glue_example_at(glue->data, i).label;
    }
    const size_t found = PyErr_Occurred()
                             ? 0
                             : mc_glue_score(glue->task, values, values + count, count, metrics);
    PyMem_Free(values);
    return PyErr_Occurred() ? NULL : metrics_of(metrics, found);
}

static PyObject *glue_label(PyObject *self, PyObject *name)
{
    const char *const text = PyUnicode_AsUTF8AndSize(name, NULL);
    return text ? PyLong_FromLong(mc_glue_label_find(((glue_object *)self)->task, text)) : NULL;
}

static PyObject *get_label_count(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(((glue_object *)self)->task->label_count);
}

static PyObject *get_labelled(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(mc_glue_labelled(((glue_object *)self)->data));
}

static PyGetSetDef glue_properties[] = {
    {"label_count", get_label_count, NULL, "labels of the task; 0: a number is to be told", NULL},
    {"labelled", get_labelled, NULL, "whether the split has labels", NULL},
    {0}};

static PyMethodDef glue_methods[] = {
    {"examples", glue_examples, METH_NOARGS,
     "examples()\n--\n\n(text, pair or None, label), each."},
    {"score", glue_score, METH_O, "score(predictions)\n--\n\nThe task's metrics."},
    {"label", glue_label, METH_O,
     "label(name)\n--\n\nThe label of that name; -1 if it tells none."},
    {0}};

static PyType_Slot glue_slots[] = {
    {Py_tp_doc,
     "Glue(task, split, path=None, progress=None)\n--\n\nThe examples of a split of a GLUE task."},
    {Py_tp_new, new_glue},
    {Py_tp_dealloc, glue_dealloc},
    {Py_tp_getset, glue_properties},
    {Py_tp_methods, glue_methods},
    {0}};

static PyType_Spec glue_spec = {"mergecraft._core.Glue", sizeof(glue_object), 0, Py_TPFLAGS_DEFAULT,
                                glue_slots};

static PyObject *pipeline_evaluate(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"glue", "progress", NULL};
    PyObject *glue_argument, *progress = Py_None;
    mc_evaluation evaluation = {0};
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!|O", names, glue_type, &glue_argument,
                                     &progress))
        return NULL;
    const glue_object *const glue = (glue_object *)glue_argument;
    core_run run = {.progress = progress};
    const mc_pipeline_run how = {.cancel = &run.cancel, .progress = on_progress, .user = &run};
    Py_BEGIN_ALLOW_THREADS status = mc_pipeline_evaluate(of(self), glue->task, glue->data, &how,
                                                         &evaluation, &error);
    Py_END_ALLOW_THREADS PyObject *const metrics = core_run_end(&run, status, &error) == 0
                                                       ? metrics_of(evaluation.metrics,
                                                                    evaluation.metric_count)
                                                       : NULL;
    if (status == MC_OK)
        mc_evaluation_free(&evaluation);
    return metrics;
}

static PyMethodDef pipeline_methods[] = {
    {"logits", (PyCFunction)(void (*)(void))pipeline_logits, METH_VARARGS | METH_KEYWORDS,
     "logits(texts, progress=None)\n--\n\nMemory of float32, [texts][labels]; texts: (text, pair "
     "or None), each."},
    {"classify", (PyCFunction)(void (*)(void))pipeline_classify, METH_VARARGS | METH_KEYWORDS,
     "classify(texts, progress=None)\n--\n\nAs logits, scores."},
    {"evaluate", (PyCFunction)(void (*)(void))pipeline_evaluate, METH_VARARGS | METH_KEYWORDS,
     "evaluate(glue, progress=None)\n--\n\nThe task's metrics."},
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

static PyObject *glue_tasks(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    const size_t count = mc_glue_task_count();
    PyObject *const names = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; names && i < count; i++)
        PyList_SetItem(names, (Py_ssize_t)i, PyUnicode_FromString(mc_glue_task_at(i)->name));
    return names;
}

static PyMethodDef functions[] = {
    {"glue_tasks", glue_tasks, METH_NOARGS, "glue_tasks()\n--\n\nThe names of GLUE's tasks."}, {0}};

int core_add_pipeline(PyObject *module)
{
    pipeline_type = (PyTypeObject *)PyType_FromSpec(&pipeline_spec);
    glue_type = (PyTypeObject *)PyType_FromSpec(&glue_spec);
    if (!pipeline_type || !glue_type || PyModule_AddType(module, pipeline_type) != 0 ||
        PyModule_AddType(module, glue_type) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

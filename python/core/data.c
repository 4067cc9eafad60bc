#include "core.h"

#include <string.h>

typedef struct data_object {
    PyObject ob_base;
    const mc_glue_task *task;
    mc_glue_task *own; /* the task, if it was made for the data; else NULL */
    mc_glue_data *data;
} data_object;

static PyTypeObject *data_type;

static const data_object *of(PyObject *object)
{
    return (const data_object *)object;
}

const mc_glue_data *core_data_of(PyObject *object, const mc_glue_task **task)
{
    if (!PyObject_TypeCheck(object, data_type)) {
        PyErr_SetString(PyExc_TypeError, "expected a Data");
        return NULL;
    }
    *task = of(object)->task;
    return of(object)->data;
}

/* Takes over data and own. */
static PyObject *new_object(const mc_glue_task *task, mc_glue_task *own, mc_glue_data *data)
{
    data_object *const self = (data_object *)PyType_GenericAlloc(data_type, 0);
    if (!self) {
        mc_glue_data_free(data);
        mc_glue_task_free(own);
        return NULL;
    }
    self->task = task;
    self->own = own;
    self->data = data;
    return (PyObject *)self;
}

static void data_dealloc(PyObject *object)
{
    data_object *const self = (data_object *)object;
    PyTypeObject *const type = Py_TYPE(object);
    /* In this order: the data refer to their task. */
    mc_glue_data_free(self->data);
    mc_glue_task_free(self->own);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* A converter for PyArg_ParseTuple ("O&"): 1 is success. None leaves *path as it is. */
static int path_or_none(PyObject *object, void *path)
{
    return object == Py_None ? 1 : PyUnicode_FSConverter(object, path);
}

static PyObject *glue_data(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name, *split;
    PyObject *path = NULL;
    core_run run = {0};
    const mc_hub_options hub = core_hub_options(&run);
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "ss|O&O", &name, &split, path_or_none, &path, &run.progress))
        return NULL;
    const mc_glue_task *const task = mc_glue_task_find(name);
    if (!task) {
        Py_XDECREF(path);
        return PyErr_Format(PyExc_KeyError, "%s", name);
    }
    /* Borrowed from `path`, which is released only after the call. */
    const char *const file = path ? PyBytes_AsString(path) : NULL;
    Py_BEGIN_ALLOW_THREADS status = file ? mc_glue_load(task, file, split, &data, &error)
                                         : mc_glue_load_default(task, split, &hub, &data, &error);
    Py_END_ALLOW_THREADS Py_XDECREF(path);
    /*
     * The call may have succeeded before a signal or progress could stop it: the data are then
     * freed.
     */
    if (core_run_end(&run, status, &error) == 0)
        return new_object(task, NULL, data);
    mc_glue_data_free(data);
    return NULL;
}

static PyObject *own_data(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *path = NULL, *labels;
    mc_glue_columns columns = {0};
    const char *name;
    Py_ssize_t count = 0;
    mc_glue_task *task = NULL;
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTuple(args, "sO&szzO", &name, PyUnicode_FSConverter, &path, &columns.text,
                          &columns.pair, &columns.label, &labels))
        return NULL;
    const char **const names = core_strings(labels, &count);
    mc_status status = MC_OK;
    if (names)
        status = mc_glue_task_new(name, &columns, names, (size_t)count, &task, &error);
    /* Not interruptible: the file is the user's own, so nothing is downloaded. */
    if (names && status == MC_OK) {
        Py_BEGIN_ALLOW_THREADS status = mc_glue_load(task, PyBytes_AsString(path), NULL, &data,
                                                     &error);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free((void *)(uintptr_t)names);
    Py_DECREF(path);
    if (names && status == MC_OK)
        return new_object(task, task, data);
    mc_glue_task_free(task);
    return names ? core_raise(&error) : NULL;
}

/* ---- properties ------------------------------------------------------------------------------ */

static PyObject *data_examples(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    const mc_glue_data *const data = of(self)->data;
    PyObject *const list = PyList_New((Py_ssize_t)mc_glue_count(data));
    for (size_t i = 0; list && i < mc_glue_count(data); i++) {
        const mc_glue_example e = mc_glue_example_at(data, i);
        PyObject *const text = PyUnicode_DecodeUTF8(e.text, (Py_ssize_t)e.size, "replace");
        /*
         * Bytes that are not UTF-8 become U+FFFD: a data set is not rejected because of one text.
         */
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
        /* Takes over the reference to item. */
        PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyObject *core_metrics(const mc_metric *metrics, size_t count)
{
    PyObject *const dict = PyDict_New();
    for (size_t i = 0; dict && i < count; i++) {
        PyObject *const value = Py_BuildValue("dd", metrics[i].value, metrics[i].standard_error);
        const int failed = !value || PyDict_SetItemString(dict, metrics[i].name, value) != 0;
        Py_XDECREF(value);
        if (failed) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

/* Copies the numbers of a list of a given length; false with an exception. */
static int numbers_of(PyObject *list, size_t count, double *out)
{
    if (!PyList_Check(list) || (size_t)PyList_Size(list) != count) {
        PyErr_Format(PyExc_ValueError, "expected a list of %zu numbers", count);
        return 0;
    }
    /*
     * PyFloat_AsDouble returns −1 after an error, which may also be a value: PyErr_Occurred
     * decides.
     */
    for (size_t i = 0; i < count && !PyErr_Occurred(); i++)
        out[i] = PyFloat_AsDouble(PyList_GetItem(list, (Py_ssize_t)i));
    return !PyErr_Occurred();
}

static PyObject *data_score(PyObject *self, PyObject *list)
{
    const size_t count = mc_glue_count(of(self)->data);
    mc_metric metrics[MC_GLUE_METRICS];
    PyObject *found = NULL;
    /* Predictions, then labels: [2][count]. One more, so that an empty data set gets memory too. */
    double *const values = PyMem_Calloc(2 * count + 1, sizeof *values);
    if (!values)
        return PyErr_NoMemory();
    for (size_t i = 0; i < count; i++)
        values[count + i] = mc_glue_example_at(of(self)->data, i).label;
    if (numbers_of(list, count, values))
        found = core_metrics(metrics,
                             mc_glue_score(of(self)->task, values, values + count, count, metrics));
    PyMem_Free(values);
    return found;
}

static PyObject *data_label(PyObject *self, PyObject *name)
{
    const char *const text = PyUnicode_AsUTF8AndSize(name, NULL);
    return text ? PyLong_FromLong(mc_glue_label_find(of(self)->task, text)) : NULL;
}

static PyObject *data_limit(PyObject *self, PyObject *count)
{
    const Py_ssize_t most = PyLong_AsSsize_t(count);
    if (most < 0 && PyErr_Occurred())
        return NULL;
    mc_glue_limit(of(self)->data, most < 0 ? 0 : (size_t)most);
    Py_RETURN_NONE;
}

static PyObject *get_label_count(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(of(self)->task->label_count);
}

static PyObject *get_labelled(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(mc_glue_labelled(of(self)->data));
}

static PyObject *mcnemar(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *first, *second, *labels, *found = NULL;
    if (!PyArg_ParseTuple(args, "O!OO", &PyList_Type, &first, &second, &labels))
        return NULL;
    const size_t count = (size_t)PyList_Size(first);
    /* Predictions of both models, then labels: [3][count]. */
    double *const v = PyMem_Calloc(3 * count + 1, sizeof *v);
    if (!v)
        return PyErr_NoMemory();
    if (numbers_of(first, count, v) && numbers_of(second, count, v + count) &&
        numbers_of(labels, count, v + 2 * count)) {
        const mc_mcnemar test = mc_glue_mcnemar(v, v + count, v + 2 * count, count);
        found = Py_BuildValue(
            "KKKKd", (unsigned long long)test.both, (unsigned long long)test.first_only,
            (unsigned long long)test.second_only, (unsigned long long)test.neither, test.p_value);
    }
    PyMem_Free(v);
    return found;
}

static PyObject *glue_tasks(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    const size_t count = mc_glue_task_count();
    PyObject *const names = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; names && i < count; i++)
        PyList_SetItem(names, (Py_ssize_t)i, PyUnicode_FromString(mc_glue_task_at(i)->name));
    return names;
}

static PyGetSetDef data_properties[] = {
    {"label_count", get_label_count, NULL, "labels of the task; 0 for regression", NULL},
    {"labelled", get_labelled, NULL, "whether at least one example has a label", NULL},
    {0}};

static PyMethodDef data_methods[] = {
    {"examples", data_examples, METH_NOARGS,
     "examples()\n--\n\nReturns (text, pair or None, label) for each."},
    {"score", data_score, METH_O,
     "score(predictions)\n--\n\nReturns the task's metrics as {name: (value, standard error)}."},
    {"label", data_label, METH_O,
     "label(name)\n--\n\nReturns the number of the label of that name, -1 if there is none."},
    {"limit", data_limit, METH_O, "limit(count)\n--\n\nKeeps the first examples only."},
    {0}};

static PyType_Slot data_slots[] = {{Py_tp_doc, "The examples of a task."},
                                   {Py_tp_dealloc, data_dealloc},
                                   {Py_tp_getset, data_properties},
                                   {Py_tp_methods, data_methods},
                                   {0}};

static PyType_Spec data_spec = {"mergecraft._core.Data", sizeof(data_object), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, data_slots};

static PyMethodDef functions[] = {
    {"glue_tasks", glue_tasks, METH_NOARGS, "glue_tasks()\n--\n\nReturns the names of the tasks."},
    {"glue_data", glue_data, METH_VARARGS,
     "glue_data(task, split, path=None, progress=None)\n--\n\nReturns the examples of a split of a "
     "GLUE task; KeyError if there is no such task."},
    {"own_data", own_data, METH_VARARGS,
     "own_data(name, path, text, pair, label, labels)\n--\n\nReturns the examples of a file: names "
     "of its columns, and of the model's labels."},
    {"mcnemar", mcnemar, METH_VARARGS,
     "mcnemar(first, second, labels)\n--\n\nReturns (both, first only, second only, neither right, "
     "p-value)."},
    {0}};

int core_add_data(PyObject *module)
{
    data_type = (PyTypeObject *)PyType_FromSpec(&data_spec);
    if (!data_type || PyModule_AddType(module, data_type) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

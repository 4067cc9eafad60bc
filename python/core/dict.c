#include "core.h"

typedef struct dict_object {
    PyObject ob_base;
    mc_state_dict *dict;
    PyObject *keep; /* what must live as long; NULL if nothing */
} dict_object;

static PyTypeObject *dict_type;

PyObject *core_dict(mc_state_dict *dict, PyObject *keep)
{
    dict_object *const self = (dict_object *)PyType_GenericAlloc(dict_type, 0);
    if (!self) {
        mc_state_dict_free(dict);
        return NULL;
    }
    self->dict = dict;
    self->keep = keep;
    Py_XINCREF(keep);
    return (PyObject *)self;
}

mc_state_dict *core_dict_of(PyObject *object)
{
    if (PyObject_TypeCheck(object, dict_type))
        return ((dict_object *)object)->dict;
    PyErr_SetString(PyExc_TypeError, "expected a Dict");
    return NULL;
}

static mc_state_dict *of(PyObject *object)
{
    return ((dict_object *)object)->dict;
}

static PyObject *dict_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *dict = NULL;
    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "", names))
        return NULL;
    if (mc_state_dict_new(&dict, &error) != MC_OK)
        return core_raise(&error);
    return core_dict(dict, NULL);
}

static void dict_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_state_dict_free(of(object));
    Py_XDECREF(((dict_object *)object)->keep);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static Py_ssize_t dict_length(PyObject *self)
{
    return (Py_ssize_t)mc_state_dict_count(of(self));
}

static PyObject *dict_items(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    const size_t count = mc_state_dict_count(of(self));
    PyObject *const items = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; items && i < count; i++) {
        PyObject *const source = core_source(mc_state_dict_source(of(self), i));
        /* "N" takes over the reference to source, also if Py_BuildValue fails. */
        PyObject *const item = source ? Py_BuildValue("sN", mc_state_dict_name(of(self), i), source)
                                      : NULL;
        if (!item) {
            Py_DECREF(items);
            return NULL;
        }
        PyList_SetItem(items, (Py_ssize_t)i, item);
    }
    return items;
}

static PyObject *dict_set(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *object;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTuple(args, "sO", &name, &object))
        return NULL;
    mc_source *const source = core_source_of(object);
    if (!source)
        return NULL;
    if (mc_state_dict_set(of(self), name, source, &error) != MC_OK)
        return core_raise(&error);
    Py_RETURN_NONE;
}

static PyObject *dict_materialize(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"threads", "memory", "progress", NULL};
    core_run_arguments a = {.sync = 1, .progress = Py_None};
    core_run run;
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *made = NULL;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|iLO", names, &a.threads, &a.memory,
                                     &a.progress))
        return NULL;
    const mc_run_options options = core_run_options(&a, &run);
    Py_BEGIN_ALLOW_THREADS status = mc_state_dict_materialize(of(self), &options, &made, NULL,
                                                              &error);
    Py_END_ALLOW_THREADS if (core_run_end(&run, status, &error) != 0)
    {
        /* The tensors may be complete if Ctrl-C came after the last one. */
        mc_state_dict_free(made);
        return NULL;
    }
    /* In memory: it needs no model or plan. */
    return core_dict(made, NULL);
}

static PyObject *dict_save(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"folder",    "threads", "memory",   "shard_size",
                            "overwrite", "sync",    "progress", NULL};
    core_run_arguments a = {.sync = 1, .progress = Py_None};
    core_run run;
    const char *folder;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s|iLLppO", names, &folder, &a.threads,
                                     &a.memory, &a.shard_size, &a.overwrite, &a.sync, &a.progress))
        return NULL;
    const mc_run_options options = core_run_options(&a, &run);
    Py_BEGIN_ALLOW_THREADS status = mc_state_dict_save(of(self), folder, &options, NULL, &error);
    Py_END_ALLOW_THREADS if (core_run_end(&run, status, &error) != 0) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef dict_methods[] = {
    {"items", dict_items, METH_NOARGS, "items()\n--\n\nNames and Sources, in order."},
    {"set", dict_set, METH_VARARGS, "set(name, source)\n--\n\nAdds or replaces an entry."},
    {"materialize", (PyCFunction)(void (*)(void))dict_materialize, METH_VARARGS | METH_KEYWORDS,
     "materialize(threads=0, memory=0, progress=None)\n--\n\nComputes every tensor; a new Dict."},
    {"save", (PyCFunction)(void (*)(void))dict_save, METH_VARARGS | METH_KEYWORDS,
     "save(folder, threads=0, memory=0, shard_size=0, overwrite=False, sync=True, "
     "progress=None)\n--\n\n"
     "Writes model.safetensors, or shards, to a new folder."},
    {0}};

static PyType_Slot dict_slots[] = {
    {Py_tp_doc, "Dict()\n--\n\nAn ordered map from names to Sources."},
    {Py_tp_new, dict_new},
    {Py_tp_dealloc, dict_dealloc},
    {Py_tp_methods, dict_methods},
    {Py_mp_length, dict_length},
    {0}};

static PyType_Spec dict_spec = {"mergecraft._core.Dict", sizeof(dict_object), 0, Py_TPFLAGS_DEFAULT,
                                dict_slots};

int core_add_dict(PyObject *module)
{
    dict_type = (PyTypeObject *)PyType_FromSpec(&dict_spec);
    return dict_type ? PyModule_AddType(module, dict_type) : -1;
}

#include "core.h"

typedef struct model_object {
    PyObject ob_base;
    mc_model *model;
} model_object;

static PyTypeObject *model_type;

const mc_model *core_model_of(PyObject *object)
{
    if (PyObject_TypeCheck(object, model_type))
        return ((model_object *)object)->model;
    PyErr_SetString(PyExc_TypeError, "expected a Model");
    return NULL;
}

static const mc_model *of(PyObject *object)
{
    return ((model_object *)object)->model;
}

PyObject *core_model(mc_model *model)
{
    model_object *const self = (model_object *)PyType_GenericAlloc(model_type, 0);
    if (!self)
        mc_model_close(model);
    else
        self->model = model;
    return (PyObject *)self;
}

static void model_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_model_close(((model_object *)object)->model);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *text_or_none(const char *text)
{
    return Py_BuildValue("z", text);
}

static PyObject *get_name(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(mc_model_name(of(self)));
}

static PyObject *get_folder(PyObject *self, void *closure)
{
    (void)closure;
    return text_or_none(mc_model_folder(of(self)));
}

static PyObject *get_config(PyObject *self, void *closure)
{
    (void)closure;
    return text_or_none(mc_model_config(of(self)));
}

static PyObject *get_architecture(PyObject *self, void *closure)
{
    (void)closure;
    return text_or_none(mc_model_architecture(of(self)));
}

static PyObject *get_format(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(mc_model_format(of(self)));
}

static PyObject *get_dict(PyObject *self, void *closure)
{
    (void)closure;
    /*
     * A copy, so that Python can change entries. It keeps the model, whose files its sources read.
     */
    mc_state_dict *copy = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_state_dict_copy(mc_model_state_dict(of(self)), &copy, &error) != MC_OK)
        return core_raise(&error);
    return core_dict(copy, self);
}

static PyGetSetDef model_properties[] = {
    {"name", get_name, NULL, "as the user wrote it", NULL},
    {"folder", get_folder, NULL, "where configuration and tokenizer are; None if not in files",
     NULL},
    {"config", get_config, NULL, "text of config.json, or None", NULL},
    {"architecture", get_architecture, NULL, "first of the architectures in the config, or None",
     NULL},
    {"format", get_format, NULL, "what the weights are stored in", NULL},
    {"dict", get_dict, NULL, "its tensors", NULL},
    {0}};

/* Opens the models that a list of bytes objects names; false with an exception. */
static int open_all(PyObject *paths, PyObject *progress, mc_model **models)
{
    const size_t count = (size_t)PyList_Size(paths);
    const char **const names = PyMem_Calloc(count + 1, sizeof *names);
    core_run run = {.progress = progress};
    const mc_hub_options hub = core_hub_options(&run);
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!names)
        /* PyErr_NoMemory always returns NULL: false. */
        return PyErr_NoMemory() != NULL;
    for (size_t i = 0; i < count; i++)
        /* Borrowed: `paths` is a list of our own, which nobody else changes. */
        names[i] = PyBytes_AsString(PyList_GetItem(paths, (Py_ssize_t)i));
    Py_BEGIN_ALLOW_THREADS status = mc_models_open(names, count, &hub, false, models, &error);
    Py_END_ALLOW_THREADS PyMem_Free((void *)(uintptr_t)names);
    if (core_run_end(&run, status, &error) == 0)
        return 1;
    /* All are open, but a signal or progress has stopped the call. After an error none is open. */
    for (size_t i = 0; status == MC_OK && i < count; i++)
        mc_model_close(models[i]);
    return 0;
}

/* Converts a list of paths (str, bytes or os.PathLike) to bytes objects; NULL with an exception. */
static PyObject *paths_of(PyObject *list)
{
    PyObject *const paths = PyList_New(0);
    for (Py_ssize_t i = 0; paths && i < PyList_Size(list); i++) {
        PyObject *path = NULL;
        /*
         * Accepts str, bytes and os.PathLike, and gives bytes in the encoding of the file system.
         */
        const int added = PyUnicode_FSConverter(PyList_GetItem(list, i), &path) &&
                          PyList_Append(paths, path) == 0;
        Py_XDECREF(path);
        if (!added) {
            Py_DECREF(paths);
            return NULL;
        }
    }
    return paths;
}

/* A list of the models, which it takes over. */
static PyObject *list_of(mc_model **models, size_t count)
{
    PyObject *const list = PyList_New((Py_ssize_t)count);
    int failed = !list;
    for (size_t i = 0; i < count; i++) {
        /* core_model takes the model over, also if it fails; the rest are closed here. */
        PyObject *const model = failed ? NULL : core_model(models[i]);
        if (failed)
            mc_model_close(models[i]);
        else if (!model)
            failed = 1;
        else
            PyList_SetItem(list, (Py_ssize_t)i, model);
    }
    if (!failed)
        return list;
    Py_XDECREF(list);
    return NULL;
}

static PyObject *open_models(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *list, *progress = Py_None, *opened = NULL;
    if (!PyArg_ParseTuple(args, "O!|O", &PyList_Type, &list, &progress))
        return NULL;
    PyObject *const paths = paths_of(list);
    if (!paths)
        return NULL;
    const size_t count = (size_t)PyList_Size(paths);
    mc_model **const models = PyMem_Calloc(count + 1, sizeof(mc_model *));
    if (!models)
        PyErr_NoMemory();
    else if (open_all(paths, progress, models))
        opened = list_of(models, count);
    PyMem_Free(models);
    Py_DECREF(paths);
    return opened;
}

static PyObject *wrap_model(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name, *config, *folder;
    PyObject *dict;
    mc_model *model = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTuple(args, "sOzz", &name, &dict, &config, &folder) || !core_dict_of(dict))
        return NULL;
    if (mc_model_wrap(name, core_dict_of(dict), config, folder, &model, &error) != MC_OK)
        return core_raise(&error);
    return core_model(model);
}

static PyMethodDef functions[] = {
    {"open_models", open_models, METH_VARARGS,
     "open_models(names, progress=None)\n--\n\nOpens models: folders, files of weights, or ids; a "
     "list. progress: of what is downloaded."},
    {"wrap_model", wrap_model, METH_VARARGS,
     "wrap_model(name, dict, config, folder)\n--\n\nA model that is in memory; config, folder: or "
     "None."},
    {0}};

static PyType_Slot model_slots[] = {
    {Py_tp_doc, "A model: tensors, configuration, tokenizer files."},
    {Py_tp_dealloc, model_dealloc},
    {Py_tp_getset, model_properties},
    {0}};

static PyType_Spec model_spec = {"mergecraft._core.Model", sizeof(model_object), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                 model_slots};

int core_add_model(PyObject *module)
{
    model_type = (PyTypeObject *)PyType_FromSpec(&model_spec);
    if (!model_type || PyModule_AddType(module, model_type) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

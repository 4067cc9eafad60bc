#include "core.h"

#include <string.h>

/*
 * A method that is a Python function. The library passes its descriptor to merge(). The descriptor
 * is the first member, so merge() finds the struct by a cast.
 */
typedef struct python_method {
    mc_method method;
    PyObject *function;
    PyObject *name, *help; /* keep the descriptor's text */
    core_kept *kept;
} python_method;

typedef struct method_object {
    PyObject ob_base;
    /* Of the library, which never frees it, or &own.method. */
    const mc_method *method;
    python_method own; /* of one that is Python's */
    core_kept kept;
} method_object;

static PyTypeObject *method_type;

const mc_method *core_method_of(PyObject *object)
{
    if (PyObject_TypeCheck(object, method_type))
        return ((method_object *)object)->method;
    PyErr_SetString(PyExc_TypeError, "expected a Method");
    return NULL;
}

static const mc_method *of(PyObject *object)
{
    return ((method_object *)object)->method;
}

/* ---- methods of Python's --------------------------------------------------------------------- */

/*
 * The function may keep or change what it gets, so it gets a copy of the map. Sources are shared
 * and immutable.
 */
static PyObject *copy_dict(const mc_state_dict *from)
{
    mc_state_dict *copy = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_state_dict_copy(from, &copy, &error) != MC_OK)
        return core_raise(&error);
    return core_dict(copy, NULL);
}

static PyObject *copy_dicts(const mc_merge_input *input)
{
    PyObject *const list = PyList_New((Py_ssize_t)input->model_count);
    for (size_t i = 0; list && i < input->model_count; i++) {
        PyObject *const dict = copy_dict(input->models[i]);
        if (!dict) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, (Py_ssize_t)i, dict);
    }
    return list;
}

/*
 * The function gets a list of Dicts and the base's Dict or None, and returns a Dict. NULL with an
 * exception.
 */
static PyObject *call_function(const python_method *self, const mc_merge_input *input)
{
    PyObject *const models = copy_dicts(input);
    PyObject *const base = input->base ? copy_dict(input->base) : Py_NewRef(Py_None);
    PyObject *result = NULL;
    if (models && base)
        result = PyObject_CallFunctionObjArgs(self->function, models, base, NULL);
    Py_XDECREF(models);
    Py_XDECREF(base);
    return result;
}

/* Called by the library, on any thread, without the interpreter lock. */
static mc_status merge(const mc_merge_input *input, mc_state_dict **out, mc_error *error)
{
    const PyGILState_STATE lock = PyGILState_Ensure();
    const python_method *const self = (const python_method *)input->method;
    PyObject *const made = call_function(self, input);
    const mc_state_dict *const dict = made ? core_dict_of(made) : NULL;
    /*
     * `made` goes at the end of this function, so the result is a copy with references of its own.
     */
    const mc_status status = dict ? mc_state_dict_copy(dict, out, error)
                                  : core_callback_failed(self->kept, error);
    Py_XDECREF(made);
    PyGILState_Release(lock);
    return status;
}

static PyObject *new_method(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"name", "help", "needs_base", "function", NULL};
    PyObject *name, *help, *function;
    int needs_base;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "UUpO", names, &name, &help, &needs_base,
                                     &function))
        return NULL;
    const char *const name_text = PyUnicode_AsUTF8AndSize(name, NULL);
    const char *const help_text = PyUnicode_AsUTF8AndSize(help, NULL);
    method_object *const self = name_text && help_text
                                    ? (method_object *)PyType_GenericAlloc(type, 0)
                                    : NULL;
    if (!self)
        return NULL;
    /* The descriptor's texts point into the str objects, which must live as long. */
    self->own = (python_method){.method = {.api = MC_METHOD_API,
                                           .real_size = sizeof(mc_real),
                                           .name = name_text,
                                           .family = "python",
                                           .help = *help_text ? help_text : NULL,
                                           .scope = MC_MODEL,
                                           .needs_base = needs_base != 0,
                                           .merge = merge},
                                .function = Py_NewRef(function),
                                .name = Py_NewRef(name),
                                .help = Py_NewRef(help),
                                .kept = &self->kept};
    /* The address is stable: Python never moves an object. */
    self->method = &self->own.method;
    return (PyObject *)self;
}

static void method_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    python_method *const own = &((method_object *)object)->own;
    core_forget(&((method_object *)object)->kept);
    Py_XDECREF(own->function);
    Py_XDECREF(own->name);
    Py_XDECREF(own->help);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static PyObject *get_name(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(of(self)->name);
}

static PyObject *get_family(PyObject *self, void *closure)
{
    (void)closure;
    /* A descriptor without a family is one of mergecraft. */
    return PyUnicode_FromString(of(self)->family ? of(self)->family : "mergecraft");
}

static PyObject *get_help(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(of(self)->help ? of(self)->help : "");
}

static PyObject *get_paper(PyObject *self, void *closure)
{
    (void)closure;
    return Py_BuildValue("z", of(self)->paper);
}

static PyObject *get_needs_base(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(of(self)->needs_base);
}

static PyObject *get_counts(PyObject *self, void *closure)
{
    (void)closure;
    return Py_BuildValue("nn", (Py_ssize_t)of(self)->min_models, (Py_ssize_t)of(self)->max_models);
}

/*
 * Adds what Py_BuildValue made, or fails.
 *
 * PyList_Append adds a reference of its own, so this one is given up in either case.
 */
static int append(PyObject *list, PyObject *item)
{
    const int status = item ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return status;
}

static PyObject *names_list(const char *const *names)
{
    PyObject *const list = PyList_New(0);
    for (; list && names && *names; names++)
        if (append(list, PyUnicode_FromString(*names)) != 0) {
            Py_DECREF(list);
            return NULL;
        }
    return list;
}

static PyObject *get_sides(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *const list = PyList_New(0);
    for (const mc_side_input *side = of(self)->sides; list && side && side->name; side++)
        if (append(list, PyUnicode_FromString(side->name)) != 0) {
            Py_DECREF(list);
            return NULL;
        }
    return list;
}

static PyObject *describe(const mc_param *param)
{
    static const char *const types[] = {[MC_NUMBER] = "number",
                                        [MC_INTEGER] = "integer",
                                        [MC_FLAG] = "flag",
                                        [MC_CHOICE] = "choice"};
    PyObject *const choices = names_list(param->choices);
    if (!choices)
        return NULL;
    /* "N" takes over choices, also if Py_BuildValue fails. */
    return Py_BuildValue("{s:s,s:s,s:s,s:d,s:d,s:d,s:N,s:O,s:O}", "name", param->name, "type",
                         types[param->type], "help", param->help ? param->help : "", "default",
                         param->fallback, "minimum", param->minimum, "maximum", param->maximum,
                         "choices", choices, "per_input", param->per_input ? Py_True : Py_False,
                         "required", param->required ? Py_True : Py_False);
}

static PyObject *get_params(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *const list = PyList_New(0);
    for (const mc_param *param = of(self)->params; list && param && param->name; param++)
        if (append(list, describe(param)) != 0) {
            Py_DECREF(list);
            return NULL;
        }
    return list;
}

static PyGetSetDef method_properties[] = {
    {"name", get_name, NULL, "what it is called", NULL},
    {"family", get_family, NULL, "whose meaning of the name it has", NULL},
    {"help", get_help, NULL, "one line, or ''", NULL},
    {"paper", get_paper, NULL, "where it is described, or None", NULL},
    {"needs_base", get_needs_base, NULL, "whether it needs a base model", NULL},
    {"counts", get_counts, NULL, "fewest and most models; 0: no limit", NULL},
    {"sides", get_sides, NULL, "side inputs", NULL},
    {"params", get_params, NULL, "parameters, each as a dict", NULL},
    {0}};

static PyType_Slot method_slots[] = {
    {Py_tp_doc, "Method(name, help, needs_base, function)\n--\n\n"
                "A merge method: one of the library, or function(models, base) of Python."},
    {Py_tp_new, new_method},
    {Py_tp_dealloc, method_dealloc},
    {Py_tp_getset, method_properties},
    {0}};

static PyType_Spec method_spec = {"mergecraft._core.Method", sizeof(method_object), 0,
                                  Py_TPFLAGS_DEFAULT, method_slots};

static PyObject *library_method(const mc_method *method)
{
    method_object *const self = (method_object *)PyType_GenericAlloc(method_type, 0);
    if (self)
        self->method = method;
    return (PyObject *)self;
}

static PyObject *methods(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    PyObject *const list = PyList_New(0);
    for (size_t i = 0; list && i < mc_method_count(); i++)
        if (append(list, library_method(mc_method_at(i))) != 0) {
            Py_DECREF(list);
            return NULL;
        }
    return list;
}

static PyObject *open_plugin(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *path;
    mc_plugin *plugin = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &path))
        return NULL;
    const char *const text = PyBytes_AsString(path);
    /* No `cancel`: Ctrl-C in a terminal reaches the compiler, too, and ends it. */
    Py_BEGIN_ALLOW_THREADS status = mc_plugin_open(text, NULL, &plugin, &error);
    Py_END_ALLOW_THREADS Py_DECREF(path);
    if (status != MC_OK)
        return core_raise(&error);
    PyObject *const list = PyList_New(0);
    int failed = !list;
    for (size_t i = 0; !failed && i < mc_plugin_method_count(plugin); i++)
        failed = append(list, library_method(mc_plugin_method(plugin, i))) != 0;
    /* Methods stay valid: a plug-in's code is not unloaded. */
    mc_plugin_close(plugin);
    if (!failed)
        return list;
    Py_XDECREF(list);
    return NULL;
}

static PyMethodDef functions[] = {
    {"methods", methods, METH_NOARGS,
     "methods()\n--\n\nThe built-in methods, in the order of their names."},
    {"open_plugin", open_plugin, METH_VARARGS,
     "open_plugin(path)\n--\n\nThe methods of a .c or .so file. Runs its code."},
    {0}};

int core_add_method(PyObject *module)
{
    method_type = (PyTypeObject *)PyType_FromSpec(&method_spec);
    if (!method_type || PyModule_AddType(module, method_type) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

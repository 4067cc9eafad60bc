#include "core.h"

int core_dtype(const char *name, mc_dtype *dtype)
{
    if (mc_dtype_parse(name, dtype))
        return 1;
    PyErr_Format(PyExc_ValueError, "unknown dtype '%s'", name);
    return 0;
}

int core_shape(PyObject *sequence, int64_t shape[MC_MAX_RANK])
{
    const Py_ssize_t rank = PySequence_Size(sequence);
    if (rank > MC_MAX_RANK)
        PyErr_Format(PyExc_ValueError, "expected at most %d dimensions, found %zd", MC_MAX_RANK,
                     rank);
    /* A negative size means that PySequence_Size has set an exception. */
    if (rank < 0 || rank > MC_MAX_RANK)
        return -1;
    for (Py_ssize_t i = 0; i < rank; i++) {
        PyObject *const item = PySequence_GetItem(sequence, i);
        /*
         * −1 may be a value or an error: PyErr_Occurred decides. The library rejects negative
         * dimensions.
         */
        shape[i] = item ? PyLong_AsLongLong(item) : -1;
        Py_XDECREF(item);
        if (PyErr_Occurred())
            return -1;
    }
    return (int)rank;
}

const char **core_strings(PyObject *list, Py_ssize_t *count)
{
    *count = PyList_Size(list);
    if (*count < 0)
        return NULL;
    /* One more: the array ends with NULL. */
    const char **const strings = PyMem_Calloc((size_t)*count + 1, sizeof *strings);
    if (!strings)
        return (const char **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < *count; i++) {
        /* A str caches its UTF-8, so the pointer stays valid as long as the str. */
        strings[i] = PyUnicode_AsUTF8AndSize(PyList_GetItem(list, i), NULL);
        if (!strings[i]) {
            PyMem_Free((void *)(uintptr_t)strings);
            return NULL;
        }
    }
    return strings;
}

static PyObject *widest(PyObject *module, PyObject *args)
{
    (void)module;
    const char *left, *right;
    mc_dtype a, b;
    if (!PyArg_ParseTuple(args, "ss", &left, &right) || !core_dtype(left, &a) ||
        !core_dtype(right, &b))
        return NULL;
    if (mc_dtype_kind_of(a) != MC_KIND_FLOAT || mc_dtype_kind_of(b) != MC_KIND_FLOAT)
        return PyErr_Format(PyExc_ValueError, "expected float dtypes, found %s and %s", left,
                            right);
    return PyUnicode_FromString(mc_dtype_torch_name(mc_dtype_widest(a, b)));
}

static PyObject *dtype_name(PyObject *module, PyObject *text)
{
    (void)module;
    mc_dtype dtype;
    const char *const name = PyUnicode_AsUTF8AndSize(text, NULL);
    if (!name || !core_dtype(name, &dtype))
        return NULL;
    return PyUnicode_FromString(mc_dtype_torch_name(dtype));
}

static PyObject *is_float(PyObject *module, PyObject *text)
{
    (void)module;
    mc_dtype dtype;
    const char *const name = PyUnicode_AsUTF8AndSize(text, NULL);
    if (!name || !core_dtype(name, &dtype))
        return NULL;
    return PyBool_FromLong(mc_dtype_kind_of(dtype) == MC_KIND_FLOAT);
}

/* The list of indices; −1 where a name has no partner. */
static PyObject *list_partners(const size_t *partners, Py_ssize_t count)
{
    PyObject *const list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        /* SIZE_MAX means that no name matches (mc_names_match). */
        const Py_ssize_t at = partners[i] == SIZE_MAX ? -1 : (Py_ssize_t)partners[i];
        PyObject *const number = PyLong_FromSsize_t(at);
        if (!number || PyList_SetItem(list, i, number) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static PyObject *match_names(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *wanted, *available;
    Py_ssize_t wanted_count = 0, available_count = 0;
    if (!PyArg_ParseTuple(args, "OO", &wanted, &available))
        return NULL;
    const char **const left = core_strings(wanted, &wanted_count);
    const char **const right = left ? core_strings(available, &available_count) : NULL;
    size_t *const partners = right ? PyMem_Calloc((size_t)wanted_count + 1, sizeof *partners)
                                   : NULL;
    PyObject *list = NULL;
    mc_error error = MC_ERROR_NONE;
    if (right && !partners)
        PyErr_NoMemory();
    if (partners) {
        const mc_status status = mc_names_match(left, (size_t)wanted_count, right,
                                                (size_t)available_count, partners, &error);
        list = status == MC_OK ? list_partners(partners, wanted_count) : core_raise(&error);
    }
    PyMem_Free(partners);
    PyMem_Free((void *)(uintptr_t)left);
    PyMem_Free((void *)(uintptr_t)right);
    return list;
}

static PyMethodDef functions[] = {
    {"match_names", match_names, METH_VARARGS,
     "match_names(wanted, available)\n--\n\nFor each wanted name the index of the available name "
     "of the same tensor, -1 if there is none."},
    {"widest", widest, METH_VARARGS,
     "widest(a, b)\n--\n\nThe narrowest float dtype that holds every value of both."},
    {"dtype_name", dtype_name, METH_O,
     "dtype_name(text)\n--\n\nThe name in torch of what people type: 'bf16', 'float16', 'F32'."},
    {"transplant", core_transplant, METH_VARARGS,
     "transplant(model, donor, method, neighbours, threads, strict)\n--\n\nThe plan of a model "
     "with "
     "another one's tokenizer."},
    {"decompress", core_decompress, METH_VARARGS,
     "decompress(merged, base, task, strict)\n--\n\nThe plan of one task's model."},
    {"task_masks_base", core_task_masks_base, METH_O,
     "task_masks_base(merged)\n--\n\nThe name of the base of a merge with emr."},
    {"is_float", is_float, METH_O, "is_float(dtype)\n--\n\nWhether tensors of it are merged."},
    {0}};

/* Size −1: types and kept exceptions are static variables, so subinterpreters are not supported. */
static PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                 "_core",
                                 "The C library, as Python objects.",
                                 -1,
                                 functions,
                                 NULL,
                                 NULL,
                                 NULL,
                                 NULL};

/* The name that Python looks up in a module `_core`. Declared here for -Wmissing-prototypes. */
PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void)
{
    PyObject *const module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    if (core_add_memory(module) == 0 && core_add_source(module) == 0 &&
        core_add_dict(module) == 0 && core_add_model(module) == 0 && core_add_method(module) == 0 &&
        core_add_plan(module) == 0 && core_add_lora(module) == 0 && core_add_recipe(module) == 0 &&
        core_add_observe(module) == 0 && core_add_pipeline(module) == 0 &&
        core_add_data(module) == 0 && core_add_search(module) == 0 &&
        core_add_report(module) == 0 &&
        PyModule_AddStringConstant(module, "version", mc_version()) == 0)
        return module;
    Py_DECREF(module);
    return NULL;
}

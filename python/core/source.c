#include "core.h"

#include <string.h>

typedef struct source_object {
    PyObject ob_base;
    mc_source *source;
} source_object;

static PyTypeObject *source_type;

PyObject *core_source(mc_source *source)
{
    source_object *const self = (source_object *)PyType_GenericAlloc(source_type, 0);
    if (self)
        self->source = mc_source_ref(source);
    return (PyObject *)self;
}

/* As core_source, but gives up the caller's reference, for a source that was just made. */
static PyObject *made_source(mc_source *source)
{
    PyObject *const object = core_source(source);
    mc_source_unref(source);
    return object;
}

mc_source *core_source_of(PyObject *object)
{
    if (PyObject_TypeCheck(object, source_type))
        return ((source_object *)object)->source;
    PyErr_SetString(PyExc_TypeError, "expected a Source");
    return NULL;
}

static mc_source *of(PyObject *object)
{
    return ((source_object *)object)->source;
}

static void source_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_source_unref(of(object));
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- properties ------------------------------------------------------------------------------ */

static PyObject *get_dtype(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(mc_dtype_torch_name(mc_source_dtype(of(self))));
}

static PyObject *get_shape(PyObject *self, void *closure)
{
    (void)closure;
    const int rank = mc_source_rank(of(self));
    PyObject *const shape = PyTuple_New(rank);
    for (int i = 0; shape && i < rank; i++)
        PyTuple_SetItem(shape, i, PyLong_FromLongLong(mc_source_shape(of(self))[i]));
    return shape;
}

static PyObject *get_bytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromLongLong(mc_source_bytes(of(self)));
}

static PyObject *get_floating(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(mc_dtype_kind_of(mc_source_dtype(of(self))) == MC_KIND_FLOAT);
}

static PyGetSetDef source_properties[] = {
    {"dtype", get_dtype, NULL, "name of the dtype, as torch has it", NULL},
    {"shape", get_shape, NULL, "dimensions, outermost first", NULL},
    {"nbytes", get_bytes, NULL, "bytes in its own dtype", NULL},
    {"is_float", get_floating, NULL, "whether it is merged rather than copied", NULL},
    {0}};

/* ---- values ---------------------------------------------------------------------------------- */

static PyObject *read_new(const mc_source *source, mc_dtype as, int64_t size)
{
    void *data = NULL;
    PyObject *const memory = core_memory_new(size, &data);
    if (!memory)
        return NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    const int64_t count = mc_source_count(source);
    /* Raw bytes where the dtype stays: every dtype has them, and NaN keep their bits. */
    Py_BEGIN_ALLOW_THREADS if (as == mc_source_dtype(source))
        status = mc_source_read_raw(source, 0, size, data, &error);
    else if (as == MC_F64) status = mc_source_read_f64(source, 0, count, data, &error);
    else status = mc_source_read_f32(source, 0, count, data, &error);
    Py_END_ALLOW_THREADS if (status == MC_OK) return memory;
    Py_DECREF(memory);
    return core_raise_kept(&error);
}

/*
 * Arrays need elements at multiples of their size. Elements smaller than a byte have no such rule.
 */
static int is_aligned(const mc_source *source, int64_t offset)
{
    const mc_dtype dtype = mc_source_dtype(source);
    return mc_dtype_block(dtype) > 1 || offset % mc_dtype_bytes(dtype, 1) == 0;
}

static PyObject *source_load(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"dtype", "share", NULL};
    const char *dtype_name = NULL;
    int share = 0;
    mc_place place;
    mc_source *const source = of(self);
    mc_dtype as = mc_source_dtype(source);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|zp", names, &dtype_name, &share))
        return NULL;
    if (dtype_name && !core_dtype(dtype_name, &as))
        return NULL;
    if (as != mc_source_dtype(source) && as != MC_F32 && as != MC_F64)
        return PyErr_Format(PyExc_ValueError, "expected float32 or float64, found %s", dtype_name);
    /* The cheapest form first: the same memory, then a private mapping of the file, then a copy. */
    if (as == mc_source_dtype(source)) {
        if (share && mc_source_data(source))
            return core_memory_of(source);
        if (mc_source_place(source, &place) && is_aligned(source, place.offset))
            return core_memory_map(place.fd, place.offset, mc_source_bytes(source));
        return read_new(source, as, mc_source_bytes(source));
    }
    return read_new(source, as, mc_dtype_bytes(as, mc_source_count(source)));
}

static PyMethodDef source_methods[] = {
    {"load", (PyCFunction)(void (*)(void))source_load, METH_VARARGS | METH_KEYWORDS,
     "load(dtype=None, share=False)\n--\n\n"
     "The elements as Memory that is the caller's own: a private mapping where the tensor lies in "
     "a file, else a\n"
     "copy. dtype 'float32' or 'float64' converts. share: no copy of what is in memory."},
    {0}};

static PyType_Slot source_slots[] = {{Py_tp_doc, "A tensor, wherever its values come from."},
                                     {Py_tp_dealloc, source_dealloc},
                                     {Py_tp_getset, source_properties},
                                     {Py_tp_methods, source_methods},
                                     {0}};

static PyType_Spec source_spec = {"mergecraft._core.Source", sizeof(source_object), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                  source_slots};

/* ---- wrapped arrays -------------------------------------------------------------------------- */

/*
 * Gives up the owner of wrapped memory. The last user of a tensor may be a thread of the library,
 * which does not hold the interpreter lock. It may also come after the interpreter has ended: then
 * no Python function may be called, and the object is left as it is.
 */
static void release_object(void *cookie)
{
    if (!Py_IsInitialized())
        return;
    const PyGILState_STATE lock = PyGILState_Ensure();
    Py_DECREF((PyObject *)cookie);
    PyGILState_Release(lock);
}

static PyObject *wrap(PyObject *module, PyObject *args)
{
    (void)module;
    const char *dtype_name;
    PyObject *shape_object, *owner;
    unsigned long long address;
    long long size;
    mc_dtype dtype;
    int64_t shape[MC_MAX_RANK];
    mc_source *source = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTuple(args, "sOKLO", &dtype_name, &shape_object, &address, &size, &owner))
        return NULL;
    const int rank = core_shape(shape_object, shape);
    if (rank < 0 || !core_dtype(dtype_name, &dtype))
        return NULL;
    /* The source owns this reference; release_object gives it up. */
    Py_INCREF(owner);
    if (mc_source_wrap(dtype, rank, shape, (const void *)(uintptr_t)address, release_object, owner,
                       &source, &error) != MC_OK) {
        Py_DECREF(owner);
        return core_raise(&error);
    }
    if (mc_source_bytes(source) != size) {
        mc_source_unref(source);
        return PyErr_Format(PyExc_ValueError, "expected %lld bytes, found %lld",
                            (long long)mc_source_bytes(source), size);
    }
    return made_source(source);
}

/* ---- computed tensors ------------------------------------------------------------------------ */

/*
 * A function that makes a whole tensor, and its result until the last element has been read. A
 * later read calls the function again. The interpreter lock protects all fields.
 */
typedef struct computation {
    PyObject *function;
    Py_buffer result;
    int made;
    int64_t count, width;
    core_kept kept;
} computation;

static void forget_result(computation *c)
{
    if (c->made)
        PyBuffer_Release(&c->result);
    c->made = 0;
}

static int make_result(computation *c)
{
    Py_buffer view;
    PyObject *const made = PyObject_CallNoArgs(c->function);
    if (!made)
        return 0;
    const int got = PyObject_GetBuffer(made, &view, PyBUF_SIMPLE);
    Py_DECREF(made);
    if (got != 0)
        return 0;
    if (view.len != c->count * c->width) {
        PyErr_Format(PyExc_ValueError, "expected %lld bytes, found %zd",
                     (long long)(c->count * c->width), view.len);
        PyBuffer_Release(&view);
        return 0;
    }
    forget_result(c); /* another thread may have been here meanwhile */
    c->result = view;
    c->made = 1;
    return 1;
}

static mc_status read_computed(void *cookie, int64_t first, int64_t count, void *out,
                               mc_error *error)
{
    computation *const c = cookie;
    mc_status status = MC_OK;
    const PyGILState_STATE lock = PyGILState_Ensure();
    /*
     * The function may release the lock; another thread can then make the result as well, which
     * make_result drops.
     */
    if (c->made || make_result(c)) {
        memcpy(out, (const char *)c->result.buf + first * c->width, (size_t)(count * c->width));
        if (first + count == c->count)
            forget_result(c);
    } else {
        status = core_callback_failed(&c->kept, error);
    }
    PyGILState_Release(lock);
    return status;
}

static void release_computed(void *cookie)
{
    computation *const c = cookie;
    if (!Py_IsInitialized())
        return;
    const PyGILState_STATE lock = PyGILState_Ensure();
    forget_result(c);
    core_forget(&c->kept);
    Py_DECREF(c->function);
    PyMem_Free(c);
    PyGILState_Release(lock);
}

static PyObject *compute(PyObject *module, PyObject *args)
{
    (void)module;
    const char *dtype_name;
    PyObject *shape_object, *function;
    mc_dtype dtype;
    int64_t shape[MC_MAX_RANK];
    mc_source *source = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTuple(args, "sOO", &dtype_name, &shape_object, &function))
        return NULL;
    const int rank = core_shape(shape_object, shape);
    if (rank < 0 || !core_dtype(dtype_name, &dtype))
        return NULL;
    computation *const c = PyMem_Calloc(1, sizeof *c);
    if (!c)
        return PyErr_NoMemory();
    if (mc_source_compute(dtype, rank, shape, read_computed, release_computed, c, &source,
                          &error) != MC_OK) {
        PyMem_Free(c);
        return core_raise(&error);
    }
    Py_INCREF(function);
    /*
     * Only now: release_computed is not called if the source cannot be made. Nobody has read yet.
     */
    c->function = function;
    c->count = mc_source_count(source);
    /* The form in which the library asks for computed elements. */
    c->width = dtype == MC_F64 ? 8 : 4;
    return made_source(source);
}

static PyMethodDef functions[] = {{"wrap", wrap, METH_VARARGS,
                                   "wrap(dtype, shape, address, nbytes, owner)\n--\n\n"
                                   "A Source over memory that `owner` keeps."},
                                  {"compute", compute, METH_VARARGS,
                                   "compute(dtype, shape, function)\n--\n\n"
                                   "A Source whose values function() makes: a buffer with the "
                                   "whole tensor, float64 if dtype is that, else float32."},
                                  {0}};

int core_add_source(PyObject *module)
{
    source_type = (PyTypeObject *)PyType_FromSpec(&source_spec);
    if (!source_type || PyModule_AddType(module, source_type) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

#include "core.h"

#include <sys/mman.h>
#include <unistd.h>

/*
 * data points to one of three kinds of memory. dealloc gives back the kind that is set:
 *
 * mapped: a private mapping of a file, or anonymous pages; source: the elements of a source, which
 * keeps them.
 */
typedef struct memory {
    PyObject ob_base;
    void *data;
    int64_t size;
    void *mapped; /* NULL: not mapped */
    size_t mapped_size;
    mc_source *source; /* NULL: not a tensor's */
} memory;

static PyTypeObject *memory_type;

static memory *new_memory(int64_t size)
{
    memory *const self = (memory *)PyType_GenericAlloc(memory_type, 0);
    if (self)
        self->size = size;
    return self;
}

PyObject *core_memory_map(int fd, int64_t offset, int64_t size)
{
    memory *const self = new_memory(size);
    /* mmap rejects a length of 0. */
    if (!self || size == 0)
        return (PyObject *)self;
    /*
     * A mapping begins at a page boundary: the bytes before the tensor are mapped, too. It is
     * private, so writes copy a page and never reach the file. It outlives the file descriptor.
     */
    const int64_t page = sysconf(_SC_PAGESIZE), before = offset % page;
    void *const at = mmap(NULL, (size_t)(size + before), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
                          (off_t)(offset - before));
    if (at == MAP_FAILED) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self->mapped = at;
    self->mapped_size = (size_t)(size + before);
    self->data = (char *)at + before;
    return (PyObject *)self;
}

/*
 * Memory comes from mmap: it is page-aligned, and large blocks go back to the system as soon as
 * they are freed.
 */
PyObject *core_memory_new(int64_t size, void **data)
{
    memory *const self = new_memory(size);
    if (!self)
        return NULL;
    const size_t wanted = size > 0 ? (size_t)size : 1;
    void *const at = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->mapped = self->data = at;
    self->mapped_size = wanted;
    *data = at;
    return (PyObject *)self;
}

PyObject *core_memory_of(mc_source *source)
{
    memory *const self = new_memory(mc_source_bytes(source));
    if (!self)
        return NULL;
    self->source = mc_source_ref(source);
    /* The library has elements as const; the caller has made sure that nobody else reads them. */
    self->data = (void *)(uintptr_t)mc_source_data(source);
    return (PyObject *)self;
}

static void memory_dealloc(PyObject *object)
{
    memory *const self = (memory *)object;
    PyTypeObject *const type = Py_TYPE(object);
    if (self->mapped)
        munmap(self->mapped, self->mapped_size);
    mc_source_unref(self->source);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/*
 * PyBuffer_FillInfo stores a reference to the object in the view, so the bytes stay while a view
 * exists.
 */
static int memory_buffer(PyObject *object, Py_buffer *view, int flags)
{
    /* Empty memory has no address of its own. */
    static char nothing;
    memory *const self = (memory *)object;
    return PyBuffer_FillInfo(view, object, self->size ? self->data : &nothing,
                             (Py_ssize_t)self->size, 0, flags);
}

static Py_ssize_t memory_length(PyObject *object)
{
    return (Py_ssize_t)((memory *)object)->size;
}

static PyObject *memory_address(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromVoidPtr(((memory *)object)->data);
}

static PyGetSetDef memory_properties[] = {
    {"address", memory_address, NULL, "where the bytes begin", NULL}, {0}};

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, "Writable bytes: a private mapping of a file, or memory. Has the buffer protocol."},
    {Py_tp_dealloc, memory_dealloc},
    {Py_tp_getset, memory_properties},
    {Py_bf_getbuffer, memory_buffer},
    {Py_sq_length, memory_length},
    {0}};

static PyType_Spec memory_spec = {"mergecraft._core.Memory", sizeof(memory), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                  memory_slots};

int core_add_memory(PyObject *module)
{
    memory_type = (PyTypeObject *)PyType_FromSpec(&memory_spec);
    return memory_type ? PyModule_AddType(module, memory_type) : -1;
}

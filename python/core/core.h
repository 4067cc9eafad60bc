/*
 * mergecraft._core: the library's objects as Python objects. Thin: users see the modules in
 * python/mergecraft, which call it.
 *
 * Everything here uses the limited API of Python 3.11, and only the public headers of mergecraft.
 * Calls that may take long run without the interpreter lock (GIL).
 *
 * Functions that take over a C object free it if the Python object cannot be allocated.
 * PyType_GenericAlloc clears the object, so dealloc sees NULL where nothing was stored.
 *
 * The limited API has no access to tp_free: dealloc asks for the slot. Since Python 3.8 an instance
 * of a heap type owns a reference to its type. dealloc gives it up last, after the memory is gone.
 *
 * Strings that PyArg_ParseTuple and PyBytes_AsString return are borrowed. The object that owns them
 * must stay until a call without the lock has returned. The same holds for objects that "O"
 * returns.
 *
 * Casts: a function with METH_KEYWORDS takes three arguments and is cast by way of void (*)(void),
 * which -Wcast-function-type accepts. A cast by way of uintptr_t removes const, which -Wcast-qual
 * would warn of. Lists of keywords are char *, not const char *, in this version of the API.
 */
#ifndef MC_PYTHON_CORE_H
#define MC_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <mergecraft/mergecraft.h>

/* ---- errors ---------------------------------------------------------------------------------- */

/*
 * Raises the error as an exception of mergecraft._errors; always returns NULL, so that a function
 * can return its result.
 */
PyObject *core_raise(const mc_error *error);

/*
 * An exception of a callback, kept until the function that called the library raises it. The
 * callback may have run on a thread of the library. The object that has the callback owns this
 * struct. The interpreter lock protects it, and the list of all of them.
 */
typedef struct core_kept {
    PyObject *type, *value, *traceback; /* type is NULL: none */
    uint64_t number;                    /* the error's token */
    struct core_kept *next;
} core_kept;

/*
 * Keeps the exception that a callback has raised and fills `error` for the library. Returns the
 * status that the callback must return.
 */
mc_status core_callback_failed(core_kept *kept, mc_error *error);

/* Drops the exception, if there is one. Every owner must call it in its dealloc. */
void core_forget(core_kept *kept);

/* As core_raise, but raises the exception that a callback has kept, if there is one. */
PyObject *core_raise_kept(const mc_error *error);

/* ---- objects --------------------------------------------------------------------------------- */

/* Bytes that belong to the Python object; it supports the buffer protocol, writable. */
PyObject *core_memory_map(int fd, int64_t offset, int64_t size);
PyObject *core_memory_new(int64_t size, void **data);
PyObject *core_memory_of(mc_source *source); /* of a tensor that nobody else reads */

PyObject *core_source(mc_source *source); /* takes a reference of its own */
mc_source *core_source_of(PyObject *object);

PyObject *core_dict(mc_state_dict *dict, PyObject *keep); /* takes over dict; keep may be NULL */
mc_state_dict *core_dict_of(PyObject *object);

PyObject *core_model(mc_model *model); /* takes it over */
const mc_model *core_model_of(PyObject *object);
const mc_method *core_method_of(PyObject *object);
PyObject *core_plan(mc_plan *plan, PyObject *keep); /* takes it over */
/* The examples of a Data and their task; NULL with an exception. */
const mc_glue_data *core_data_of(PyObject *object, const mc_glue_task **task);
/* A dict of (value, standard error). */
PyObject *core_metrics(const mc_metric *metrics, size_t count);

/* Each NULL, with an exception, if the object is of another type. */

/* ---- runs ------------------------------------------------------------------------------------ */

/* A long call: stops at Ctrl-C and reports its progress to a Python function. */
typedef struct core_run {
    PyObject *progress; /* borrowed; called with (done, total), None: nobody */
    /* Written with the interpreter lock, read by threads of the library without it. */
    volatile int cancel;
    PyObject *type, *value, *traceback; /* the exception that stopped it */
} core_run;

/* Called without the interpreter's lock. */
void core_run_step(core_run *run, int64_t done, int64_t total);

/* For downloads that are part of the call. */
mc_hub_options core_hub_options(core_run *run);

/*
 * Ends the call: returns 0, or −1 with an exception. An exception of step takes precedence over the
 * status.
 */
int core_run_end(core_run *run, mc_status status, const mc_error *error);

/* Keyword arguments of a run (threads, memory, shard_size, overwrite, sync, progress). */
typedef struct core_run_arguments {
    int threads;
    long long memory, shard_size;
    int overwrite, sync;
    PyObject *progress;
} core_run_arguments;

mc_run_options core_run_options(const core_run_arguments *arguments, core_run *run);

/* Writes what `plan` describes to a folder; called without the interpreter's lock. */
typedef mc_status core_runner(void *plan, const char *folder, const mc_run_options *options,
                              mc_error *error);

/* The method `run(folder, threads=0, …)` of a plan: None, or NULL with an exception. */
PyObject *core_run_plan(void *plan, core_runner *runner, PyObject *args, PyObject *keywords);

/* ---- values ---------------------------------------------------------------------------------- */

/* A dtype by its name in torch; false with an exception if there is none. */
int core_dtype(const char *name, mc_dtype *dtype);

/* A tuple of dimensions; the rank, or −1 with an exception. */
int core_shape(PyObject *sequence, int64_t shape[MC_MAX_RANK]);

/*
 * Returns a list of str as an array that ends with NULL; NULL with an exception. The strings belong
 * to the items of the list. Free the array with PyMem_Free.
 */
const char **core_strings(PyObject *list, Py_ssize_t *count);

int core_add_memory(PyObject *module);
int core_add_source(PyObject *module);
int core_add_dict(PyObject *module);
int core_add_model(PyObject *module);
int core_add_method(PyObject *module);
int core_add_plan(PyObject *module);
int core_add_recipe(PyObject *module);
int core_add_lora(PyObject *module);
/* transplant(model, donor, method, neighbours, threads, strict): a plan. */
PyObject *core_transplant(PyObject *module, PyObject *args);
/* decompress(merged, base, task, strict): a plan; task_masks_base(merged): a name. */
PyObject *core_decompress(PyObject *module, PyObject *args);
PyObject *core_task_masks_base(PyObject *module, PyObject *merged);
int core_add_observe(PyObject *module);
int core_add_pipeline(PyObject *module);
int core_add_data(PyObject *module);
int core_add_search(PyObject *module);
int core_add_report(PyObject *module);

#endif

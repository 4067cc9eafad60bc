#include "core.h"

#include <stdbool.h>

/*
 * The exceptions of callbacks that nobody has taken yet. The interpreter lock protects the list.
 *
 *   any thread       callback raises ──▶ core_callback_failed: keeps it, numbers the error
 *                                             │ the library stops and returns the error
 *                                             ▼
 *   calling thread   core_raise_kept: finds the exception by the number and raises it
 *
 * An error carries the number of its exception, not its address: the owner may be freed between the
 * callback and the function that raises the error.
 */
static core_kept *all_kept;

PyObject *core_raise(const mc_error *error)
{
    char line[6144];
    PyObject *const module = PyImport_ImportModule("mergecraft._errors");
    PyObject *exception = NULL;
    /* The module chooses the class by the code. */
    mc_error_message(error, line, sizeof line);
    if (module)
        exception = PyObject_CallMethod(module, "make", "isssLi", (int)error->code, line,
                                        error->file, error->tensor, (long long)error->offset,
                                        (int)error->hint);
    if (exception)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
    Py_XDECREF(module);
    return NULL;
}

static void unlink_kept(const core_kept *kept)
{
    for (core_kept **at = &all_kept; *at; at = &(*at)->next)
        if (*at == kept) {
            *at = kept->next;
            return;
        }
}

void core_forget(core_kept *kept)
{
    if (!kept->type)
        return;
    unlink_kept(kept);
    /* Py_DECREF may run a finalizer that comes back here, so the struct is cleared first. */
    const core_kept old = *kept;
    *kept = (core_kept){0};
    Py_DECREF(old.type);
    Py_XDECREF(old.value);
    Py_XDECREF(old.traceback);
}

mc_status core_callback_failed(core_kept *kept, mc_error *error)
{
    static uint64_t last_number;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    /* PyErr_Fetch may return a class and arguments; the text needs an instance. */
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *const text = value ? PyObject_Str(value) : NULL;
    const char *const words = text ? PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    mc_fail(error, MC_USAGE, "%s", words ? words : "a function of Python's has failed");
    /* str() of an exception is Python code and may fail; that failure is of no interest. */
    PyErr_Clear();
    Py_XDECREF(text);
    /* Only the last exception of an owner is kept. */
    core_forget(kept);
    *kept = (core_kept){type, value, traceback, ++last_number, all_kept};
    all_kept = kept;
    if (error)
        error->token = kept->number;
    return MC_USAGE;
}

PyObject *core_raise_kept(const mc_error *error)
{
    core_kept *kept = error->token ? all_kept : NULL;
    while (kept && kept->number != error->token)
        kept = kept->next;
    if (!kept)
        return core_raise(error);
    unlink_kept(kept);
    /* Takes over the three references. */
    PyErr_Restore(kept->type, kept->value, kept->traceback);
    *kept = (core_kept){0};
    return NULL;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/*
 * An exception of a step ends a run in three steps:
 *
 *   core_run_step   an exception ──▶ stored in the run, cancel = 1
 *   library         sees `cancel`, stops its threads, returns MC_INTERRUPTED
 *   core_run_end    raises the stored exception
 */
static bool step(core_run *run, int64_t done, int64_t total)
{
    /*
     * Signal handlers of Python run only on its main thread; on others this does nothing and
     * returns 0.
     */
    if (PyErr_CheckSignals() != 0)
        return false;
    if (!run->progress || run->progress == Py_None)
        return true;
    PyObject *const result = PyObject_CallFunction(run->progress, "LL", (long long)done,
                                                   (long long)total);
    Py_XDECREF(result);
    return result != NULL;
}

void core_run_step(core_run *run, int64_t done, int64_t total)
{
    const PyGILState_STATE lock = PyGILState_Ensure();
    /* Steps may follow until the library sees `cancel`; the first exception is the one to raise. */
    if (!run->type && !step(run, done, total)) {
        PyErr_Fetch(&run->type, &run->value, &run->traceback);
        run->cancel = 1;
    }
    PyGILState_Release(lock);
}

int core_run_end(core_run *run, mc_status status, const mc_error *error)
{
    if (run->type) { /* also where the work was done before it could be stopped */
        PyErr_Restore(run->type, run->value, run->traceback);
        return -1;
    }
    if (status != MC_OK)
        core_raise_kept(error);
    return status == MC_OK ? 0 : -1;
}

static void on_download(const mc_hub_progress *progress, void *user)
{
    core_run_step(user, progress->bytes_done, progress->bytes_total);
}

mc_hub_options core_hub_options(core_run *run)
{
    return (mc_hub_options){.cancel = &run->cancel, .progress = on_download, .user = run};
}

static void on_progress(const mc_progress *progress, void *user)
{
    core_run_step(user, progress->bytes_done, progress->bytes_total);
}

mc_run_options core_run_options(const core_run_arguments *arguments, core_run *run)
{
    *run = (core_run){.progress = arguments->progress};
    return (mc_run_options){.threads = arguments->threads,
                            .memory = arguments->memory,
                            .shard_size = arguments->shard_size,
                            .overwrite = arguments->overwrite != 0,
                            .no_sync = !arguments->sync,
                            .cancel = &run->cancel,
                            .progress = on_progress,
                            .user = run};
}

PyObject *core_run_plan(void *plan, core_runner *runner, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"folder",    "threads", "memory",   "shard_size",
                            "overwrite", "sync",    "progress", NULL};
    core_run_arguments a = {.sync = 1, .progress = Py_None};
    core_run run;
    PyObject *path;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|iLLppO", names, PyUnicode_FSConverter,
                                     &path, &a.threads, &a.memory, &a.shard_size, &a.overwrite,
                                     &a.sync, &a.progress))
        return NULL;
    /* Borrowed from `path`, which is released only after the run. */
    const char *const folder = PyBytes_AsString(path);
    const mc_run_options options = core_run_options(&a, &run);
    Py_BEGIN_ALLOW_THREADS status = runner(plan, folder, &options, &error);
    Py_END_ALLOW_THREADS Py_DECREF(path);
    if (core_run_end(&run, status, &error) != 0)
        return NULL;
    Py_RETURN_NONE;
}

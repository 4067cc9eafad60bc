/* HTML reports (report.h): a merge or a search as one page. */
#include "core.h"

#include <mergecraft/report.h>

/* Arguments are borrowed from the caller. */
typedef struct report_arguments {
    const char *folder, *journal, *note;
    PyObject *models, *base;
    int threads;
} report_arguments;

/* The models of a list; NULL with an exception. The caller frees them with PyMem_Free. */
static const mc_model **models_of(PyObject *list)
{
    const Py_ssize_t count = PyList_Size(list);
    const mc_model **const models = count < 0 ? NULL
                                              : PyMem_Calloc((size_t)count + 1, sizeof *models);
    if (count >= 0 && !models)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; models && i < count; i++)
        if (!(models[i] = core_model_of(PyList_GetItem(list, i)))) {
            PyMem_Free((void *)(uintptr_t)models);
            return NULL;
        }
    return models;
}

/* Like the command: without a comparison, the page states why. */
static mc_status make(const mc_compare_input *models, mc_html_report_input *page, core_run *run,
                      int threads, char **html, mc_error *error)
{
    const mc_run_options options = {.threads = threads, .cancel = &run->cancel};
    mc_comparison *comparison = NULL;
    char note[6000];
    mc_status status = models->model_count > 0 ? mc_compare(models, &options, &comparison, error)
                                               : MC_OK;
    if (status == MC_INTERRUPTED || status == MC_NO_MEMORY)
        return status;
    if (status != MC_OK)
        page->note = mc_error_message(error, note, sizeof note);
    page->comparison = comparison;
    status = mc_html_report(page, html, error);
    mc_comparison_free(comparison);
    return status;
}

static PyObject *run_report(const report_arguments *a, const mc_compare_input *models,
                            core_run *run)
{
    mc_html_report_input page = {.folder = a->folder, .journal = a->journal, .note = a->note};
    char *html = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    Py_BEGIN_ALLOW_THREADS status = make(models, &page, run, a->threads, &html, &error);
    Py_END_ALLOW_THREADS PyObject *const text = core_run_end(run, status, &error) == 0
                                                    ? PyUnicode_FromString(html)
                                                    : NULL;
    mc_html_report_free(html);
    return text;
}

static PyObject *report(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"folder", "journal", "models",   "base",
                            "note",   "threads", "progress", NULL};
    report_arguments a = {0};
    core_run run = {.progress = Py_None};
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "zzOOzi|O", names, &a.folder, &a.journal,
                                     &a.models, &a.base, &a.note, &a.threads, &run.progress))
        return NULL;
    mc_compare_input input = {.models = models_of(a.models)};
    PyObject *text = NULL;
    if (input.models) {
        input.model_count = (size_t)PyList_Size(a.models);
        input.base = a.base == Py_None ? NULL : core_model_of(a.base);
        if (a.base == Py_None || input.base)
            text = run_report(&a, &input, &run);
    }
    PyMem_Free((void *)(uintptr_t)input.models);
    return text;
}

static PyMethodDef functions[] = {{"report", (PyCFunction)(void (*)(void))report,
                                   METH_VARARGS | METH_KEYWORDS,
                                   "report(folder, journal, models, base, note, threads, "
                                   "progress=None)\n--\n\nThe page as HTML."},
                                  {0}};

int core_add_report(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

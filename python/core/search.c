#include "core.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The arguments of search(). Objects and strings are borrowed from its caller. */
typedef struct search_arguments {
    PyObject *method, *models, *base, *params, *passthrough, *exclude, *then, *matrices, *tasks;
    PyObject *progress;
    const char *recipe, *space, *strategy, *objective, *command, *journal, *out, *dtype,
        *eval_dtype;
    unsigned long long seed, merge_seed;
    Py_ssize_t keep, trials, halving;
    double validate, command_seconds;
    int strict, parents, minimize, resume, overwrite, threads;
} search_arguments;

/* Arrays of the arguments; free_arrays frees them. */
typedef struct search_arrays {
    const mc_model **models;
    const char **params, **passthrough, **exclude, **matrices;
    const mc_method **then;
    mc_search_task *tasks;
    Py_ssize_t model_count, param_count, passthrough_count, exclude_count, matrix_count, then_count;
    Py_ssize_t task_count;
} search_arrays;

static void free_arrays(search_arrays *all)
{
    PyMem_Free((void *)(uintptr_t)all->models);
    PyMem_Free((void *)(uintptr_t)all->params);
    PyMem_Free((void *)(uintptr_t)all->passthrough);
    PyMem_Free((void *)(uintptr_t)all->exclude);
    PyMem_Free((void *)(uintptr_t)all->matrices);
    PyMem_Free((void *)(uintptr_t)all->then);
    PyMem_Free(all->tasks);
}

static bool fill_models(PyObject *list, search_arrays *all)
{
    all->model_count = PyList_Size(list);
    all->models = PyMem_Calloc((size_t)all->model_count + 1, sizeof *all->models);
    if (!all->models)
        return PyErr_NoMemory() != NULL;
    for (Py_ssize_t i = 0; i < all->model_count; i++)
        if (!(all->models[i] = core_model_of(PyList_GetItem(list, i))))
            return false;
    return true;
}

static bool fill_then(PyObject *list, search_arrays *all)
{
    const char **const names = core_strings(list, &all->then_count);
    all->then = names ? PyMem_Calloc((size_t)all->then_count + 1, sizeof *all->then) : NULL;
    for (Py_ssize_t i = 0; all->then && i < all->then_count; i++)
        all->then[i] = mc_method_find(names[i]);
    if (names && !all->then)
        PyErr_NoMemory();
    PyMem_Free((void *)(uintptr_t)names);
    return all->then != NULL;
}

/* (data, held out or None, split, metric or None, weight, model of the head or None) */
static bool fill_task(PyObject *item, mc_search_task *task)
{
    PyObject *data, *held_out, *head;
    if (!PyArg_ParseTuple(item, "OOszdO", &data, &held_out, &task->split, &task->metric,
                          &task->weight, &head))
        return false;
    if (head != Py_None && !(task->head = core_model_of(head)))
        return false;
    const mc_glue_task *ignored;
    task->data = core_data_of(data, &task->task);
    task->held_out = held_out == Py_None ? NULL : core_data_of(held_out, &ignored);
    return task->data && (held_out == Py_None || task->held_out);
}

static bool fill_tasks(PyObject *list, search_arrays *all)
{
    all->task_count = PyList_Size(list);
    all->tasks = PyMem_Calloc((size_t)all->task_count + 1, sizeof *all->tasks);
    if (!all->tasks)
        return PyErr_NoMemory() != NULL;
    for (Py_ssize_t i = 0; i < all->task_count; i++)
        if (!fill_task(PyList_GetItem(list, i), &all->tasks[i]))
            return false;
    return true;
}

static bool fill_arrays(const search_arguments *a, search_arrays *all)
{
    PyObject *const lists[] = {a->models, a->params,   a->passthrough, a->exclude,
                               a->then,   a->matrices, a->tasks};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!PyList_Check(lists[i])) {
            PyErr_SetString(PyExc_TypeError, "expected lists of models, texts and tasks");
            return false;
        }
    return fill_models(a->models, all) && fill_then(a->then, all) && fill_tasks(a->tasks, all) &&
           (all->params = core_strings(a->params, &all->param_count)) &&
           (all->passthrough = core_strings(a->passthrough, &all->passthrough_count)) &&
           (all->exclude = core_strings(a->exclude, &all->exclude_count)) &&
           (all->matrices = core_strings(a->matrices, &all->matrix_count));
}

static bool fill_merge(const search_arguments *a, const search_arrays *all, mc_plan_input *out)
{
    *out = (mc_plan_input){.models = all->models,
                           .model_count = (size_t)all->model_count,
                           .params = all->params,
                           .param_count = (size_t)all->param_count,
                           .passthrough = all->passthrough,
                           .passthrough_count = (size_t)all->passthrough_count,
                           .exclude = all->exclude,
                           .exclude_count = (size_t)all->exclude_count,
                           .keep = (size_t)a->keep,
                           .then = all->then,
                           .then_count = (size_t)all->then_count,
                           .matrices = all->matrices,
                           .matrix_count = (size_t)all->matrix_count,
                           .seed = a->merge_seed,
                           .strict = a->strict != 0,
                           .allow_unused = true,
                           .convert = a->dtype != NULL};
    if (a->recipe)
        return true;
    out->method = core_method_of(a->method);
    out->base = a->base == Py_None ? NULL : core_model_of(a->base);
    return out->method && (a->base == Py_None || out->base) &&
           (!a->dtype || core_dtype(a->dtype, &out->dtype));
}

static bool choose(const char *what, const char *text, const char *const *names, int count,
                   int *out)
{
    for (*out = 0; *out < count; ++*out)
        if (strcmp(text, names[*out]) == 0)
            return true;
    PyErr_Format(PyExc_ValueError, "%s: unknown '%s'", what, text);
    return false;
}

static bool fill_input(const search_arguments *a, const search_arrays *all,
                       const mc_plan_input *merge, const mc_recipe_options *recipe,
                       mc_search_input *out)
{
    static const char *const objectives[] = {"mean", "min", "relative", "worst-relative"};
    static const char *const precisions[] = {"float32", "bfloat16", "int8"};
    int objective, precision;
    if (!choose("objective", a->objective, objectives, 4, &objective) ||
        !choose("eval_dtype", a->eval_dtype, precisions, 3, &precision))
        return false;
    *out = (mc_search_input){.merge = a->recipe ? NULL : merge,
                             .recipe = a->recipe,
                             .recipe_options = recipe,
                             .space = a->space,
                             .strategy = a->strategy,
                             .seed = a->seed,
                             .trials = (size_t)a->trials,
                             .tasks = all->tasks,
                             .task_count = (size_t)all->task_count,
                             .objective = (mc_search_objective)objective,
                             .validate = a->validate,
                             .halving = (size_t)a->halving,
                             .parents = a->parents != 0,
                             .precision = (mc_precision)precision,
                             .command = a->command,
                             .command_seconds = a->command_seconds,
                             .minimize = a->minimize != 0};
    return true;
}

static void on_trial(const mc_search_trial *trial, void *user)
{
    core_run_step(user, (int64_t)trial->number, (int64_t)trial->total);
}

/* The lines of the journal, and the warnings. */
static PyObject *result_of(const mc_search *search)
{
    const size_t count = mc_search_line_count(search);
    const mc_report *const report = mc_search_report(search);
    PyObject *const lines = PyList_New((Py_ssize_t)count);
    PyObject *const warnings = PyList_New((Py_ssize_t)mc_report_count(report));
    for (size_t i = 0; lines && i < count; i++)
        PyList_SetItem(lines, (Py_ssize_t)i, PyUnicode_FromString(mc_search_line(search, i)));
    for (size_t i = 0; warnings && i < mc_report_count(report); i++)
        PyList_SetItem(warnings, (Py_ssize_t)i, PyUnicode_FromString(mc_report_line(report, i)));
    /* "N" takes over the references, also if one of them is NULL. */
    return Py_BuildValue("NNz", lines, warnings, mc_search_recipe(search));
}

static PyObject *run_search(const search_arguments *a, const mc_search_input *input)
{
    core_run run = {.progress = a->progress};
    const mc_search_options options = {.journal = a->journal,
                                       .resume = a->resume != 0,
                                       .threads = a->threads,
                                       .cancel = &run.cancel,
                                       .trial = on_trial,
                                       .user = &run};
    const mc_run_options how = {
        .threads = a->threads, .overwrite = a->overwrite != 0, .cancel = &run.cancel};
    mc_search *search = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    Py_BEGIN_ALLOW_THREADS status = mc_search_run(input, &options, &search, &error);
    if (status == MC_OK && a->out)
        status = mc_search_write(search, a->out, &how, NULL, &error);
    Py_END_ALLOW_THREADS PyObject *const found = core_run_end(&run, status, &error) == 0
                                                     ? result_of(search)
                                                     : NULL;
    mc_search_free(search);
    return found;
}

static PyObject *search(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {
        "method",   "models",    "base",     "params",     "passthrough", "exclude",    "then",
        "matrices", "tasks",     "recipe",   "space",      "strategy",    "objective",  "command",
        "journal",  "out",       "dtype",    "eval_dtype", "seed",        "merge_seed", "keep",
        "trials",   "halving",   "validate", "time_limit", "strict",      "parents",    "minimize",
        "resume",   "overwrite", "threads",  "progress",   NULL};
    search_arguments a = {.progress = Py_None};
    search_arrays all = {0};
    mc_plan_input merge = {0};
    mc_recipe_options recipe = {0};
    mc_search_input input = {0};
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(
            args, keywords, "OOOOOOOOOzzzszzzzsKKnnnddpppppi|O", names, &a.method, &a.models,
            &a.base, &a.params, &a.passthrough, &a.exclude, &a.then, &a.matrices, &a.tasks,
            &a.recipe, &a.space, &a.strategy, &a.objective, &a.command, &a.journal, &a.out,
            &a.dtype, &a.eval_dtype, &a.seed, &a.merge_seed, &a.keep, &a.trials, &a.halving,
            &a.validate, &a.command_seconds, &a.strict, &a.parents, &a.minimize, &a.resume,
            &a.overwrite, &a.threads, &a.progress))
        return NULL;
    PyObject *found = NULL;
    if (fill_arrays(&a, &all) && fill_merge(&a, &all, &merge)) {
        recipe.seed = a.merge_seed;
        recipe.strict = a.strict != 0;
        if (fill_input(&a, &all, &merge, &recipe, &input))
            found = run_search(&a, &input);
    }
    free_arrays(&all);
    return found;
}

static PyMethodDef functions[] = {
    {"search", (PyCFunction)(void (*)(void))search, METH_VARARGS | METH_KEYWORDS,
     "search(...)\n--\n\nThe lines of the journal, the warnings, and the recipe or None."},
    {0}};

int core_add_search(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

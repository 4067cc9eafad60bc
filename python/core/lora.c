/* LoRA adapters, and the plans that make one. */
#include "core.h"

#include <stdbool.h>

typedef struct lora_object {
    PyObject ob_base;
    mc_lora *lora;
} lora_object;

typedef struct lora_plan_object {
    PyObject ob_base;
    mc_lora_plan *plan;
    PyObject *inputs; /* adapters or models, which must live as long */
} lora_plan_object;

static PyTypeObject *lora_type, *lora_plan_type;

/* ---- adapters -------------------------------------------------------------------------------- */

static PyObject *new_lora(mc_lora *lora)
{
    lora_object *const self = (lora_object *)PyType_GenericAlloc(lora_type, 0);
    if (!self)
        mc_lora_close(lora);
    else
        self->lora = lora;
    return (PyObject *)self;
}

static void lora_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_lora_close(((lora_object *)object)->lora);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *get_name(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(mc_lora_name(((lora_object *)self)->lora));
}

static PyObject *get_base(PyObject *self, void *closure)
{
    (void)closure;
    return Py_BuildValue("z", mc_lora_base(((lora_object *)self)->lora));
}

static PyGetSetDef lora_properties[] = {
    {"name", get_name, NULL, "as the user wrote it", NULL},
    {"base", get_base, NULL, "the base model that its configuration names, or None", NULL},
    {0}};

static PyObject *open_lora(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *path = NULL, *progress = Py_None;
    mc_lora *lora = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "O&|O", PyUnicode_FSConverter, &path, &progress))
        return NULL;
    core_run run = {.progress = progress};
    const mc_hub_options hub = core_hub_options(&run);
    /* Borrowed from `path`, which is released only after the call. */
    const char *const name = PyBytes_AsString(path);
    Py_BEGIN_ALLOW_THREADS status = mc_lora_open(name, &hub, &lora, &error);
    Py_END_ALLOW_THREADS Py_DECREF(path);
    if (core_run_end(&run, status, &error) == 0)
        return new_lora(lora);
    /* Opened, but stopped by a signal or by progress. */
    if (status == MC_OK)
        mc_lora_close(lora);
    return NULL;
}

static PyObject *wrap_lora(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name, *config;
    PyObject *dict;
    mc_lora *lora = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTuple(args, "sOz", &name, &dict, &config))
        return NULL;
    const mc_state_dict *const tensors = core_dict_of(dict);
    if (!tensors)
        return NULL;
    if (mc_lora_wrap(name, tensors, config, &lora, &error) != MC_OK)
        return core_raise(&error);
    return new_lora(lora);
}

/*
 * An array of the adapters of a list; NULL with an exception.
 *
 * The adapters stay alive through the list, which a plan keeps as its inputs.
 */
static const mc_lora **loras_of(PyObject *list, Py_ssize_t *count)
{
    *count = PyList_Size(list);
    const mc_lora **const loras = *count < 0 ? NULL
                                             : PyMem_Calloc((size_t)*count + 1, sizeof *loras);
    for (Py_ssize_t i = 0; loras && i < *count; i++) {
        PyObject *const item = PyList_GetItem(list, i);
        if (!PyObject_TypeCheck(item, lora_type)) {
            PyErr_SetString(PyExc_TypeError, "expected a Lora");
            PyMem_Free((void *)(uintptr_t)loras);
            return NULL;
        }
        loras[i] = ((lora_object *)item)->lora;
    }
    if (*count >= 0 && !loras)
        PyErr_NoMemory();
    return loras;
}

static PyObject *lora_apply(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *base, *list;
    Py_ssize_t count = 0;
    mc_model *model = NULL;
    mc_error error = MC_ERROR_NONE;
    /* It stays so if an argument is of another type: the exception is set. */
    mc_status status = MC_USAGE;
    if (!PyArg_ParseTuple(args, "OO", &base, &list))
        return NULL;
    const mc_model *const origin = core_model_of(base);
    const mc_lora **const loras = origin ? loras_of(list, &count) : NULL;
    if (loras && (status = mc_lora_apply(origin, loras, (size_t)count, &model, &error)) != MC_OK)
        core_raise(&error);
    PyMem_Free((void *)(uintptr_t)loras);
    return status == MC_OK ? core_model(model) : NULL;
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* The arguments that lora_merge and lora_extract share. */
typedef struct rank_arguments {
    long long rank, max_rank;
    double energy;
    int exact;
    unsigned long long seed;
    int strict;
    const char *dtype;
} rank_arguments;

static mc_lora_rank rank_of(const rank_arguments *a)
{
    return (mc_lora_rank){.rank = a->rank,
                          .energy = a->energy,
                          .max_rank = a->max_rank,
                          .exact = a->exact != 0,
                          .seed = a->seed};
}

static PyObject *new_plan(mc_lora_plan *plan, PyObject *inputs)
{
    lora_plan_object *const self = (lora_plan_object *)PyType_GenericAlloc(lora_plan_type, 0);
    if (!self) {
        mc_lora_plan_free(plan);
        return NULL;
    }
    self->plan = plan;
    self->inputs = Py_NewRef(inputs);
    return (PyObject *)self;
}

static PyObject *lora_merge(PyObject *module, PyObject *args)
{
    (void)module;
    const char *method;
    PyObject *list, *settings;
    rank_arguments a = {0};
    Py_ssize_t count = 0, param_count = 0;
    mc_lora_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "sOOLdLpKpz", &method, &list, &settings, &a.rank, &a.energy,
                          &a.max_rank, &a.exact, &a.seed, &a.strict, &a.dtype))
        return NULL;
    const mc_lora **const loras = loras_of(list, &count);
    const char **const params = loras ? core_strings(settings, &param_count) : NULL;
    /* Strings and arrays are needed for this call only; the plan keeps the adapters themselves. */
    mc_lora_merge_input input = {.method = method,
                                 .adapters = loras,
                                 .adapter_count = (size_t)count,
                                 .params = params,
                                 .param_count = (size_t)param_count,
                                 .rank = rank_of(&a),
                                 .strict = a.strict != 0,
                                 .convert = a.dtype != NULL};
    /* False with an exception. */
    const bool ready = params && (!a.dtype || core_dtype(a.dtype, &input.dtype));
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status = mc_lora_merge(&input, &plan, &error);
        Py_END_ALLOW_THREADS if (status != MC_OK) core_raise(&error);
    }
    PyMem_Free((void *)(uintptr_t)loras);
    PyMem_Free((void *)(uintptr_t)params);
    /* The list keeps the adapters alive. */
    return plan ? new_plan(plan, list) : NULL;
}

static PyObject *lora_extract(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *model, *base, *save, *exclude;
    rank_arguments a = {0};
    int embeddings = 0;
    Py_ssize_t save_count = 0, exclude_count = 0;
    mc_lora_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "OOOOpLdLpKpz", &model, &base, &save, &exclude, &embeddings,
                          &a.rank, &a.energy, &a.max_rank, &a.exact, &a.seed, &a.strict, &a.dtype))
        return NULL;
    const char **const saved = core_strings(save, &save_count);
    const char **const excluded = saved ? core_strings(exclude, &exclude_count) : NULL;
    mc_lora_extract_input input = {.model = excluded ? core_model_of(model) : NULL,
                                   .base = excluded ? core_model_of(base) : NULL,
                                   .rank = rank_of(&a),
                                   .save = saved,
                                   .save_count = (size_t)save_count,
                                   .exclude = excluded,
                                   .exclude_count = (size_t)exclude_count,
                                   .embeddings = embeddings != 0,
                                   .strict = a.strict != 0,
                                   .convert = a.dtype != NULL};
    const bool ready = input.model && input.base && (!a.dtype || core_dtype(a.dtype, &input.dtype));
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status = mc_lora_extract(&input, &plan, &error);
        Py_END_ALLOW_THREADS if (status != MC_OK) core_raise(&error);
    }
    PyMem_Free((void *)(uintptr_t)saved);
    PyMem_Free((void *)(uintptr_t)excluded);
    /* A tuple owns a reference to each model until the plan goes. */
    PyObject *const inputs = plan ? PyTuple_Pack(2, model, base) : NULL;
    PyObject *const made = inputs ? new_plan(plan, inputs) : NULL;
    if (plan && !inputs)
        mc_lora_plan_free(plan);
    Py_XDECREF(inputs);
    return made;
}

static void plan_dealloc(PyObject *object)
{
    lora_plan_object *const self = (lora_plan_object *)object;
    PyTypeObject *const type = Py_TYPE(object);
    mc_lora_plan_free(self->plan);
    Py_XDECREF(self->inputs);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static mc_lora_plan *of(PyObject *object)
{
    return ((lora_plan_object *)object)->plan;
}

static PyObject *get_report(PyObject *self, void *closure)
{
    (void)closure;
    const mc_report *const report = mc_lora_plan_report(of(self));
    PyObject *const lines = PyList_New((Py_ssize_t)mc_report_count(report));
    for (size_t i = 0; lines && i < mc_report_count(report); i++)
        PyList_SetItem(lines, (Py_ssize_t)i, PyUnicode_FromString(mc_report_line(report, i)));
    return lines;
}

static PyObject *get_plan_config(PyObject *self, void *closure)
{
    (void)closure;
    return Py_BuildValue("z", mc_lora_plan_config(of(self)));
}

static PyObject *get_json(PyObject *self, void *closure)
{
    (void)closure;
    char *text = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_lora_plan_json(of(self), &text, &error) != MC_OK)
        return core_raise(&error);
    /* A copy, so the text can be freed. */
    PyObject *const json = PyUnicode_FromString(text);
    mc_plan_json_free(text);
    return json;
}

static PyObject *get_dict(PyObject *self, void *closure)
{
    (void)closure;
    mc_state_dict *dict = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_lora_plan_state_dict(of(self), &dict, &error) != MC_OK)
        return core_raise(&error);
    return core_dict(dict, self);
}

static PyGetSetDef plan_properties[] = {
    {"report", get_report, NULL, "warnings and notes, one per line", NULL},
    {"config", get_plan_config, NULL, "text of adapter_config.json", NULL},
    {"json", get_json, NULL, "the plan as JSON; energies after a run", NULL},
    {"dict", get_dict, NULL, "the lazy Dict of the adapter's tensors", NULL},
    {0}};

static mc_status run_plan(void *plan, const char *folder, const mc_run_options *options,
                          mc_error *error)
{
    return mc_lora_run(plan, folder, options, NULL, error);
}

static PyObject *plan_run(PyObject *self, PyObject *args, PyObject *keywords)
{
    return core_run_plan(of(self), run_plan, args, keywords);
}

static PyMethodDef plan_methods[] = {{"run", (PyCFunction)(void (*)(void))plan_run,
                                      METH_VARARGS | METH_KEYWORDS,
                                      "run(folder, threads=0, memory=0, shard_size=0, "
                                      "overwrite=False, sync=True, progress=None)\n--\n\n"
                                      "Writes the adapter to a new folder."},
                                     {0}};

/* ---- the module ------------------------------------------------------------------------------ */

static PyType_Slot lora_slots[] = {{Py_tp_doc, "An open LoRA adapter."},
                                   {Py_tp_dealloc, lora_dealloc},
                                   {Py_tp_getset, lora_properties},
                                   {0}};

static PyType_Spec lora_spec = {"mergecraft._core.Lora", sizeof(lora_object), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, lora_slots};

static PyType_Slot plan_slots[] = {{Py_tp_doc, "An adapter that will be made."},
                                   {Py_tp_dealloc, plan_dealloc},
                                   {Py_tp_getset, plan_properties},
                                   {Py_tp_methods, plan_methods},
                                   {0}};

static PyType_Spec plan_spec = {"mergecraft._core.LoraPlan", sizeof(lora_plan_object), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, plan_slots};

static PyMethodDef functions[] = {
    {"open_lora", open_lora, METH_VARARGS,
     "open_lora(path, progress=None)\n--\n\nOpens an adapter: a folder, a file, a repository."},
    {"wrap_lora", wrap_lora, METH_VARARGS,
     "wrap_lora(name, dict, config)\n--\n\nAn adapter of tensors and an adapter_config.json."},
    {"lora_apply", lora_apply, METH_VARARGS,
     "lora_apply(model, loras)\n--\n\nThe model with adapters applied, lazily."},
    {"lora_merge", lora_merge, METH_VARARGS,
     "lora_merge(method, loras, params, rank, energy, max_rank, exact, seed, strict, dtype)\n--\n\n"
     "The plan of one adapter of several."},
    {"lora_extract", lora_extract, METH_VARARGS,
     "lora_extract(model, base, save, exclude, embeddings, rank, energy, max_rank, exact, seed, "
     "strict, dtype)\n--\n\nThe plan of an adapter of a fine-tuned model."},
    {0}};

int core_add_lora(PyObject *module)
{
    lora_type = (PyTypeObject *)PyType_FromSpec(&lora_spec);
    lora_plan_type = lora_type ? (PyTypeObject *)PyType_FromSpec(&plan_spec) : NULL;
    return lora_plan_type && PyModule_AddType(module, lora_type) == 0 &&
                   PyModule_AddType(module, lora_plan_type) == 0
               ? PyModule_AddFunctions(module, functions)
               : -1;
}

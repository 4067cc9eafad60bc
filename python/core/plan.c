#include "core.h"

#include <mergecraft/decompress.h>
#include <mergecraft/transplant.h>

#include <stdbool.h>

typedef struct plan_object {
    PyObject ob_base;
    mc_plan *plan;
    PyObject *models, *base, *method, *sides; /* must live as long */
} plan_object;

static PyTypeObject *plan_type;

static const mc_plan *of(PyObject *object)
{
    return ((plan_object *)object)->plan;
}

/* An array of the models of a list; NULL with an exception. */
static const mc_model **models_of(PyObject *list, Py_ssize_t *count)
{
    *count = PyList_Size(list);
    /* At least one element, so that NULL always means that memory ran out. */
    const mc_model **const models = PyMem_Calloc((size_t)(*count > 0 ? *count : 1), sizeof *models);
    if (!models)
        return (const mc_model **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < *count; i++) {
        /* PyList_GetItem returns a borrowed reference. */
        models[i] = core_model_of(PyList_GetItem(list, i));
        if (!models[i]) {
            PyMem_Free((void *)(uintptr_t)models);
            return NULL;
        }
    }
    return models;
}

/* The arguments of new_plan. Objects and strings are borrowed from its caller. */
typedef struct plan_arguments {
    PyObject *method, *models, *base, *params, *passthrough, *exclude, *sides, *then, *matrices;
    PyObject *tokens;
    Py_ssize_t keep, pad_vocabulary;
    unsigned long long seed;
    int strict;
    const char *dtype, *origin, *text, *tokenizer, *chat_template;
} plan_arguments;

static mc_plan *make_plan(const plan_arguments *a, mc_plan_input *input)
{
    mc_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    input->method = core_method_of(a->method);
    input->base = a->base == Py_None ? NULL : core_model_of(a->base);
    input->seed = a->seed;
    input->strict = a->strict != 0;
    input->convert = a->dtype != NULL;
    input->method_origin = a->origin;
    input->method_text = a->text;
    input->tokenizer = a->tokenizer;
    input->chat_template = a->chat_template;
    input->pad_vocabulary = a->pad_vocabulary;
    /* An exception is set: an object of another type, or an unknown dtype. */
    if (!input->method || (a->base != Py_None && !input->base) ||
        (a->dtype && !core_dtype(a->dtype, &input->dtype)))
        return NULL;
    Py_BEGIN_ALLOW_THREADS status = mc_plan_new(input, &plan, &error);
    Py_END_ALLOW_THREADS if (status != MC_OK) core_raise_kept(&error);
    return plan;
}

/* The side inputs of a plan: a name and an array of models for each list. */
typedef struct side_lists {
    const char **names;
    const mc_model ***models;
    Py_ssize_t count;
} side_lists;

static void free_sides(side_lists *sides)
{
    for (Py_ssize_t i = 0; i < sides->count; i++)
        PyMem_Free((void *)(uintptr_t)sides->models[i]);
    PyMem_Free((void *)(uintptr_t)sides->names);
    PyMem_Free((void *)(uintptr_t)sides->models);
    *sides = (side_lists){0};
}

/*
 * Fills sides from a list of (name, list of `count` models), which owns the names; NULL is an empty
 * one. Returns false with an exception.
 */
static bool sides_of(PyObject *list, Py_ssize_t count, side_lists *sides)
{
    const Py_ssize_t lists = list ? PyList_Size(list) : 0;
    sides->names = PyMem_Calloc((size_t)lists + 1, sizeof *sides->names);
    sides->models = PyMem_Calloc((size_t)lists + 1, sizeof *sides->models);
    if (!sides->names || !sides->models)
        return PyErr_NoMemory() != NULL;
    for (; sides->count < lists; sides->count++) {
        Py_ssize_t found;
        PyObject *models;
        PyObject *const item = PyList_GetItem(list, sides->count);
        if (!PyArg_ParseTuple(item, "sO!", &sides->names[sides->count], &PyList_Type, &models))
            return false;
        sides->models[sides->count] = models_of(models, &found);
        if (!sides->models[sides->count])
            return false;
        if (found == count)
            continue;
        /* The count is raised first, so that free_sides also frees the list that does not fit. */
        PyErr_Format(PyExc_ValueError, "%s: expected one per model (%zd), found %zd",
                     sides->names[sides->count++], count, found);
        return false;
    }
    return true;
}

/*
 * Returns the add-ons of these names. An unknown name gives NULL, which mc_plan_new rejects.
 * Returns NULL with an exception.
 */
static const mc_method **add_ons_of(PyObject *list, Py_ssize_t *count)
{
    const char **const names = core_strings(list, count);
    const mc_method **const methods = names ? PyMem_Calloc((size_t)*count + 1, sizeof *methods)
                                            : NULL;
    mc_error error = MC_ERROR_NONE;
    if (names && !methods)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; methods && error.code == MC_OK && i < *count; i++) {
        methods[i] = mc_method_find(names[i]);
        if (!methods[i] || !methods[i]->add_on)
            mc_fail(&error, MC_USAGE, "then: expected lines, svc or boost, found '%s'", names[i]);
    }
    PyMem_Free((void *)(uintptr_t)names);
    if (error.code == MC_OK)
        return methods;
    PyMem_Free((void *)(uintptr_t)methods);
    core_raise(&error);
    return NULL;
}

/*
 * Each array is made only if all before it were, since an exception is set otherwise. All are freed
 * after mc_plan_new: a plan copies what it needs and refers only to models and methods.
 */
static mc_plan *plan_of_arguments(const plan_arguments *a)
{
    Py_ssize_t model_count, param_count = 0, passthrough_count = 0, exclude_count = 0;
    Py_ssize_t token_count = 0;
    const mc_model **const models = models_of(a->models, &model_count);
    const char **const params = models ? core_strings(a->params, &param_count) : NULL;
    const char **const passthrough = params ? core_strings(a->passthrough, &passthrough_count)
                                            : NULL;
    const char **const exclude = passthrough && a->exclude
                                     ? core_strings(a->exclude, &exclude_count)
                                     : NULL;
    Py_ssize_t then_count = 0, matrix_count = 0;
    const char **const matrices = a->matrices ? core_strings(a->matrices, &matrix_count) : NULL;
    const mc_method **const then = a->then ? add_ons_of(a->then, &then_count) : NULL;
    side_lists sides = {0};
    const bool ready = passthrough && (exclude || !a->exclude) && (matrices || !a->matrices) &&
                       (then || !a->then) && sides_of(a->sides, model_count, &sides);
    const char **const tokens = ready && a->tokens ? core_strings(a->tokens, &token_count) : NULL;
    mc_plan_input input = {.models = models,
                           .then = then,
                           .then_count = (size_t)then_count,
                           .matrices = matrices,
                           .matrix_count = (size_t)matrix_count,
                           .model_count = (size_t)model_count,
                           .params = params,
                           .param_count = (size_t)param_count,
                           .passthrough = passthrough,
                           .passthrough_count = (size_t)passthrough_count,
                           /* A warning: patterns may be meant for several models. */
                           .allow_unused = true,
                           .exclude = exclude,
                           .exclude_count = (size_t)exclude_count,
                           .side_names = sides.names,
                           .sides = (const mc_model *const *const *)sides.models,
                           .side_count = (size_t)sides.count,
                           .keep = (size_t)a->keep,
                           .tokens = tokens,
                           .token_count = (size_t)token_count};
    mc_plan *const plan = ready && (tokens || !a->tokens) ? make_plan(a, &input) : NULL;
    PyMem_Free((void *)(uintptr_t)models);
    PyMem_Free((void *)(uintptr_t)params);
    PyMem_Free((void *)(uintptr_t)passthrough);
    PyMem_Free((void *)(uintptr_t)exclude);
    PyMem_Free((void *)(uintptr_t)matrices);
    PyMem_Free((void *)(uintptr_t)then);
    free_sides(&sides);
    PyMem_Free((void *)(uintptr_t)tokens);
    return plan;
}

static PyObject *new_plan(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"method",    "models", "base",           "params",        "passthrough",
                            "seed",      "strict", "dtype",          "origin",        "text",
                            "exclude",   "keep",   "sides",          "then",          "matrices",
                            "tokenizer", "tokens", "pad_vocabulary", "chat_template", NULL};
    plan_arguments a = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOOOKpzzz|OnOOOzOnz", names, &a.method,
                                     &a.models, &a.base, &a.params, &a.passthrough, &a.seed,
                                     &a.strict, &a.dtype, &a.origin, &a.text, &a.exclude, &a.keep,
                                     &a.sides, &a.then, &a.matrices, &a.tokenizer, &a.tokens,
                                     &a.pad_vocabulary, &a.chat_template))
        return NULL;
    if (!PyList_Check(a.models) || !PyList_Check(a.params) || !PyList_Check(a.passthrough) ||
        (a.exclude && !PyList_Check(a.exclude)) || (a.sides && !PyList_Check(a.sides)) ||
        (a.then && !PyList_Check(a.then)) || (a.matrices && !PyList_Check(a.matrices)) ||
        (a.tokens && !PyList_Check(a.tokens)))
        return PyErr_Format(PyExc_TypeError, "expected lists of models, parameters and patterns");
    mc_plan *const plan = plan_of_arguments(&a);
    plan_object *const self = plan ? (plan_object *)PyType_GenericAlloc(type, 0) : NULL;
    if (!self) {
        mc_plan_free(plan);
        return NULL;
    }
    self->plan = plan;
    /* A plan reads its models until it goes. A tuple is a copy: the caller may change its list. */
    self->models = PySequence_Tuple(a.models);
    self->base = Py_NewRef(a.base);
    self->method = Py_NewRef(a.method);
    self->sides = Py_XNewRef(a.sides);
    if (self->models)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

PyObject *core_transplant(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *model, *donor;
    mc_transplant_input input = {0};
    long long neighbours;
    int strict;
    mc_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "OOsLip", &model, &donor, &input.method, &neighbours,
                          &input.threads, &strict))
        return NULL;
    input.model = core_model_of(model);
    input.donor = input.model ? core_model_of(donor) : NULL;
    if (!input.donor)
        return NULL;
    input.neighbours = neighbours;
    input.strict = strict != 0;
    Py_BEGIN_ALLOW_THREADS status = mc_transplant_plan(&input, &plan, &error);
    Py_END_ALLOW_THREADS if (status != MC_OK) return core_raise(&error);
    PyObject *const keep = PyTuple_Pack(2, model, donor);
    if (!keep) {
        mc_plan_free(plan);
        return NULL;
    }
    PyObject *const object = core_plan(plan, keep);
    Py_DECREF(keep);
    return object;
}

static const char masks_name[] = "mergecraft.task_masks";

static void close_masks(PyObject *capsule)
{
    mc_task_masks_close(PyCapsule_GetPointer(capsule, masks_name));
}

/* The masks of a merged model, in a capsule that closes them; *out is borrowed from it. */
static PyObject *open_masks(const mc_model *merged, mc_task_masks **out)
{
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    Py_BEGIN_ALLOW_THREADS status = mc_task_masks_open(merged, out, &error);
    Py_END_ALLOW_THREADS if (status != MC_OK) return core_raise(&error);
    PyObject *const capsule = PyCapsule_New(*out, masks_name, close_masks);
    if (!capsule)
        mc_task_masks_close(*out);
    return capsule;
}

PyObject *core_task_masks_base(PyObject *module, PyObject *merged)
{
    (void)module;
    mc_task_masks *masks = NULL;
    const mc_model *const model = core_model_of(merged);
    PyObject *const capsule = model ? open_masks(model, &masks) : NULL;
    PyObject *const name = capsule ? PyUnicode_FromString(mc_task_masks_base(masks)) : NULL;
    Py_XDECREF(capsule);
    return name;
}

PyObject *core_decompress(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *merged, *base;
    mc_decompress_input input = {0};
    mc_task_masks *masks = NULL;
    int strict;
    mc_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    if (!PyArg_ParseTuple(args, "OOsip", &merged, &base, &input.task, &input.threads, &strict))
        return NULL;
    input.merged = core_model_of(merged);
    input.base = input.merged ? core_model_of(base) : NULL;
    PyObject *const capsule = input.base ? open_masks(input.merged, &masks) : NULL;
    if (!capsule)
        return NULL;
    input.masks = masks;
    input.strict = strict != 0;
    Py_BEGIN_ALLOW_THREADS status = mc_decompress_plan(&input, &plan, &error);
    Py_END_ALLOW_THREADS PyObject *const keep = status == MC_OK
                                                    ? PyTuple_Pack(3, merged, base, capsule)
                                                    : NULL;
    PyObject *const object = keep              ? core_plan(plan, keep)
                             : status != MC_OK ? core_raise(&error)
                                               : NULL;
    if (!keep)
        mc_plan_free(plan);
    Py_XDECREF(keep);
    Py_DECREF(capsule);
    return object;
}

PyObject *core_plan(mc_plan *plan, PyObject *keep)
{
    plan_object *const self = (plan_object *)PyType_GenericAlloc(plan_type, 0);
    if (!self) {
        mc_plan_free(plan);
        return NULL;
    }
    self->plan = plan;
    self->method = Py_NewRef(keep);
    return (PyObject *)self;
}

static void plan_dealloc(PyObject *object)
{
    plan_object *const self = (plan_object *)object;
    PyTypeObject *const type = Py_TYPE(object);
    /* The plan reads models until it is freed, so their references go after it. */
    mc_plan_free(self->plan);
    Py_XDECREF(self->models);
    Py_XDECREF(self->base);
    Py_XDECREF(self->method);
    Py_XDECREF(self->sides);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *get_report(PyObject *self, void *closure)
{
    (void)closure;
    const mc_report *const report = mc_plan_report(of(self));
    PyObject *const lines = PyList_New((Py_ssize_t)mc_report_count(report));
    for (size_t i = 0; lines && i < mc_report_count(report); i++)
        PyList_SetItem(lines, (Py_ssize_t)i, PyUnicode_FromString(mc_report_line(report, i)));
    return lines;
}

static PyObject *get_parameters(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(mc_plan_parameters(of(self)));
}

static PyObject *get_lines(PyObject *self, void *closure)
{
    (void)closure;
    const size_t count = mc_plan_count(of(self));
    PyObject *const lines = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; lines && i < count; i++) {
        mc_plan_line line;
        char how[1024];
        mc_plan_line_at(of(self), i, &line);
        PyList_SetItem(lines, (Py_ssize_t)i,
                       Py_BuildValue("sss", line.name, mc_dtype_torch_name(line.dtype),
                                     mc_plan_line_text(&line, how, sizeof how)));
    }
    return lines;
}

static PyObject *get_dict(PyObject *self, void *closure)
{
    (void)closure;
    mc_state_dict *dict = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_plan_state_dict(of(self), &dict, &error) != MC_OK)
        return core_raise(&error);
    return core_dict(dict, self);
}

static PyGetSetDef plan_properties[] = {
    {"report", get_report, NULL, "warnings and notes, one per line", NULL},
    {"parameters", get_parameters, NULL, "parameters in force, as JSON", NULL},
    {"lines", get_lines, NULL, "(name, dtype, how) of each output tensor", NULL},
    {"dict", get_dict, NULL, "the lazy Dict that the plan makes", NULL},
    {0}};

static mc_status run_plan(void *plan, const char *folder, const mc_run_options *options,
                          mc_error *error)
{
    return mc_plan_run(plan, folder, options, NULL, error);
}

static PyObject *plan_run(PyObject *self, PyObject *args, PyObject *keywords)
{
    return core_run_plan((void *)(uintptr_t)of(self), run_plan, args, keywords);
}

static PyObject *plan_materialize(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"part", "threads", "memory", "progress", NULL};
    core_run_arguments a = {.sync = 1, .progress = Py_None};
    core_run run;
    PyObject *object = Py_None;
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *made = NULL;
    mc_status status;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|OiLO", names, &object, &a.threads, &a.memory,
                                     &a.progress))
        return NULL;
    const mc_state_dict *const part = object == Py_None ? NULL : core_dict_of(object);
    if (!part && object != Py_None)
        return NULL;
    const mc_run_options options = core_run_options(&a, &run);
    Py_BEGIN_ALLOW_THREADS status = mc_plan_materialize(of(self), part, &options, &made, NULL,
                                                        &error);
    Py_END_ALLOW_THREADS if (core_run_end(&run, status, &error) != 0)
    {
        /* The tensors may be complete if Ctrl-C came after the last one. */
        mc_state_dict_free(made);
        return NULL;
    }
    return core_dict(made, NULL);
}

static PyObject *plan_json(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"threads", "memory", NULL};
    core_run_arguments a = {.sync = 1, .progress = Py_None};
    core_run run;
    char *json = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|iL", names, &a.threads, &a.memory))
        return NULL;
    const mc_run_options options = core_run_options(&a, &run);
    if (mc_plan_json(of(self), &options, &json, &error) != MC_OK)
        return core_raise(&error);
    PyObject *const text = PyUnicode_FromString(json);
    mc_plan_json_free(json);
    return text;
}

static PyObject *plan_bind(PyObject *self, PyObject *list)
{
    Py_ssize_t count = 0;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    const char **const params = core_strings(list, &count);
    if (!params)
        return NULL;
    mc_plan *const plan = ((plan_object *)self)->plan;
    Py_BEGIN_ALLOW_THREADS status = mc_plan_bind(plan, params, (size_t)count, &error);
    Py_END_ALLOW_THREADS PyMem_Free((void *)(uintptr_t)params);
    if (status != MC_OK)
        return core_raise_kept(&error);
    Py_RETURN_NONE;
}

static PyMethodDef plan_methods[] = {
    {"bind", plan_bind, METH_O,
     "bind(params)\n--\n\nGives the plan other parameters: 'NAME=VALUE' each; others take "
     "their defaults."},
    {"json", (PyCFunction)(void (*)(void))plan_json, METH_VARARGS | METH_KEYWORDS,
     "json(threads=0, memory=0)\n--\n\n"
     "The plan as the text of one JSON object."},
    {"materialize", (PyCFunction)(void (*)(void))plan_materialize, METH_VARARGS | METH_KEYWORDS,
     "materialize(part=None, threads=0, memory=0, progress=None)\n--\n\n"
     "Computes every tensor of `dict`, or those in the Dict `part`, and adds to the report what "
     "only values show; a new Dict."},
    {"run", (PyCFunction)(void (*)(void))plan_run, METH_VARARGS | METH_KEYWORDS,
     "run(folder, threads=0, memory=0, shard_size=0, "
     "overwrite=False, sync=True, progress=None)\n--\n\n"
     "Writes the merged model to a new folder."},
    {0}};

static PyType_Slot plan_slots[] = {{Py_tp_doc,
                                    "Plan(method, models, base, params, passthrough, seed, strict, "
                                    "dtype, origin, text, exclude=[], "
                                    "keep=0, sides=[], then=[], matrices=[], tokenizer=None, "
                                    "tokens=[], pad_vocabulary=0, chat_template=None)\n--\n\n"
                                    "What will be made of models; params are 'NAME=VALUE', sides "
                                    "(name, models)."},
                                   {Py_tp_new, new_plan},
                                   {Py_tp_dealloc, plan_dealloc},
                                   {Py_tp_getset, plan_properties},
                                   {Py_tp_methods, plan_methods},
                                   {0}};

static PyType_Spec plan_spec = {"mergecraft._core.Plan", sizeof(plan_object), 0, Py_TPFLAGS_DEFAULT,
                                plan_slots};

int core_add_plan(PyObject *module)
{
    plan_type = (PyTypeObject *)PyType_FromSpec(&plan_spec);
    return plan_type ? PyModule_AddType(module, plan_type) : -1;
}

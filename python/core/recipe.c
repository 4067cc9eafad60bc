/* Recipes (recipe.h): merges that a text describes. */
#include "core.h"

#include <mergecraft/recipe.h>

/* A plan reads its recipe, which must not be planned again meanwhile: it is planned only once. */
typedef struct recipe_object {
    PyObject ob_base;
    mc_recipe *recipe;
    int planned;
} recipe_object;

static PyTypeObject *recipe_type;

static mc_recipe *of(PyObject *object)
{
    return ((recipe_object *)object)->recipe;
}

static PyObject *new_recipe(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"name", "text", NULL};
    const char *name, *text;
    Py_ssize_t size;
    mc_recipe *recipe = NULL;
    mc_error error = MC_ERROR_NONE;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "ss#", names, &name, &text, &size))
        return NULL;
    if (mc_recipe_parse(name, text, (size_t)size, &recipe, &error) != MC_OK)
        return core_raise(&error);
    recipe_object *const self = (recipe_object *)PyType_GenericAlloc(type, 0);
    if (!self) {
        mc_recipe_close(recipe);
        return NULL;
    }
    self->recipe = recipe;
    return (PyObject *)self;
}

static void recipe_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    mc_recipe_close(of(object));
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *texts(const mc_recipe *recipe, size_t count,
                       const char *(*at)(const mc_recipe *, size_t))
{
    PyObject *const list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++)
        PyList_SetItem(list, (Py_ssize_t)i, Py_BuildValue("z", at(recipe, i)));
    return list;
}

static PyObject *get_warnings(PyObject *self, void *closure)
{
    (void)closure;
    return texts(of(self), mc_recipe_warning_count(of(self)), mc_recipe_warning);
}

static PyObject *get_models(PyObject *self, void *closure)
{
    (void)closure;
    return texts(of(self), mc_recipe_model_count(of(self)), mc_recipe_model);
}

static PyObject *get_stages(PyObject *self, void *closure)
{
    (void)closure;
    return texts(of(self), mc_recipe_stage_count(of(self)), mc_recipe_stage_name);
}

static PyGetSetDef recipe_properties[] = {
    {"warnings", get_warnings, NULL, "warnings about the text, one per line", NULL},
    {"models", get_models, NULL, "the models it names, each once", NULL},
    {"stages", get_stages, NULL, "names of its documents, the last is the result", NULL},
    {0}};

static PyObject *recipe_plan(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"seed", "headers_only", "card", "tokenizer", "progress", NULL};
    unsigned long long seed;
    int headers_only, card, tokenizer;
    core_run run = {.progress = Py_None};
    mc_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status;
    recipe_object *const self = (recipe_object *)object;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Kppp|O", names, &seed, &headers_only, &card,
                                     &tokenizer, &run.progress))
        return NULL;
    if (self->planned)
        return PyErr_Format(PyExc_RuntimeError, "expected a recipe that has no plan yet");
    self->planned = 1;
    const mc_hub_options hub = core_hub_options(&run);
    const mc_recipe_options options = {.hub = &hub,
                                       .headers_only = headers_only != 0,
                                       .seed = seed,
                                       .no_card = !card,
                                       .no_tokenizer = !tokenizer};
    Py_BEGIN_ALLOW_THREADS status = mc_recipe_plan(self->recipe, &options, &plan, &error);
    Py_END_ALLOW_THREADS if (core_run_end(&run, status, &error) != 0)
    {
        mc_plan_free(plan);
        return NULL;
    }
    return core_plan(plan, object);
}

static PyObject *recipe_equals(PyObject *object, PyObject *other)
{
    if (!PyObject_TypeCheck(other, recipe_type))
        return PyErr_Format(PyExc_TypeError, "expected a Recipe");
    return PyBool_FromLong(mc_recipe_equal(of(object), of(other)));
}

static PyMethodDef recipe_methods[] = {
    {"equals", recipe_equals, METH_O,
     "equals(other)\n--\n\nReturns whether the other is equal, regardless of its layout."},
    {"plan", (PyCFunction)(void (*)(void))recipe_plan, METH_VARARGS | METH_KEYWORDS,
     "plan(seed, headers_only, card, tokenizer, progress=None)\n--\n\nOpens the models and returns "
     "the Plan; once per recipe."},
    {0}};

static PyType_Slot recipe_slots[] = {
    {Py_tp_doc, "Recipe(name, text)\n--\n\nA merge that a text in YAML describes."},
    {Py_tp_new, new_recipe},
    {Py_tp_dealloc, recipe_dealloc},
    {Py_tp_getset, recipe_properties},
    {Py_tp_methods, recipe_methods},
    {0}};

static PyType_Spec recipe_spec = {"mergecraft._core.Recipe", sizeof(recipe_object), 0,
                                  Py_TPFLAGS_DEFAULT, recipe_slots};

int core_add_recipe(PyObject *module)
{
    recipe_type = (PyTypeObject *)PyType_FromSpec(&recipe_spec);
    return recipe_type ? PyModule_AddType(module, recipe_type) : -1;
}

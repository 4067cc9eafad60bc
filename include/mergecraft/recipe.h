/*
 * Recipes: merges described in YAML, as mergekit reads them. A recipe names its models, method and
 * parameters; opened, it becomes a plan like any other (merge.h):
 *
 *     mc_recipe_open("recipe.yml", &recipe, &error);
 *     mc_recipe_plan(recipe, NULL, &plan, &error);
 *     mc_plan_run(plan, "merged", NULL, NULL, &error);
 *     mc_plan_free(plan);
 *     mc_recipe_close(recipe);
 *
 * A recipe belongs to one thread at a time. Errors about its text have the place in error->file:
 * "recipe.yml:3:5".
 */
#ifndef MERGECRAFT_RECIPE_H
#define MERGECRAFT_RECIPE_H

#include <mergecraft/merge.h>

MC_BEGIN_DECLS

typedef struct mc_recipe mc_recipe;

/*
 * Reads a recipe; no model is opened. The caller closes it with mc_recipe_close, which accepts
 * NULL.
 *
 * Errors: MC_FORMAT       not YAML, or not a recipe
 *         MC_UNSUPPORTED  a kind of recipe or a method that is not supported
 *         MC_NOT_FOUND, MC_IO
 */
MC_API mc_status mc_recipe_open(const char *path, mc_recipe **out, mc_error *error);
/* The same for a text of `size` bytes; `name` is its file in errors. */
MC_API mc_status mc_recipe_parse(const char *name, const char *text, size_t size, mc_recipe **out,
                                 mc_error *error);
MC_API void mc_recipe_close(mc_recipe *recipe);

/*
 * Returns whether two recipes are equal, regardless of layout, comments, anchors and the order of
 * keys. A key whose value is null counts as absent.
 */
MC_API bool mc_recipe_equal(const mc_recipe *a, const mc_recipe *b);

/*
 * Warnings about the text, "recipe.yml:3:5: …", index < count: keys that have no effect, and where
 * they belong. They are in the report of the plan too.
 */
MC_API size_t mc_recipe_warning_count(const mc_recipe *recipe);
MC_API const char *mc_recipe_warning(const mc_recipe *recipe, size_t index);

/* The models that the recipe names, each once, as it writes them; index < count. */
MC_API size_t mc_recipe_model_count(const mc_recipe *recipe);
MC_API const char *mc_recipe_model(const mc_recipe *recipe, size_t index);
/* The same, opened by mc_recipe_plan; NULL before. Borrowed. */
MC_API const mc_model *mc_recipe_opened(const mc_recipe *recipe, size_t index);

/*
 * The documents of the recipe, in an order in which each comes after those that it reads; the last
 * is the result. `name` is NULL for the document without one; index < count.
 */
MC_API size_t mc_recipe_stage_count(const mc_recipe *recipe);
MC_API const char *mc_recipe_stage_name(const mc_recipe *recipe, size_t index);

/* What becomes of a tensor that some of the models lack. */
typedef enum mc_recipe_missing {
    MC_MISSING_MERGE, /* it is merged of the others, or averaged over them; this is reported */
    MC_MISSING_FAIL,  /* an error */
    MC_MISSING_DROP   /* the result lacks it; this is reported */
} mc_recipe_missing;

/* Zero means the default everywhere. */
typedef struct mc_recipe_options {
    const mc_hub_options *hub; /* how models are downloaded; NULL: the default */
    bool headers_only;         /* see mc_models_open */
    uint64_t seed;             /* of methods that draw random numbers */
    bool strict;               /* treat warnings as errors */
    bool convert;              /* write floats as `dtype`, whatever the recipe says */
    mc_dtype dtype;
    /*
     * The models are files of weights rather than models: gradients have their first value for all
     * tensors, and the base only those of the models, as mergekit-pytorch has it.
     */
    bool raw;
    mc_recipe_missing missing;
    bool no_card;      /* write neither README.md nor mergekit_config.yml */
    bool no_tokenizer; /* do not copy tokenizer files, unless the recipe asks for a tokenizer */
    /* Plans the document of this index (as in mc_recipe_stage_name) plus 1; 0: the last. */
    size_t stage;
    /*
     * A folder with results of documents under their names: those that are in it are read instead
     * of computed. NULL: none.
     */
    const char *stages;
    void *reserved[4]; /* must be zero */
} mc_recipe_options;

/*
 * Opens the models and makes the plan; the last stage's, of a recipe of several documents, which
 * reads the others lazily. The caller frees it before the recipe is closed or planned again.
 * `options` may be NULL.
 *
 * Errors: MC_FORMAT       at a line: blocks that do not exist, a parameter that is missing
 *         MC_MISMATCH     shapes differ; vocabularies differ; a warning under strict
 *         and those of mc_models_open
 */
MC_API mc_status mc_recipe_plan(mc_recipe *recipe, const mc_recipe_options *options, mc_plan **out,
                                mc_error *error);

MC_END_DECLS

#endif

/*
 * A recipe as data: one stage per document. Models, slices and modules all become modules of slices
 * of sources. Types are checked here. A key that mergekit silently ignores becomes a warning with
 * the place where the key belongs. Checks that need the models are in rows.h.
 */
#ifndef MC_RECIPE_SCHEMA_H
#define MC_RECIPE_SCHEMA_H

#include "recipe/reference.h"
#include "recipe/yaml.h"

#include <mergecraft/dtype.h>
#include <mergecraft/method.h>

/* A model in a slice. */
typedef struct mc_recipe_source {
    mc_reference model;
    int64_t first, end;        /* blocks first … end − 1; first < 0: all of them */
    const mc_yaml *parameters; /* NULL if none */
    const mc_yaml *at;
} mc_recipe_source;

/* Consecutive blocks of the result. */
typedef struct mc_recipe_slice {
    mc_recipe_source *sources;
    size_t count, capacity;
    mc_reference base; /* base.text is NULL if the slice has none of its own */
    const mc_yaml *parameters;
    const mc_yaml *at;
    bool whole; /* from `models`: every block of the models, and the base is added by itself */
} mc_recipe_slice;

/* A part of the model with blocks of its own; "default" where there is but one. */
typedef struct mc_recipe_module {
    char *name;
    mc_recipe_slice *slices;
    size_t count, capacity;
    const mc_yaml *parameters;
    const mc_yaml *at;
} mc_recipe_module;

/* The vocabulary that the result has; see recipe/tokenizer.h. */
typedef struct mc_recipe_tokenizer {
    const mc_yaml *at;     /* the option; NULL: vocabularies are left alone */
    bool unite;            /* with the tokens of the other models: "union", also without a source */
    mc_reference model;    /* whose tokenizer it is; model.text is NULL: the donor's */
    const mc_yaml *tokens; /* NULL if none */
    int64_t pad_to_multiple_of; /* 0: no padding */
} mc_recipe_tokenizer;

typedef struct mc_recipe_stage {
    char *name;              /* NULL: the last, unnamed one */
    const mc_method *method; /* of the family mergekit */
    mc_recipe_module *modules;
    size_t count, capacity;
    mc_reference base; /* base.text is NULL if there is none */
    const mc_yaml *parameters;
    bool has_dtype, has_out_dtype;
    mc_dtype dtype,
        out_dtype; /* `dtype` names a precision for arithmetic; it is also the result's */
    mc_recipe_tokenizer tokenizer;
    const mc_yaml *chat_template; /* NULL if there is none */
    const mc_yaml *at;
} mc_recipe_stage;

typedef struct mc_recipe_schema {
    char *file; /* the name in errors */
    char *text; /* verbatim */
    mc_yaml_file *yaml;
    bool *fitted; /* [yaml->node_count]: conditions that match some tensor; see filters.h */
    mc_recipe_stage *stages;
    size_t count, capacity;
} mc_recipe_schema;

/*
 * Reads a text of `size` bytes. Warnings are in (*out)->yaml. mc_recipe_schema_free the result.
 * Errors: MC_FORMAT       not a recipe: "FILE:LINE:COLUMN: …"
 *         MC_UNSUPPORTED  a mixture of experts, or a method of a fork of mergekit
 */
mc_status mc_recipe_schema_read(const char *file, const char *text, size_t size,
                                mc_recipe_schema **out, mc_error *error);
void mc_recipe_schema_free(mc_recipe_schema *schema); /* accepts NULL */

#endif

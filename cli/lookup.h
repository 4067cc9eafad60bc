/* Finds methods, models and tasks by what the user typed, and suggests a name if there is none. */
#ifndef CLI_LOOKUP_H
#define CLI_LOOKUP_H

#include "options.h"

#include <mergecraft/glue.h>
#include <mergecraft/method.h>
#include <mergecraft/model.h>
#include <mergecraft/pipeline.h>
#include <mergecraft/plugin.h>

/* A method, or all the methods of a file. Zero-initialise. */
typedef struct method_choice {
    mc_plugin *plugin;       /* NULL for a built-in method */
    const mc_method *method; /* NULL when a file has several and none is named */
} method_choice;

/* `text`: "median", "family:median", "./median.c", "./methods.so", "./methods.so:median". */
mc_status find_method(const char *text, method_choice *choice, mc_error *error);
void close_method(method_choice *choice);

/*
 * Returns the name that find_method takes, with the family where it is needed. The caller frees it.
 */
char *method_name(const mc_method *method);

/*
 * As mc_models_open, with a progress display of downloads. If a path does not exist, the error
 * suggests the nearest one that does.
 */
mc_status open_models(const char *const *names, size_t count, const common_options *common,
                      bool headers_only, mc_model **out, mc_error *error);
mc_status open_model(const char *name, const common_options *common, mc_model **out,
                     mc_error *error);

/*
 * A GLUE task by its name, and one of its splits (`name`: NULL for the one that is scored), which
 * --split names.
 */
mc_status find_task(const char *name, const mc_glue_task **task, mc_error *error);
mc_status find_split(const mc_glue_task *task, const char *name, const char **split,
                     mc_error *error);

/* Parses the value of the option `name`: "f32", "bf16" or "int8"; NULL is f32. */
mc_status parse_precision(const char *name, const char *text, mc_precision *precision,
                          mc_error *error);

#endif

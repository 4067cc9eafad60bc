/* From what people write to methods and models, with a suggestion when there is none. */
#ifndef CLI_LOOKUP_H
#define CLI_LOOKUP_H

#include <mergecraft/method.h>
#include <mergecraft/model.h>
#include <mergecraft/plugin.h>

/* A method, or all the methods of a file. Zero-initialise. */
typedef struct method_choice {
    mc_plugin *plugin;       /* NULL for a built-in method */
    const mc_method *method; /* NULL when a file has several and none is named */
} method_choice;

/* `text`: "median", "family:median", "./median.c", "./methods.so", "./methods.so:median". */
mc_status find_method(const char *text, method_choice *choice, mc_error *error);
void close_method(method_choice *choice);

/* The name that find_method takes: with its family where it is needed. The caller frees it. */
char *method_name(const mc_method *method);

/* As mc_model_open; a path that does not exist comes back with the nearest one that does. */
mc_status open_model(const char *path, mc_model **out, mc_error *error);

#endif

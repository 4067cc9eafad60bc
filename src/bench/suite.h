/* A suite file as data. */
#ifndef MC_BENCH_SUITE_H
#define MC_BENCH_SUITE_H

#include <mergecraft/bench.h>

#include "base/error.h"

/* A task and the model that was tuned on it. */
typedef struct mc_suite_task {
    const char *name;
    const mc_glue_task *task;
    const char *model;  /* with "{seed}" in it if there are several seeds */
    char *data;         /* NULL: the default place of the task's data */
    const char *metric; /* NULL: the first of the task's */
} mc_suite_task;

/* One parameter of a method and the values that are tried, as settings: "NAME=VALUE". */
typedef struct mc_suite_axis {
    char **settings;
    size_t count;
} mc_suite_axis;

/* Models beside those that are merged, one per task: what `list` names in the method. */
typedef struct mc_suite_side {
    const char *name;
    const char **models; /* [tasks] */
} mc_suite_side;

typedef struct mc_suite_method {
    const char *name;
    const mc_method *method;
    const mc_method **then;
    size_t then_count;
    const char *per_task; /* the parameter that gets the number of the task; NULL: none */
    mc_suite_axis *axes;
    size_t axis_count;
    mc_suite_side *sides;
    size_t side_count;
} mc_suite_method;

struct mc_suite {
    char *path, *folder; /* of the file, and where it lies */
    char *text;          /* verbatim */
    struct mc_yaml_file *yaml;
    const char *base;
    double validation; /* share of the examples that parameters are chosen on */
    const char **seeds;
    const char **heads; /* patterns of tensors that every task keeps its own of; none: by role */
    size_t seed_count, head_count;
    mc_suite_task *tasks;
    size_t task_count;
    mc_suite_method *methods;
    size_t method_count;
};

/* Points of a method's grid; settings of point `index`, axis_count texts, into `out`. */
size_t mc_suite_points(const mc_suite_method *method);
void mc_suite_point(const mc_suite_method *method, size_t index, const char **out);

/* A model of a seed: "{seed}" replaced, and relative to the suite if that exists. New memory. */
char *mc_suite_model(const mc_suite *suite, const char *text, const char *seed);

#endif

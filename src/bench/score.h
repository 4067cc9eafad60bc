/* Scoring one encoder on all tasks of a suite, each with its own head. */
#ifndef MC_BENCH_SCORE_H
#define MC_BENCH_SCORE_H

#include "bench/suite.h"

/* A task's score on both parts of its data. */
typedef struct mc_part_score {
    double validation, rest;
    double error; /* standard error of `rest` */
} mc_part_score;

/* The data of all tasks; loaded once for all seeds. */
typedef struct mc_bench_data {
    mc_glue_data **of;         /* [tasks] */
    mc_glue_data **validation; /* [tasks] the examples that parameters are chosen on */
    size_t count;
    uint64_t fingerprint; /* of the labels; the models have that of the tokens */
} mc_bench_data;

mc_status mc_bench_load(const mc_suite *suite, const mc_hub_options *hub, mc_bench_data *out,
                        mc_error *error);
void mc_bench_data_free(mc_bench_data *data);

/* The models of one seed, opened. */
typedef struct mc_bench_models {
    const mc_suite *suite;
    mc_model *base;
    mc_model **models;       /* [tasks] */
    mc_pipeline **pipelines; /* [tasks] */
    size_t task_count;
    char **heads; /* names or patterns of tensors that each task keeps its own of */
    size_t head_count;
    uint64_t fingerprint; /* of the weight files, configurations, and tokens of all tasks */
} mc_bench_models;

/* Passes on what concerns a task under one seed rather than a merge; MC_MISMATCH under strict. */
mc_status mc_bench_warn(const mc_suite *suite, const char *seed, size_t task,
                        const mc_bench_options *options, mc_error *error, const char *format, ...)
    MC_PRINTF(6, 7);

mc_status mc_bench_open(const mc_suite *suite, const char *seed, const mc_bench_data *data,
                        const mc_bench_options *options, mc_bench_models *out, mc_error *error);
void mc_bench_close(mc_bench_models *models);

/* Scores task `task` of an encoder with the task's own head. */
mc_status mc_bench_score_task(const mc_bench_models *models, const mc_bench_data *data, size_t task,
                              const mc_state_dict *encoder, mc_part_score *out, mc_error *error);

#endif

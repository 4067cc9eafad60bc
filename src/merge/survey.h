/*
 * The statistics of a whole model, for methods that declare model_statistics: what must be known of
 * all layers before the first is merged, such as the norms of whole task vectors. The layers that
 * one method makes in a table of outputs share a survey.
 *
 *     new ─▶ begin ─▶ round: every run of every layer, on all threads ─▶ end of round ─▶ found
 *                       ▲                                                     │
 *                       └──────────────────── *more ──────────────────────────┘
 *
 * Runs are cut in one way (64 leaves, or whole tensors), and partial results are combined in the
 * order of the layers: the result is the same for any number of threads.
 *
 * Thread-safety: any number of threads may call mc_survey_run; the first computes, others wait.
 */
#ifndef MC_MERGE_SURVEY_H
#define MC_MERGE_SURVEY_H

#include "merge/job.h"

/*
 * Creates the survey of `count` layers, which have one method and the same parameter values. The
 * caller owns a reference; accepts NULL in unref.
 */
mc_status mc_survey_new(const mc_merged_parts *layers, size_t count, mc_survey **out,
                        mc_error *error);
mc_survey *mc_survey_ref(mc_survey *survey);
void mc_survey_unref(mc_survey *survey);

/*
 * Computes the state unless that is done. After a failure it may be tried again. Progress counts
 * the bytes of the rounds that have begun, as how many there will be is not known.
 */
mc_status mc_survey_run(mc_survey *survey, const mc_run_options *options, mc_error *error);

/* What is known so far; NULL before the survey has begun. */
const void *mc_survey_state(const mc_survey *survey);

/* One more than the highest block number among the layers. */
int mc_survey_blocks(const mc_survey *survey);

/* Whether all layers are computed in double, because one of them is float64. */
bool mc_survey_wide(const mc_survey *survey);

#endif

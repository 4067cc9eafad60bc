/*
 * A layer that a method makes, as a tensor source: nothing is computed until it is read. The
 * executor looks inside (mc_merged_job), to compute tiles and statistics on all threads. A read as
 * of any other source gives the same bits; it computes the statistics first.
 */
#ifndef MC_MERGE_MERGED_H
#define MC_MERGE_MERGED_H

#include "merge/job.h"

/*
 * Creates the source; its dtype is the widest of the models'. Models and base have one shape and
 * are floats. The caller owns *out.
 *
 * Errors: MC_UNSUPPORTED  too many computed sources on top of each other
 *         MC_MISMATCH     side inputs: see mc_job_init
 */
mc_status mc_merged_new(const mc_merged_parts *parts, mc_source **out, mc_error *error);

/*
 * Computes what a source needs to know of the whole model (survey.h), its own and that of the
 * sources that it is made of. The executor calls it on all threads; a read does so on one.
 */
mc_status mc_merged_survey(const mc_source *source, const mc_run_options *options, mc_error *error);

/*
 * The reason why a method only averaged some tile of this source, or of a source that it is made
 * from, among those computed so far; NULL: there is none.
 */
const char *mc_merged_averaged(const mc_source *source);

/* The job behind a merged layer, or behind a cast of one; NULL if the source is something else. */
const mc_job *mc_merged_job(const mc_source *source);

#endif

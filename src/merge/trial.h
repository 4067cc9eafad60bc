/*
 * A small trial of a method from outside the library, before it is trusted with a merge: it must
 * write all of layer->out, and must not read what it has not declared or written.
 */
#ifndef MC_MERGE_TRIAL_H
#define MC_MERGE_TRIAL_H

#include "merge/job.h"

/*
 * Runs the job's method on one small tile, with several fillings of buffers that it must not depend
 * on: the output, the scratch memory, and a base that it did not declare. Built-in methods, empty
 * layers and large layers of scope MC_TENSOR are not tried. A method that fails in the trial is
 * accepted: the merge itself reports its error.
 *
 * Errors: MC_USAGE  the results differ; the text describes what the method did
 */
mc_status mc_trial(const mc_job *job, mc_error *error);

#endif

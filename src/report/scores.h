/* Scores of models in a report: parents, the merge, the best trial of a search. */
#ifndef MC_REPORT_SCORES_H
#define MC_REPORT_SCORES_H

#include "base/error.h"
#include "base/text.h"
#include "report/trials.h"

/*
 * Adds the section "Scores" with those in `record` (mergecraft.json) and those of a search, if
 * there are any; both may be NULL.
 */
mc_status mc_scores_section(mc_text *page, const json_t *record, const mc_trials *trials,
                            mc_error *error);

#endif

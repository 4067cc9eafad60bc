/* The part of a report on a search: curve, parameters, table of trials. */
#ifndef MC_REPORT_SEARCH_PART_H
#define MC_REPORT_SEARCH_PART_H

#include "base/error.h"
#include "base/text.h"
#include "report/trials.h"

/* Adds the section "Search". */
mc_status mc_search_section(mc_text *page, const mc_trials *trials, mc_error *error);

#endif

/* Heat maps of a comparison: blocks by roles, with numbers in the cells. */
#ifndef MC_REPORT_HEAT_H
#define MC_REPORT_HEAT_H

#include "base/error.h"
#include "base/text.h"

#include <mergecraft/compare.h>

/* Adds the section "Blocks and roles" of a comparison. */
mc_status mc_heat_section(mc_text *page, const mc_comparison *comparison, mc_error *error);

#endif

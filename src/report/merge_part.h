/* The parts of a report on a merge: how it was made, what was not merged, its files. */
#ifndef MC_REPORT_MERGE_PART_H
#define MC_REPORT_MERGE_PART_H

#include "base/text.h"

#include <jansson.h>

/* Each adds a section from a mergecraft.json; members that are missing are left out. */
void mc_recipe_section(mc_text *page, const json_t *record);
void mc_remarks_section(mc_text *page, const json_t *record);
void mc_files_section(mc_text *page, const json_t *record);

/* The recipe of a search, from the first line of its journal. */
void mc_search_recipe_section(mc_text *page, const json_t *header);

#endif

/* From the cells of a label column to labels of a task. */
#ifndef MC_GLUE_LABELS_H
#define MC_GLUE_LABELS_H

#include "glue/table.h"

/* Returns whether the cell holds a label, or no label at all, which sets *label to NaN. */
bool mc_glue_label_from_cell(const mc_glue_task *task, const mc_cell *cell, double *label);

/* "'entailment', 'not_entailment' or 0 to 1": what mc_glue_label_from_cell accepts. */
void mc_glue_describe_labels(const mc_glue_task *task, char *text, size_t size);

/* Text as a number; NaN if it is not one. */
double mc_glue_number_in(const char *bytes, size_t size);

#endif

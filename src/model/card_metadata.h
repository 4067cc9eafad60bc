/*
 * Reads licence, language, task, ancestors, data sets and tags from the front matter of a model
 * card (README.md). Only these keys, in the forms that cards use, and no other YAML: scalars,
 * "[a, b]", and lists of "- item" lines.
 */
#ifndef MC_MODEL_CARD_METADATA_H
#define MC_MODEL_CARD_METADATA_H

#include "base/error.h"

/* Values of one key. */
typedef struct mc_card_values {
    char **items;
    size_t count, capacity;
} mc_card_values;

/* Zero-initialise. */
typedef struct mc_card_metadata {
    mc_card_values license, license_name, language, pipeline_tag, base_model, datasets, tags;
} mc_card_metadata;

/* Reads a text; without front matter, or with values that are none of the above, adds nothing. */
mc_status mc_card_metadata_parse(const char *text, size_t size, mc_card_metadata *out,
                                 mc_error *error);

/* Reads FOLDER/README.md; nothing if it does not exist, is not a file, or is very large. */
mc_status mc_card_metadata_read(const char *folder, mc_card_metadata *out, mc_error *error);

void mc_card_metadata_free(mc_card_metadata *metadata);

/* Adds a value unless it is listed already. */
mc_status mc_card_values_add(mc_card_values *values, const char *text, size_t size,
                             mc_error *error);
void mc_card_values_free(mc_card_values *values);

#endif

/*
 * The space of a search: its dimensions, and the values in each. A strategy sees a unit cube; this
 * maps a coordinate from 0 to 1 to a value of the dimension.
 *
 *     k=.05:.5, rate=1e-4:1e-1:log, rounds=1:8:int, sign=sum|count, weights[*]=0:1, models=subset
 *     k@0-5=.05:.5, scale@mlp=.3:2, k@*=.05:.5
 */
#ifndef MC_SEARCH_SPACE_H
#define MC_SEARCH_SPACE_H

#include "base/error.h"

#include <jansson.h>

typedef enum mc_dimension_kind {
    MC_DIMENSION_REAL,
    MC_DIMENSION_INTEGER,
    MC_DIMENSION_CHOICE
} mc_dimension_kind;

typedef struct mc_dimension {
    char *name; /* of the parameter: "k", "weights[2]", "k@0-5", "models[1]" */
    mc_dimension_kind kind;
    double low, high; /* both included; of a choice 0 and count − 1 */
    bool log;
    size_t levels; /* on a grid */
    char **choices;
    size_t choice_count, choice_capacity;
    size_t switches; /* "models[i]": whether model i, from 1, takes part; 0: a parameter */
} mc_dimension;

typedef struct mc_space {
    mc_dimension *dimensions;
    size_t count, capacity;
} mc_space;

/* What a space is of. */
typedef struct mc_space_counts {
    size_t models, blocks;
} mc_space_counts;

/*
 * Adds the dimensions of a text to *space, zero-initialised; free it also after a failure. "[*]" of
 * a name stands for one dimension per model, "@*" at its end for one per block.
 *
 * Errors: MC_USAGE  malformed, an empty range, a name that is used twice, no blocks
 */
mc_status mc_space_add(mc_space *space, const char *text, mc_space_counts counts, mc_error *error);
void mc_space_free(mc_space *space);

/* The space as the journal has it; NULL: no memory. */
json_t *mc_space_json(const mc_space *space);

/* The value at a coordinate, which is clamped to 0 … 1; of a choice, its index. */
double mc_dimension_value(const mc_dimension *dimension, double unit);

/* A coordinate of level `level` of a grid; level < levels. */
double mc_dimension_level(const mc_dimension *dimension, size_t level);

/* The value as JSON, and as text in new memory (mc_free); NULL: no memory. */
json_t *mc_dimension_json(const mc_dimension *dimension, double value);
char *mc_dimension_text(const mc_dimension *dimension, double value);

#endif

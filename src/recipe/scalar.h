/* What a plain scalar means in YAML 1.1, by PyYAML's rules. */
#ifndef MC_RECIPE_SCALAR_H
#define MC_RECIPE_SCALAR_H

#include "recipe/yaml.h"

/* What a text without quotes is; the two last are only known to PyYAML's composer. */
typedef enum mc_scalar_kind {
    MC_SCALAR_NULL,
    MC_SCALAR_BOOL,
    MC_SCALAR_INTEGER,
    MC_SCALAR_NUMBER,
    MC_SCALAR_STRING,
    MC_SCALAR_DATE,
    MC_SCALAR_MERGE, /* << */
    MC_SCALAR_VALUE  /* = */
} mc_scalar_kind;

/* The kind that a plain scalar has. */
mc_scalar_kind mc_scalar_kind_of(const char *text);

/*
 * The value of a text of that kind, also of one that a tag such as !!float gives it. False if the
 * text is no such value. Only for MC_SCALAR_BOOL (0 or 1), _INTEGER and _NUMBER.
 */
bool mc_scalar_value(mc_scalar_kind kind, const char *text, double *out);

#endif

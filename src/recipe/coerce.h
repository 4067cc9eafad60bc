/*
 * Scalars of YAML as the type that a field wants, by the rules of pydantic's lax mode, which
 * recipes rely on: "1e-5" is a string to YAML 1.1 and a number to a field that takes one.
 */
#ifndef MC_RECIPE_COERCE_H
#define MC_RECIPE_COERCE_H

#include "recipe/yaml.h"

#include <mergecraft/method.h>

/* Integers, bools and numeric texts are numbers too; infinities and NaN are. */
bool mc_coerce_number(const mc_yaml *node, double *out);

/* A whole number, also written 5.0 or "5"; at most 2^53 in magnitude. */
bool mc_coerce_integer(const mc_yaml *node, double *out);

/* true, false, 0, 1, and the texts yes, no, on, off, y, n, t, f, true, false, 0, 1 in any case. */
bool mc_coerce_flag(const mc_yaml *node, double *out);

/* What a parameter of this type takes. */
bool mc_coerce(mc_param_type type, const mc_yaml *node, double *out);

/* "a number", "a whole number", "true or false": what was expected. Static storage. */
const char *mc_coerce_text(mc_param_type type);

#endif

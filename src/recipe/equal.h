/* Compares recipes, regardless of their layout. */
#ifndef MC_RECIPE_EQUAL_H
#define MC_RECIPE_EQUAL_H

#include "recipe/yaml.h"

/*
 * Returns whether two nodes are equal. Scalars are compared as fields convert them (coerce.h): 0.5,
 * ".50" and 5.0e-1 are the same number. Maps may have their keys in any order; a key whose value is
 * null counts as absent.
 */
bool mc_yaml_equal(const mc_yaml *a, const mc_yaml *b);

#endif

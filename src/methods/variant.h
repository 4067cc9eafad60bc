/* The compiled forms of a built-in method. */
#ifndef MC_METHODS_VARIANT_H
#define MC_METHODS_VARIANT_H

#include <mergecraft/method.h>

/*
 * The form of a built-in method for this CPU (mc_cpu) whose mc_real is double or float; the method
 * itself if it is not a built-in one. `method` is what mc_method_find gave. Cannot fail; static
 * storage.
 */
const mc_method *mc_method_variant(const mc_method *method, bool real_is_double);

/* Whether it is a form of a built-in method. */
bool mc_method_is_builtin(const mc_method *method);

/* The plain mean, which is not in the list of methods: see merge/mean.h. */
const mc_method *mc_method_mean(void);

/* The statistics of a comparison (methods/compare.h), which merge nothing: see merge/compare.c. */
const mc_method *mc_method_compare(void);

#endif

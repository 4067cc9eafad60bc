/*
 * Sobol's sequence with a random digital shift: points that fill a unit cube evenly, whatever their
 * number. Direction numbers of S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better
 * two-dimensional projections", SIAM J. Sci. Comput. 30, 2008. Beyond MC_SOBOL_DIMENSIONS, where
 * such sequences have long lost their advantage, coordinates are random.
 */
#ifndef MC_SEARCH_SOBOL_H
#define MC_SEARCH_SOBOL_H

#include <stddef.h>
#include <stdint.h>

enum { MC_SOBOL_DIMENSIONS = 21 };

/*
 * Fills out[count] with the point of number `index`, from 0, of the sequence of a seed. With
 * MC_SOBOL_PLAIN as seed, the sequence is not shifted.
 */
#define MC_SOBOL_PLAIN UINT64_MAX
void mc_sobol_point(uint64_t seed, uint32_t index, double *out, size_t count);

#endif

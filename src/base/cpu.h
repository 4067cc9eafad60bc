/* The instruction sets that kernels use, and the number of processors. */
#ifndef MC_BASE_CPU_H
#define MC_BASE_CPU_H

#include <stdbool.h>

/* Whether kernels above the scalar level exist; 0 if CMake's option MC_SIMD is off. */
#if !defined(MC_SIMD) && defined(__x86_64__)
#define MC_SIMD 1
#elif !defined(MC_SIMD)
#define MC_SIMD 0
#endif

typedef enum mc_cpu_level { MC_CPU_SCALAR, MC_CPU_AVX2, MC_CPU_AVX512, MC_CPU_LEVELS } mc_cpu_level;

/*
 * The best level of this machine, or the lower one that MERGECRAFT_CPU=scalar|avx2|avx512 asks for;
 * found once. Results never depend on it.
 */
mc_cpu_level mc_cpu(void);
const char *mc_cpu_name(mc_cpu_level level);
/*
 * For tests: uses `level` from now on; returns false if the machine lacks it. Not while other
 * threads compute.
 */
bool mc_cpu_force(mc_cpu_level level);

/* Returns the number of processors that this process may use. */
int mc_cpu_count(void);

#endif

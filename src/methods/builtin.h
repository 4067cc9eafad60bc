/*
 * Included before every file of src/methods that CMake compiles: it is compiled once for each CPU
 * level and type of mc_real, and MC_METHOD_VARIANT (_f32_avx2, …) tells the descriptors apart.
 */
#ifndef MC_METHODS_BUILTIN_H
#define MC_METHODS_BUILTIN_H

#define MC_BUILTIN_JOIN_(name_, variant_) mc_method_##name_##variant_
#define MC_BUILTIN_JOIN(name_, variant_) MC_BUILTIN_JOIN_(name_, variant_)

#define MC_METHOD_SYMBOL(name_) MC_BUILTIN_JOIN(name_, MC_METHOD_VARIANT)
#define MC_METHOD_STORAGE

#endif

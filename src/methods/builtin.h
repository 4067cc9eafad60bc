/*
 * Included before every method that CMake compiles. Each is compiled once per CPU level and type of
 * mc_real; MC_METHOD_VARIANT (_f32_avx2, …) and MC_METHOD_FAMILY tell the descriptors apart.
 */
#ifndef MC_METHODS_BUILTIN_H
#define MC_METHODS_BUILTIN_H

#define MC_BUILTIN_JOIN_(family_, name_, variant_) mc_method_##family_##_##name_##variant_
#define MC_BUILTIN_JOIN(family_, name_, variant_) MC_BUILTIN_JOIN_(family_, name_, variant_)
#define MC_BUILTIN_TEXT_(text_) #text_
#define MC_BUILTIN_TEXT(text_) MC_BUILTIN_TEXT_(text_)

#define MC_METHOD_SYMBOL(name_) MC_BUILTIN_JOIN(MC_METHOD_FAMILY, name_, MC_METHOD_VARIANT)
#define MC_METHOD_STORAGE
#define MC_METHOD_FAMILY_NAME MC_BUILTIN_TEXT(MC_METHOD_FAMILY)

#endif

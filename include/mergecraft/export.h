/*
 * Macros that every public header uses: MC_API marks what the shared library exports, MC_PRINTF a
 * printf-style function, MC_UNUSED what a caller need not use. MC_BEGIN_DECLS and MC_END_DECLS
 * enclose declarations, so that C++ sees them with C linkage.
 */
#ifndef MERGECRAFT_EXPORT_H
#define MERGECRAFT_EXPORT_H

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "mergecraft needs a little-endian machine: tensors are read and written without conversion"
#endif

#if defined(__GNUC__)
#define MC_API __attribute__((visibility("default")))
#define MC_PRINTF(format_, first_) __attribute__((format(printf, format_, first_)))
#define MC_UNUSED __attribute__((unused))
#else
#define MC_API
#define MC_PRINTF(format_, first_)
#define MC_UNUSED
#endif

#if defined(__cplusplus)
#define MC_BEGIN_DECLS extern "C" {
#define MC_END_DECLS }
#else
#define MC_BEGIN_DECLS
#define MC_END_DECLS
#endif

#endif

/* Marks what the shared library exports; included by all that have something to export. */
#ifndef MERGECRAFT_EXPORT_H
#define MERGECRAFT_EXPORT_H

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "mergecraft needs a little-endian machine: tensors are read and written as they lie in files"
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

#endif

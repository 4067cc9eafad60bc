/*
 * Reads Thrift's compact protocol, which Parquet's metadata are in: structs of numbered, typed
 * fields; integers with 7 bits per byte. Nothing is copied. After a problem everything reads as
 * zero or empty, so that one check of `problem` at the end is enough.
 */
#ifndef MC_GLUE_THRIFT_H
#define MC_GLUE_THRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mc_thrift_type {
    MC_THRIFT_TRUE = 1,
    MC_THRIFT_FALSE = 2,
    MC_THRIFT_I8 = 3,
    MC_THRIFT_I16 = 4,
    MC_THRIFT_I32 = 5,
    MC_THRIFT_I64 = 6,
    MC_THRIFT_DOUBLE = 7,
    MC_THRIFT_BINARY = 8,
    MC_THRIFT_LIST = 9,
    MC_THRIFT_SET = 10,
    MC_THRIFT_MAP = 11,
    MC_THRIFT_STRUCT = 12
} mc_thrift_type;

typedef struct mc_thrift {
    const unsigned char *at, *end;
    const char *problem; /* static text; NULL: none so far */
} mc_thrift;

/* The current field of a struct; zero before the first. */
typedef struct mc_thrift_field {
    int64_t id;
    unsigned type;
} mc_thrift_field;

/*
 * Advances to the next field, whose value must be read or skipped then; false after the last field
 * or a problem.
 */
bool mc_thrift_next(mc_thrift *t, mc_thrift_field *field);

/* Read the value of the field; another type is a problem. Integers may have 8 to 64 bits. */
int64_t mc_thrift_integer(mc_thrift *t, const mc_thrift_field *field);
bool mc_thrift_bool(mc_thrift *t, const mc_thrift_field *field);
const char *mc_thrift_text(mc_thrift *t, const mc_thrift_field *field, size_t *size);
/* Checks that the field is a struct, whose fields follow. */
void mc_thrift_struct(mc_thrift *t, const mc_thrift_field *field);
/* Returns the length of a list of structs, which follow; each needs a zeroed mc_thrift_field. */
size_t mc_thrift_structs(mc_thrift *t, const mc_thrift_field *field);

/* Skips a value of this type. */
void mc_thrift_skip(mc_thrift *t, unsigned type);

#endif

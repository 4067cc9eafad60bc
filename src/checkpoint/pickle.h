/*
 * Python pickles, read and never executed: a pickle is a program for a stack machine that builds values, and here
 * it builds nothing but the inert values below. What it would import must be on the caller's list, by name; a call of
 * one of these is kept as what it is, a name with arguments.
 *
 * Memory is proportional to the pickle: at most MC_PICKLE_FACTOR bytes for each of its bytes. Values may contain themselves; whoever
 * walks them must be ready for it.
 */
#ifndef MC_CHECKPOINT_PICKLE_H
#define MC_CHECKPOINT_PICKLE_H

#include "base/error.h"

#define MC_PICKLE_LIMIT (64 * 1024 * 1024)
#define MC_PICKLE_FACTOR 160

typedef enum mc_value_kind {
    MC_VALUE_NONE, /* also a float: nothing here needs its value */
    MC_VALUE_BOOL,
    MC_VALUE_INT,
    MC_VALUE_BIG,  /* an integer beyond 64 bits: bytes, two's complement, little-endian */
    MC_VALUE_TEXT, /* str; bytes that may be anything */
    MC_VALUE_BYTES,
    MC_VALUE_TUPLE,
    MC_VALUE_LIST, /* also a set */
    MC_VALUE_DICT, /* items: key, value, key, value …, as they were set: a key may be there again */
    MC_VALUE_GLOBAL,
    MC_VALUE_CALL,       /* items[0] is the GLOBAL, items[1] the TUPLE of arguments */
    MC_VALUE_PERSISTENT, /* items[0] is the id */
} mc_value_kind;

/* What a name on the list means to the machine: only dicts and lists are more than a name. */
typedef enum mc_global_kind { MC_GLOBAL_INERT, MC_GLOBAL_DICT, MC_GLOBAL_LIST } mc_global_kind;

typedef struct mc_global {
    const char *name; /* "collections.OrderedDict" */
    mc_global_kind kind;
    int meaning; /* the caller's */
} mc_global;

typedef struct mc_value mc_value;
struct mc_value {
    mc_value_kind kind;
    bool visited; /* for walks */
    union {
        int64_t integer; /* BOOL too */
        struct {
            const char *bytes; /* in the pickle; no NUL at the end */
            size_t size;
        };
        struct {
            mc_value **items;
            size_t count, capacity;
        };
        const mc_global *global;
    };
};

typedef struct mc_pickle mc_pickle;

/*
 * Reads the pickle at the beginning of `size` bytes, which must outlive it. `globals` ends with a name of NULL. *used is where it ended.
 * If the bytes end before it does and ended is given, *ended is set as well as the error.
 */
mc_status mc_pickle_read(const char *bytes, size_t size, const mc_global *globals, mc_pickle **out,
                         size_t *used, bool *ended, mc_error *error);
void mc_pickle_free(mc_pickle *pickle); /* accepts NULL */

mc_value *mc_pickle_root(const mc_pickle *pickle);
/* The PERSISTENT values, in the order in which they were made. */
size_t mc_pickle_persistent_count(const mc_pickle *pickle);
const mc_value *mc_pickle_persistent(const mc_pickle *pickle, size_t index);

/* Whether a value is the text. */
bool mc_value_is_text(const mc_value *value, const char *text);
/* The value of a key in a DICT, the last if there are several; NULL if there is none. */
mc_value *mc_value_get(const mc_value *dict, const char *key);

#endif

/*
 * Python pickles, read and never executed. A pickle is a program for a stack machine that builds
 * values; here it builds nothing but the inert values below. A name that it would import stays a
 * name, and a call stays a name with arguments.
 *
 * Memory is proportional to the pickle: at most MC_PICKLE_FACTOR bytes per byte. Values may contain
 * themselves; code that walks them must be ready for it.
 */
#ifndef MC_CHECKPOINT_PICKLE_H
#define MC_CHECKPOINT_PICKLE_H

#include "base/error.h"

#define MC_PICKLE_LIMIT (64 * 1024 * 1024)
#define MC_PICKLE_FACTOR 160

typedef enum mc_pickle_kind {
    MC_PICKLE_NONE,
    MC_PICKLE_BOOL,
    MC_PICKLE_INT,
    MC_PICKLE_BIG,   /* an integer beyond 64 bits: bytes, two's complement, little-endian */
    MC_PICKLE_FLOAT, /* without its value, which no reader needs */
    MC_PICKLE_TEXT,  /* str; any bytes */
    MC_PICKLE_BYTES,
    MC_PICKLE_TUPLE,
    MC_PICKLE_LIST, /* also a set */
    MC_PICKLE_DICT, /* items: key, value, key, value …, as they were set: keys may repeat */
    MC_PICKLE_GLOBAL,
    MC_PICKLE_CALL,       /* items[0] is the callee, items[1] the TUPLE of arguments */
    MC_PICKLE_PERSISTENT, /* items[0] is the id */
} mc_pickle_kind;

/*
 * What a name means to the machine: a call of DICT or LIST makes one. REFUSED names are errors
 * wherever they occur: they run code when other programs load the file. A name that ends in ".*"
 * stands for all names that begin like it. Names that are not in the list are INERT.
 */
typedef enum mc_global_kind {
    MC_GLOBAL_INERT,
    MC_GLOBAL_DICT,
    MC_GLOBAL_LIST,
    MC_GLOBAL_REFUSED
} mc_global_kind;

typedef struct mc_global {
    const char *name; /* "collections.OrderedDict" */
    mc_global_kind kind;
    int meaning; /* the caller's; 0 for names that are not in the list */
} mc_global;

typedef struct mc_pickle_value mc_pickle_value;
struct mc_pickle_value {
    mc_pickle_kind kind;
    int mark; /* for walks of the caller; 0 at first */
    union {
        int64_t integer; /* BOOL too */
        struct {
            const char *bytes; /* in the pickle; not NUL-terminated */
            size_t size;
        };
        struct {
            mc_pickle_value **items;
            size_t count, capacity;
        };
        const mc_global *global;
    };
};

typedef struct mc_pickle mc_pickle;

/*
 * Reads the pickle at the beginning of `size` bytes, which must outlive it. `globals` ends with a
 * name of NULL. *used is where the pickle ended. If the bytes end before the pickle does and
 * `ended` is given, *ended is set in addition to the error.
 */
mc_status mc_pickle_read(const char *bytes, size_t size, const mc_global *globals, mc_pickle **out,
                         size_t *used, bool *ended, mc_error *error);
void mc_pickle_free(mc_pickle *pickle); /* accepts NULL */

mc_pickle_value *mc_pickle_root(const mc_pickle *pickle);
/* The PERSISTENT values, in the order in which they were made. */
size_t mc_pickle_persistent_count(const mc_pickle *pickle);
const mc_pickle_value *mc_pickle_persistent(const mc_pickle *pickle, size_t index);

/* Returns whether a value is the text. */
bool mc_pickle_is_text(const mc_pickle_value *value, const char *text);
/* Returns the value of a key in a DICT, the last if it repeats; NULL if there is none. */
mc_pickle_value *mc_pickle_get(const mc_pickle_value *dict, const char *key);

#endif

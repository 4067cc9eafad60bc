/*
 * A merge method: what it is called, what it takes, and the function that makes one layer out of several.
 *
 *     #include <mergecraft/method.h>
 *
 *     MC_LAYER_MERGE(midpoint, .help = "half-way between the smallest and the largest value")
 *     {
 *         for (size_t i = 0; i < layer->count; i++) {
 *             mc_real low = layer->models[0][i], high = low;
 *             for (size_t m = 1; m < layer->model_count; m++) {
 *                 low = layer->models[m][i] < low ? layer->models[m][i] : low;
 *                 high = layer->models[m][i] > high ? layer->models[m][i] : high;
 *             }
 *             layer->out[i] = (low + high) / 2;
 *         }
 *     }
 *
 * The same text is a method of a program that links the library (`&midpoint`), a file for the command
 * (`mergecraft merge ./midpoint.c …`) and a file of src/methods/. Tiles are plain arrays of mc_real whatever the dtype on disk.
 * The functions of a method may be called from several threads at once, each with a layer of its own: they must not
 * keep anything between calls, allocate, or do input and output.
 */
#ifndef MERGECRAFT_METHOD_H
#define MERGECRAFT_METHOD_H

#include <mergecraft/error.h>
#include <mergecraft/state_dict.h>

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * The type that tiles are computed in: float. The library compiles its own methods a second time with double, for layers
 * that are stored as float64; a method from elsewhere computes those in float too.
 */
#ifdef MC_REAL_IS_DOUBLE
typedef double mc_real;
#else
typedef float mc_real;
#endif

/* The number of elements over which reductions accumulate before partial results are combined. */
#define MC_LEAF 4096

/* How much of a layer a method must see at once. */
typedef enum mc_scope {
    MC_ELEMENTWISE, /* any run of elements; streams */
    MC_ROW,         /* whole rows (the last dimension); streams */
    MC_TENSOR,      /* the whole tensor: its size is the method's memory */
    MC_MODEL        /* whole state dicts: MC_MODEL_MERGE */
} mc_scope;

typedef enum mc_param_type {
    MC_NUMBER,  /* a double */
    MC_INTEGER, /* a whole number, exact to 2^53 */
    MC_FLAG,    /* 0 or 1; true, false, yes, no, on, off */
    MC_CHOICE,  /* one of `choices`; its index is the value */
    MC_NUMBERS  /* several doubles, comma-separated */
} mc_param_type;

/* A parameter of a method. */
typedef struct mc_param {
    const char *name; /* NULL ends a list of parameters */
    mc_param_type type;
    const char *help;
    double fallback; /* the default (MC_CHOICE: an index); MC_NUMBERS are empty by default */
    double minimum, maximum;    /* inclusive; both 0: any finite value */
    const char *const *choices; /* MC_CHOICE: NULL-terminated */
    bool each_model; /* MC_NUMBERS: exactly one a model, the base not counted, if given */
} mc_param;

/* The value of a parameter: number for all types but MC_NUMBERS, which has numbers[0 … count − 1]. */
typedef struct mc_value {
    double number;
    const double *numbers;
    size_t count;
} mc_value;

/* A named list of models beside `models`, as in Python's dict_map(['models', 'hessians']). */
typedef struct mc_tiles {
    const char *name;
    const mc_real *const *items; /* one tile a model */
    size_t count;
} mc_tiles;

/*
 * A run of elements of one layer, as a method sees it. Everything is read-only to the method except out and scratch.
 */
typedef struct mc_layer {
    const char *name;     /* of the output tensor */
    int rank;             /* dimensions of the whole tensor … */
    const int64_t *shape; /* … outermost first */
    int64_t size;         /* elements in the whole tensor */
    int64_t first;        /* flat index of this tile's first element */
    size_t count;         /* elements in this tile */

    mc_real *out;                 /* [count] the result */
    const mc_real *const *models; /* [model_count][count] the fine-tuned models, in order */
    size_t model_count;
    const mc_real *base; /* [count] the base model; NULL if there is none */

    const mc_tiles *lists; /* further lists, in the order of mc_method.lists */
    size_t list_count;

    const mc_param *params; /* of the method … */
    const mc_value *values; /* … and their values, in the same order */
    uint64_t random_key; /* for mc_random_u32 (random.h): made of the seed and the layer's name */

    const void *state; /* what the statistics found; NULL for a method without */
    mc_real *scratch;  /* [mc_method.scratch][count], not initialised */
} mc_layer;

/*
 * Statistics over the whole layer before `apply`: norms, cosines, thresholds. They run in rounds; in each, every tile is
 * accumulated into a partial result, partial results are combined, and `next` digests the total and says whether another round
 * is needed. State and partial results are flat bytes (no pointers), zero-filled to begin with, so that threads and machines can
 * hand them on. partial_size is asked anew in each round.
 *
 * Results must not depend on how a layer is cut: unless order_free, `accumulate` gets one leaf (MC_LEAF elements, the
 * last one shorter) at a time into a fresh partial result, and leaves are combined along a fixed binary tree.
 * order_free says that accumulating and combining are exact in any order (counts, minima): then tiles of any
 * size are accumulated one after another.
 */
typedef struct mc_statistics {
    size_t (*state_size)(const mc_layer *layer);
    size_t (*partial_size)(const mc_layer *layer);
    bool order_free;
    /* Every how many leaves this round looks at one: 1 all of them. NULL: always 1. layer->state is set. */
    int64_t (*stride)(const mc_layer *layer, int round);
    void (*accumulate)(const mc_layer *layer, void *partial);
    void (*combine)(const mc_layer *layer, void *into, const void *from);
    /* True for another round. `state` is layer->state, writable. */
    bool (*next)(const mc_layer *layer, int round, void *state, const void *total);
    /* How many of a partial result's first bytes must be zero to begin with. NULL: all of them. */
    size_t (*partial_zeros)(const mc_layer *layer);
} mc_statistics;

struct mc_merge_input;

/*
 * A method. One that is compiled elsewhere is recognised by its first field; new fields are only added at the end.
 * Text is static.
 */
typedef struct mc_method {
    uint32_t api; /* MC_METHOD_API of the header it was compiled with */
    uint32_t real_size;
    const char *name;
    const char *family; /* NULL: "mergecraft", or the user's own */
    const char *help;   /* one line */
    const char *paper;  /* or another source; NULL if none */
    mc_scope scope;
    bool needs_base;
    size_t min_models, max_models; /* the base not counted; 0: no limit (at least one) */
    const mc_param *params;        /* ends with a NULL name; NULL if none */
    const char *const *lists; /* names of further lists of models that it needs; NULL-terminated */
    size_t scratch;           /* arrays of `count` reals that apply may use */
    const mc_statistics *statistics;

    /* Checks the values of parameters together; NULL if there is nothing to check. */
    mc_status (*check)(const mc_value *values, size_t model_count, mc_error *error);
    /* Makes the layer's tile. Layer scopes. */
    void (*apply)(const mc_layer *layer);
    /* Makes the whole state dict. MC_MODEL. */
    mc_status (*merge)(const struct mc_merge_input *input, mc_state_dict **out, mc_error *error);
} mc_method;

#define MC_METHOD_API 1u

/* Writes a list of parameters: .params = MC_PARAMS({"k", MC_NUMBER, "…", .fallback = .1, .maximum = 1}). */
#define MC_PARAMS(...)                                                                             \
    (const mc_param[])                                                                             \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Writes a NULL-terminated list of names: .choices = MC_NAMES("a", "b"), .lists = MC_NAMES("hessians"). */
#define MC_NAMES(...)                                                                              \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/*
 * MC_METHOD_SYMBOL, MC_METHOD_STORAGE: how a descriptor is called in C; a program may define the storage (as nothing) to
 * use a method in other files. MC_METHOD_REGISTER: how a plug-in finds it (plugin.h).
 */
#ifndef MC_METHOD_SYMBOL
#define MC_METHOD_SYMBOL(name_) name_
#endif
#ifndef MC_METHOD_STORAGE
#define MC_METHOD_STORAGE static MC_UNUSED
#endif
#ifdef MC_PLUGIN
#define MC_METHOD_REGISTER(name_)                                                                  \
    __attribute__((constructor)) static void name_##_register_(void)                               \
    {                                                                                              \
        static mc_plugin_method_node node = {.method = &MC_METHOD_SYMBOL(name_)};                  \
        mc_plugin_register_(&node);                                                                \
    }
#else
#define MC_METHOD_REGISTER(name_)
#endif

/* Defines a method that works layer by layer; followed by the body of `apply`, which sees `layer`. */
#define MC_LAYER_MERGE(name_, ...)                                                                 \
    static void name_##_apply_(const mc_layer *layer);                                             \
    MC_METHOD_STORAGE const mc_method MC_METHOD_SYMBOL(name_) = {.api = MC_METHOD_API,             \
                                                                 .real_size = sizeof(mc_real),     \
                                                                 .name = #name_,                   \
                                                                 .apply = name_##_apply_,          \
                                                                 __VA_ARGS__};                     \
    MC_METHOD_REGISTER(name_)                                                                      \
    static void name_##_apply_(const mc_layer *layer)

/*
 * Defines a method that works on whole state dicts; followed by the body of `merge`, which sees `input`, `out` and
 * `error`, sets *out to a new state dict and returns an mc_status (see merge.h).
 */
#define MC_MODEL_MERGE(name_, ...)                                                                 \
    static mc_status name_##_merge_(const struct mc_merge_input *input, mc_state_dict **out,       \
                                    mc_error *error);                                              \
    MC_METHOD_STORAGE const mc_method MC_METHOD_SYMBOL(name_) = {.api = MC_METHOD_API,             \
                                                                 .real_size = sizeof(mc_real),     \
                                                                 .name = #name_,                   \
                                                                 .scope = MC_MODEL,                \
                                                                 .merge = name_##_merge_,          \
                                                                 __VA_ARGS__};                     \
    MC_METHOD_REGISTER(name_)                                                                      \
    static mc_status name_##_merge_(const struct mc_merge_input *input, mc_state_dict **out,       \
                                    mc_error *error)

/* The value of the parameter `name`; NULL if the method has no such parameter. */
static inline const mc_value *mc_layer_value(const mc_layer *layer, const char *name)
{
    for (size_t i = 0; layer->params && layer->params[i].name; i++)
        if (strcmp(layer->params[i].name, name) == 0)
            return &layer->values[i];
    return NULL;
}

/* The number (integer, flag, index of the choice) that the parameter `name` has; NaN if there is no such parameter. */
static inline double mc_number(const mc_layer *layer, const char *name)
{
    const mc_value *const value = mc_layer_value(layer, name);
    return value ? value->number : (double)NAN;
}

/* The numbers that the parameter `name` has, one a model; NULL if it was not given. */
static inline const double *mc_numbers(const mc_layer *layer, const char *name)
{
    const mc_value *const value = mc_layer_value(layer, name);
    return value && value->count ? value->numbers : NULL;
}

/*
 * The built-in methods. mc_method_at: index < mc_method_count(); in the order of their names. mc_method_find: by name, "median",
 * or family and name, "mergecraft:median"; NULL if there is none. Static storage; thread-safe.
 */
MC_API size_t mc_method_count(void);
MC_API const mc_method *mc_method_at(size_t index);
MC_API const mc_method *mc_method_find(const char *name);

#include <mergecraft/random.h>
#include <mergecraft/tile.h>

#ifdef MC_PLUGIN
#include <mergecraft/host.h>
#endif

#endif

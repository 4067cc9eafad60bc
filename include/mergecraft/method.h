/*
 * A merge method: its name, its parameters, and the function that computes one layer from the
 * same-named tensor of every model.
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
 *         return MC_OK;
 *     }
 *
 * The same text is a method of a program that links the library (`&midpoint`), a file for the
 * command (`mergecraft merge ./midpoint.c …`), and a built-in method (src/methods). Tiles are plain
 * arrays of mc_real, whatever the dtype on disk.
 *
 * A method that cannot merge a layer fails with an error of its own; the library adds the tensor's
 * name: `return mc_fail(layer->error, MC_USAGE, "expected a matrix, found %d dimensions", rank);`.
 *
 * Thread-safety: several threads call the functions of a method at the same time, each with a layer
 * of its own. They must not keep anything between calls, allocate memory, or do input and output.
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

MC_BEGIN_DECLS

/*
 * The type that tiles are computed in: float. The library compiles its own methods a second time
 * with double, for layers that are stored as float64. Methods from elsewhere compute those in
 * float.
 */
#ifdef MC_REAL_IS_DOUBLE
typedef double mc_real;
#else
typedef float mc_real;
#endif

/* The number of elements that reductions accumulate before partial results are combined. */
#define MC_LEAF 4096

/* How much of a layer a method must see at once. */
typedef enum mc_scope {
    MC_ELEMENTWISE, /* any run of elements; streams */
    MC_ROW,         /* whole rows (the last dimension), several of short ones; streams */
    MC_TENSOR,      /* the whole tensor; as many at a time as fit the memory budget, at least one */
    MC_MODEL        /* whole state dicts: MC_MODEL_MERGE */
} mc_scope;

/*
 * How far results are the same bits. On other CPUs, linear algebra and encoders round differently,
 * and with them statistics, coefficients and scores of models.
 */
typedef enum mc_reproducibility {
    MC_SAME_EVERYWHERE, /* on any number of threads and any CPU */
    MC_SAME_ON_MACHINE  /* on any number of threads; other CPUs differ by rounding */
} mc_reproducibility;

typedef enum mc_param_type {
    MC_NUMBER,  /* a finite double */
    MC_INTEGER, /* a whole number of at most 2^53 in magnitude, so that it is exact as a double */
    MC_FLAG,    /* 0 or 1; written as true, false, yes, no, on, off */
    MC_CHOICE   /* one of `choices`; its index is the value */
} mc_param_type;

/*
 * A parameter of a method. One value counts for all models, unless it is per_input: then there is
 * one value per fine-tuned model (the base not counted), and a single value sets all of them.
 */
typedef struct mc_param {
    const char *name; /* NULL ends a list of parameters */
    mc_param_type type;
    const char *help;
    double fallback;            /* the default (MC_CHOICE: an index); of every model if per_input */
    double minimum, maximum;    /* inclusive; both 0: any finite value */
    const char *const *choices; /* MC_CHOICE: NULL-terminated */
    bool per_input;
    bool required; /* there is no default: the user must set it */
} mc_param;

/* The resolved value of a parameter: one number, or one per model if the parameter is per_input. */
typedef struct mc_value {
    const double *numbers; /* [count]; never NULL */
    size_t count;          /* 1, or the number of models */
} mc_value;

/*
 * A side input that a method declares: one more tensor per model under the layer's name, such as
 * the diagonal of a Hessian. Python writes it as dict_map(['models', 'hessians']).
 */
typedef struct mc_side_input {
    const char *name; /* NULL ends a list of side inputs */
    /*
     * false: it has the models' shape and is cut into the same tiles.
     * true: it has a shape of its own, such as a Gram matrix [in, in], the same for all models, and
     * is given as a whole. Needs scope MC_TENSOR. Statistics do not see it.
     */
    bool whole;
    /*
     * true: the method also merges layers for which no model has one; layer->side_count is 0 then.
     * false: such layers are averaged over the models and reported.
     */
    bool optional;
} mc_side_input;

/* A side input as a method sees it. */
typedef struct mc_side {
    const char *name;
    int rank;                    /* dimensions of each of its tensors … */
    const int64_t *shape;        /* … outermost first */
    size_t count;                /* elements in each tile: layer->count, or all */
    const mc_real *const *tiles; /* [model_count][count] */
} mc_side;

/*
 * A run of elements of one layer, as a method sees it. Everything is read-only to the method except
 * `out` and `scratch`.
 */
typedef struct mc_layer {
    const char *name;     /* of the output tensor */
    int rank;             /* dimensions of the whole tensor … */
    const int64_t *shape; /* … outermost first */
    int64_t size;         /* elements in the whole tensor */
    int64_t first;        /* flat index of this tile's first element */
    size_t count;         /* elements in this tile */
    /*
     * Whether the tensor is a matrix to methods that decompose matrices: of rank 2, and neither an
     * embedding nor a head, by its name. It is [out, in], or [in, out] if `transposed`.
     */
    bool matrix, transposed;
    /*
     * The number of the block that the tensor belongs to, or -1, and the number of blocks of the
     * model: one more than the highest. block_count is 0 unless the method has model_statistics.
     */
    int block, block_count;

    mc_real *out;                 /* [count] the result; write every element */
    const mc_real *const *models; /* [model_count][count] the fine-tuned models, in order */
    size_t model_count;
    const mc_real *base;   /* [count] the base model; NULL unless the method uses one and got one */
    const mc_real *merged; /* [count] of an add-on: what the method before it made; else NULL */

    const mc_side *sides; /* side inputs, in the order of mc_method.sides */
    size_t side_count;

    const mc_param *params; /* of the method … */
    const mc_value *values; /* … and their values, in the same order */
    uint64_t random_key;    /* for mc_random_u32 (random.h): depends on the seed and on `name` */

    const void *state;       /* what the statistics found; NULL for a method without statistics */
    const void *model_state; /* the same for the statistics of the whole model */
    void *scratch;           /* mc_method.scratch_bytes bytes, 64-byte aligned, uninitialised */
    mc_error *error;         /* for mc_fail, when the method returns something else than MC_OK */
    const char **averaged;   /* set by mc_layer_averaged; NULL: it is not reported */
} mc_layer;

/*
 * Called in `apply` by a method that cannot do its work on this tensor and writes the mean of the
 * models instead. The merge reports the tensor, even if this is called for one of its tiles only,
 * with the reason: a static text such as "its Gram matrices are all zero". Under strict that is an
 * error. Thread-safety: a layer belongs to one thread, and so does what is noted.
 */
static inline void mc_layer_averaged(const mc_layer *layer, const char *reason)
{
    if (layer->averaged)
        *layer->averaged = reason;
}

/*
 * Statistics over the whole layer before `apply`: norms, cosines, thresholds. They run in rounds.
 * In each round every tile is accumulated into a partial result, partial results are combined, and
 * `next` digests the total and decides whether there is another round. State and partial results
 * are flat bytes (no pointers), initially zero, so that threads and machines can exchange them.
 * partial_size is asked again in each round.
 *
 * Results must not depend on how a layer is cut. Unless order_free is set, `accumulate` gets one
 * leaf (MC_LEAF elements, the last one shorter) at a time and a fresh partial result, and leaves
 * are combined along a fixed binary tree. order_free promises that accumulating and combining are
 * exact in any order (counts, minima): then tiles of several leaves are accumulated one after
 * another, and for methods of scope MC_ROW, in rounds without a stride, tiles of whole rows.
 */
typedef struct mc_statistics {
    size_t (*state_size)(const mc_layer *layer);
    /* Prepares the state, which is all zeros, for the first round. NULL: it stays zero. */
    void (*begin)(const mc_layer *layer, void *state);
    size_t (*partial_size)(const mc_layer *layer);
    bool order_free;
    /*
     * This round looks at every n-th leaf only: a sample tells a threshold search where to look in
     * the next round, for a fraction of the time (src/methods/order.h). Needs order_free, and
     * layer->state is set. NULL: always 1, all leaves.
     */
    int64_t (*stride)(const mc_layer *layer, int round);
    mc_status (*accumulate)(const mc_layer *layer, void *partial);
    void (*combine)(const mc_layer *layer, void *into, const void *from);
    /* Sets *more for another round; it is false at first. `state` is layer->state, writable. */
    mc_status (*next)(const mc_layer *layer, int round, void *state, const void *total, bool *more);
    /*
     * How many of a partial result's first bytes must be zero at first: a long list that grows need
     * not be cleared. NULL: all of them.
     */
    size_t (*partial_zeros)(const mc_layer *layer);
} mc_statistics;

/*
 * Statistics over a whole model (mc_method.model_statistics) use the same functions, with these
 * differences. They run before the first layer is merged, over all layers that the method merges.
 * layer->model_state takes the place of layer->state. Functions without a tile get a layer that
 * describes no tensor: its size is the number of elements of all layers. `accumulate` adds a run of
 * a layer to its partial result: the whole tensor for scope MC_TENSOR, else at most 64 leaves, cut
 * in one way for any number of threads. Partial results are combined in the order of the layers.
 * A partial_size of 0 in the first round means that these parameters need no statistics. `stride`
 * and `partial_zeros` are not used. All layers are computed in the same mc_real.
 */

struct mc_merge_input;

/*
 * A method. Text is static. A method that is compiled elsewhere is recognised by its first field;
 * new fields are only added at the end.
 */
typedef struct mc_method {
    uint32_t api; /* MC_METHOD_API of the header it was compiled with */
    uint32_t real_size;
    const char *name;
    const char *family; /* of built-in methods: "mergecraft", …; NULL: the user's own */
    const char *help;   /* one line */
    const char *paper;  /* or another source; NULL if none */
    mc_scope scope;
    mc_reproducibility reproducibility;
    bool needs_base;
    bool takes_base; /* uses a base if there is one */
    /*
     * It changes what another method made (layer->merged): `--then NAME`. As a method of its own it
     * changes the base plus the mean of the task vectors. Needs a base and a layer scope.
     */
    bool add_on;
    size_t min_models, max_models; /* the base not counted; 0: no limit (at least one) */
    const mc_param *params;        /* ends with a NULL name; NULL if none */
    const mc_side_input *sides;    /* ends with a NULL name; NULL if none */
    const mc_statistics *statistics;
    const mc_statistics *model_statistics;

    /*
     * Bytes of layer->scratch for one call of apply or accumulate on a tile like `layer`, which has
     * everything but tiles, state and scratch; side inputs have their names and shapes. Must not
     * fall as layer->count grows. NULL: none.
     */
    size_t (*scratch_bytes)(const mc_layer *layer);
    /*
     * Checks the values of parameters together; NULL if there is nothing to check. An error text
     * begins with the name of a parameter and a colon, from which recipes find its line.
     */
    mc_status (*check)(const mc_value *values, size_t model_count, mc_error *error);
    /*
     * Returns a warning about valid but questionable values, in static storage, or NULL: the caller
     * reports it. NULL if there is nothing to warn about.
     */
    const char *(*note)(const mc_value *values, size_t model_count);
    /* Computes layer->out. Layer scopes. */
    mc_status (*apply)(const mc_layer *layer);
    /* Makes the whole state dict. MC_MODEL. */
    mc_status (*merge)(const struct mc_merge_input *input, mc_state_dict **out, mc_error *error);
} mc_method;

#define MC_METHOD_API 2u

/*
 * Writes a list of parameters: .params = MC_PARAMS({"k", MC_NUMBER, "…", .fallback = .1, .maximum =
 * 1}).
 */
#define MC_PARAMS(...)                                                                             \
    (const mc_param[])                                                                             \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Writes a list of side inputs: .sides = MC_SIDES({"hessians"}, {"grams", .whole = true}). */
#define MC_SIDES(...)                                                                              \
    (const mc_side_input[])                                                                        \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Writes a NULL-terminated list of names: .choices = MC_NAMES("a", "b"). */
#define MC_NAMES(...)                                                                              \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/*
 * MC_METHOD_NAME: the method's name as users type it, if it is not a C identifier (regmean++).
 * MC_METHOD_SYMBOL and MC_METHOD_STORAGE: the name and storage class of a descriptor in C. A
 * program may define the storage (as nothing) to use a method in other files.
 * MC_METHOD_FAMILY_NAME: a string, or NULL. MC_METHOD_REGISTER: how a plug-in's method is found
 * (plugin.h).
 */
#ifndef MC_METHOD_FAMILY_NAME
#define MC_METHOD_FAMILY_NAME NULL
#endif
#ifndef MC_METHOD_SYMBOL
#define MC_METHOD_SYMBOL(name_) name_
#endif
#ifndef MC_METHOD_NAME
#define MC_METHOD_NAME(name_) #name_
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

/*
 * Defines a method that works layer by layer. The body of `apply` follows: it sees `layer`, writes
 * layer->out, and returns MC_OK, or the status of mc_fail(layer->error, …).
 */
#define MC_LAYER_MERGE(name_, ...)                                                                 \
    static mc_status name_##_apply_(const mc_layer *layer);                                        \
    MC_METHOD_STORAGE const mc_method MC_METHOD_SYMBOL(name_) = {.api = MC_METHOD_API,             \
                                                                 .real_size = sizeof(mc_real),     \
                                                                 .name = MC_METHOD_NAME(name_),    \
                                                                 .family = MC_METHOD_FAMILY_NAME,  \
                                                                 .apply = name_##_apply_,          \
                                                                 __VA_ARGS__};                     \
    MC_METHOD_REGISTER(name_)                                                                      \
    static mc_status name_##_apply_(const mc_layer *layer)

/*
 * Defines a method that works on whole state dicts; followed by the body of `merge`, which sees
 * `input`, `out` and `error`, sets *out to a new state dict and returns an mc_status (see merge.h).
 */
#define MC_MODEL_MERGE(name_, ...)                                                                 \
    static mc_status name_##_merge_(const struct mc_merge_input *input, mc_state_dict **out,       \
                                    mc_error *error);                                              \
    MC_METHOD_STORAGE const mc_method MC_METHOD_SYMBOL(name_) = {.api = MC_METHOD_API,             \
                                                                 .real_size = sizeof(mc_real),     \
                                                                 .name = MC_METHOD_NAME(name_),    \
                                                                 .family = MC_METHOD_FAMILY_NAME,  \
                                                                 .scope = MC_MODEL,                \
                                                                 .merge = name_##_merge_,          \
                                                                 __VA_ARGS__};                     \
    MC_METHOD_REGISTER(name_)                                                                      \
    static mc_status name_##_merge_(const struct mc_merge_input *input, mc_state_dict **out,       \
                                    mc_error *error)

/* Returns the value of the parameter `name`; NULL if the method has no such parameter. */
static inline const mc_value *mc_layer_value(const mc_layer *layer, const char *name)
{
    for (size_t i = 0; layer->params && layer->params[i].name; i++)
        if (strcmp(layer->params[i].name, name) == 0)
            return &layer->values[i];
    return NULL;
}

/*
 * Returns the number (integer, flag, index of the choice) of the parameter `name`; NaN if the
 * method has no such parameter.
 */
static inline double mc_number(const mc_layer *layer, const char *name)
{
    const mc_value *const value = mc_layer_value(layer, name);
    return value ? value->numbers[0] : (double)NAN;
}

/*
 * Returns the numbers of a per_input parameter, one per model: layer->model_count values, whether
 * the user set them or not. NULL only if the method has no such parameter.
 */
static inline const double *mc_numbers(const mc_layer *layer, const char *name)
{
    const mc_value *const value = mc_layer_value(layer, name);
    return value ? value->numbers : NULL;
}

/*
 * The built-in methods, by family and name. mc_method_at: index < mc_method_count().
 * mc_method_find: by family and name, "mergecraft:median", or by name alone, "median": that of the
 * family mergecraft if it has one, else of another; NULL if there is none. Static storage;
 * thread-safe.
 */
MC_API size_t mc_method_count(void);
MC_API const mc_method *mc_method_at(size_t index);
MC_API const mc_method *mc_method_find(const char *name);

MC_END_DECLS

#include <mergecraft/random.h>
#include <mergecraft/tile.h>

#ifdef MC_PLUGIN
#include <mergecraft/host.h>
#endif

#endif

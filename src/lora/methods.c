#include "lora/methods.h"

#include <mergecraft/text.h>

#include <string.h>

#define WEIGHTS                                                                                    \
    {                                                                                              \
        "weights", MC_NUMBER, "factor of each adapter", .per_input = true, .required = true        \
    }
#define DENSITY                                                                                    \
    {                                                                                              \
        "density", MC_NUMBER, "share of the values that is kept", .maximum = 1, .required = true   \
    }
#define SIGNS                                                                                      \
    {                                                                                              \
        "majority_sign_method", MC_CHOICE, "what elects the sign of an element",                   \
            .choices = MC_NAMES("total", "frequency")                                              \
    }
#define CLAMP                                                                                      \
    {                                                                                              \
        "svd_clamp", MC_NUMBER, "quantile that factors are clamped to; 1: none", .fallback = 1,    \
                                                                                 .maximum = 1      \
    }

#define ROW(name_, space_, combination_, help_, ...)                                               \
    {                                                                                              \
        {.name = name_, .family = "lora", .help = help_, .params = MC_PARAMS(__VA_ARGS__)},        \
            MC_LORA_##space_, MC_COMBINE_##combination_                                            \
    }

/*
 * The first parameter is always `weights`, which is found by its place; all others are found by
 * name.
 */
static const mc_lora_method methods[] = {
    ROW("cat", CAT, LINEAR, "all factors side by side; exact, ranks add up", WEIGHTS),
    ROW("linear", FACTORS, LINEAR, "weighted sums of the factors", WEIGHTS),
    ROW("ties", FACTORS, TIES, "TIES on the factors", WEIGHTS, DENSITY, SIGNS),
    ROW("dare_linear", FACTORS, DARE_LINEAR, "DARE on the factors", WEIGHTS, DENSITY),
    ROW("dare_ties", FACTORS, DARE_TIES, "DARE and TIES on the factors", WEIGHTS, DENSITY, SIGNS),
    ROW("magnitude_prune", FACTORS, PRUNE, "the largest values of the factors", WEIGHTS, DENSITY),
    ROW("svd", PRODUCT, LINEAR, "the weighted sum of the updates, truncated", WEIGHTS, CLAMP),
    ROW("ties_svd", UPDATES, TIES, "TIES on the updates, truncated", WEIGHTS, DENSITY, SIGNS,
        CLAMP),
    ROW("dare_linear_svd", UPDATES, DARE_LINEAR, "DARE on the updates, truncated", WEIGHTS, DENSITY,
        CLAMP),
    ROW("dare_ties_svd", UPDATES, DARE_TIES, "DARE and TIES on the updates, truncated", WEIGHTS,
        DENSITY, SIGNS, CLAMP),
    ROW("magnitude_prune_svd", UPDATES, PRUNE, "the largest values of the updates, truncated",
        WEIGHTS, DENSITY, CLAMP),
    ROW("knots_linear", KNOTS, LINEAR, "a sum in the joint basis of the updates", WEIGHTS),
    ROW("knots_ties", KNOTS, TIES, "TIES in the joint basis of the updates", WEIGHTS, DENSITY,
        SIGNS),
    ROW("knots_dare_ties", KNOTS, DARE_TIES, "DARE and TIES in the joint basis", WEIGHTS, DENSITY,
        SIGNS),
    ROW("core_linear", CORE, LINEAR, "a sum in the core space of the factors", WEIGHTS),
    ROW("core_ties", CORE, TIES, "TIES in the core space of the factors", WEIGHTS, DENSITY, SIGNS),
    ROW("core_dare_ties", CORE, DARE_TIES, "DARE and TIES in the core space", WEIGHTS, DENSITY,
        SIGNS),
};
enum { METHOD_COUNT = sizeof methods / sizeof *methods };

const mc_lora_method *mc_lora_method_find(const char *name)
{
    for (size_t i = 0; i < METHOD_COUNT; i++)
        if (strcmp(methods[i].method.name, name) == 0)
            return &methods[i];
    return NULL;
}

const char *mc_lora_method_near(const char *name)
{
    const char *names[METHOD_COUNT];
    for (size_t i = 0; i < METHOD_COUNT; i++)
        names[i] = methods[i].method.name;
    return mc_suggest(name, names, METHOD_COUNT);
}

size_t mc_lora_method_count(void)
{
    return METHOD_COUNT;
}

const mc_method *mc_lora_method_at(size_t index)
{
    return &methods[index].method;
}

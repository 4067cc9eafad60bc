#include "methods/variant.h"

#include "base/cpu.h"

/* Forms by the type of mc_real: float, double. */
enum { REALS = 2 };

#if MC_SIMD
#define MC_EACH_LEVEL(X, family_, name_, real_)                                                    \
    X(family_, name_, real_, scalar) X(family_, name_, real_, avx2) X(family_, name_, real_, avx512)
#else
#define MC_EACH_LEVEL(X, family_, name_, real_) X(family_, name_, real_, scalar)
#endif

/* A method in all its forms: first for float, then for double, at each CPU level. */
typedef const mc_method *method_forms[REALS][MC_CPU_LEVELS];

#define DECLARE(family_, name_, real_, level_)                                                     \
    extern const mc_method mc_method_##family_##_##name_##_##real_##_##level_;
#define ADDRESS(family_, name_, real_, level_) &mc_method_##family_##_##name_##_##real_##_##level_,
#define DECLARE_FORMS(family_, name_)                                                              \
    MC_EACH_LEVEL(DECLARE, family_, name_, f32) MC_EACH_LEVEL(DECLARE, family_, name_, f64)
#define FORMS(family_, name_)                                                                      \
    {                                                                                              \
        {MC_EACH_LEVEL(ADDRESS, family_, name_, f32)},                                             \
        {                                                                                          \
            MC_EACH_LEVEL(ADDRESS, family_, name_, f64)                                            \
        }                                                                                          \
    }

#define MC_METHOD(family_, name_) DECLARE_FORMS(family_, name_)
#include "methods/list.h"
#undef MC_METHOD
DECLARE_FORMS(internal, compare)
DECLARE_FORMS(internal, mean)

/* The methods of the list, and then those that are not in it. */
static const method_forms forms[] = {
#define MC_METHOD(family_, name_) FORMS(family_, name_),
#include "methods/list.h"
#undef MC_METHOD
    FORMS(internal, compare),
    FORMS(internal, mean),
};

enum { ALL = sizeof forms / sizeof *forms, LISTED = ALL - 2, COMPARE = LISTED, MEAN };

size_t mc_method_count(void)
{
    return LISTED;
}

/*
 * A method is identified by its form that runs on every CPU: that address is the same in plans,
 * whatever the CPU.
 */
static const mc_method *known(size_t index)
{
    return forms[index][0][MC_CPU_SCALAR];
}

const mc_method *mc_method_at(size_t index)
{
    return known(index);
}

const mc_method *mc_method_mean(void)
{
    return known(MEAN);
}

const mc_method *mc_method_compare(void)
{
    return known(COMPARE);
}

static bool is_of_family(const mc_method *method, const char *family, size_t length)
{
    return strlen(method->family) == length && memcmp(method->family, family, length) == 0;
}

/*
 * Finds a name without a family: mergecraft's own method first, then the first of another family in
 * the order of the list.
 */
static const mc_method *find_by_name(const char *name)
{
    static const char standard[] = "mergecraft";
    const mc_method *found = NULL;
    for (size_t i = 0; i < LISTED; i++) {
        if (strcmp(known(i)->name, name) != 0)
            continue;
        if (is_of_family(known(i), standard, strlen(standard)))
            return known(i);
        found = found ? found : known(i);
    }
    return found;
}

const mc_method *mc_method_find(const char *name)
{
    const char *const colon = strchr(name, ':');
    if (!colon)
        return find_by_name(name);
    for (size_t i = 0; i < LISTED; i++)
        if (is_of_family(known(i), name, (size_t)(colon - name)) &&
            strcmp(known(i)->name, colon + 1) == 0)
            return known(i);
    return NULL;
}

const mc_method *mc_method_variant(const mc_method *method, bool real_is_double)
{
    for (size_t i = 0; i < ALL; i++)
        /* A plug-in has one form: it is returned as it is. */
        if (known(i) == method)
            return forms[i][real_is_double][mc_cpu()];
    return method;
}

bool mc_method_is_builtin(const mc_method *method)
{
    for (size_t i = 0; i < ALL; i++)
        for (size_t real = 0; real < REALS; real++)
            for (size_t level = 0; level < MC_CPU_LEVELS; level++)
                if (forms[i][real][level] == method)
                    return true;
    return false;
}

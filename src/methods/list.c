#include "methods/variant.h"

#include "base/cpu.h"

enum { REALS = 2 };

#if defined(__x86_64__)
#define MC_EACH_LEVEL(X, name_, real_)                                                             \
    X(name_, real_, scalar) X(name_, real_, avx2) X(name_, real_, avx512)
#else
#define MC_EACH_LEVEL(X, name_, real_) X(name_, real_, scalar)
#endif

#define DECLARE(name_, real_, level_) extern const mc_method mc_method_##name_##_##real_##_##level_;
#define MC_METHOD(name_) MC_EACH_LEVEL(DECLARE, name_, f32) MC_EACH_LEVEL(DECLARE, name_, f64)
#include "methods/list.h"
#undef MC_METHOD

#define ADDRESS(name_, real_, level_) &mc_method_##name_##_##real_##_##level_,
#define MC_METHOD(name_)                                                                           \
    {{MC_EACH_LEVEL(ADDRESS, name_, f32)}, {MC_EACH_LEVEL(ADDRESS, name_, f64)}},
static const mc_method *const variants[][REALS][MC_CPU_LEVELS] = {
#include "methods/list.h"
};
#undef MC_METHOD

enum { COUNT = sizeof variants / sizeof *variants };

size_t mc_method_count(void)
{
    return COUNT;
}

/* Methods are known by their form that runs everywhere. */
const mc_method *mc_method_at(size_t index)
{
    return variants[index][0][MC_CPU_SCALAR];
}

static const char *family_of(const mc_method *method)
{
    return method->family ? method->family : "mergecraft";
}

/* Whether `name` is "method" (of the family that names without one mean) or "family:method". */
static bool is_called(const mc_method *method, const char *name)
{
    const char *const family = family_of(method);
    const size_t length = strlen(family);
    if (strcmp(name, method->name) == 0)
        return strcmp(family, "mergecraft") == 0;
    return strncmp(name, family, length) == 0 && name[length] == ':' &&
           strcmp(name + length + 1, method->name) == 0;
}

const mc_method *mc_method_find(const char *name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (is_called(mc_method_at(i), name))
            return mc_method_at(i);
    return NULL;
}

const mc_method *mc_method_variant(const mc_method *method, bool real_is_double)
{
    for (size_t i = 0; i < COUNT; i++)
        if (mc_method_at(i) == method)
            return variants[i][real_is_double][mc_cpu()];
    return method;
}

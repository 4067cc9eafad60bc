#include "base/cpu.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if MC_SIMD
#include <cpuid.h>
#endif

static const char *const level_names[MC_CPU_LEVELS] = {"scalar", "avx2", "avx512"};

static mc_cpu_level machine_level(void)
{
#if MC_SIMD
    unsigned a, b, features, d;
    /*
     * The kernels of both levels also use FMA and the conversion of float16, which are separate
     * features of the CPU.
     */
    const unsigned needed = bit_F16C | bit_FMA;
    const bool known = __get_cpuid(1, &a, &b, &features, &d) && (features & needed) == needed;
    /* __builtin_cpu_supports also checks that the operating system saves the wide registers. */
    if (!known || !__builtin_cpu_supports("avx2"))
        return MC_CPU_SCALAR;
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? MC_CPU_AVX512 : MC_CPU_AVX2;
#else
    return MC_CPU_SCALAR;
#endif
}

static mc_cpu_level wanted_level(void)
{
    const mc_cpu_level machine = machine_level();
    const char *const wanted = getenv("MERGECRAFT_CPU");
    /* Levels above the machine's cannot be selected: their instructions would end the process. */
    for (int level = 0; wanted && level < (int)machine; level++)
        if (strcmp(wanted, level_names[level]) == 0)
            return (mc_cpu_level)level;
    return machine;
}

/* −1: not determined yet. Threads that race here compute the same value, so no order is needed. */
static atomic_int current = -1;

mc_cpu_level mc_cpu(void)
{
    int level = atomic_load_explicit(&current, memory_order_relaxed);
    if (level < 0) {
        level = (int)wanted_level();
        atomic_store_explicit(&current, level, memory_order_relaxed);
    }
    return (mc_cpu_level)level;
}

const char *mc_cpu_name(mc_cpu_level level)
{
    return level_names[level];
}

bool mc_cpu_force(mc_cpu_level level)
{
    if (level > machine_level())
        return false;
    current = (int)level;
    return true;
}

int mc_cpu_count(void)
{
    /*
     * Not the processors of the machine: cpusets and taskset give a process fewer, and more
     * threads than these only wait for each other.
     */
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return 1;
    const int count = CPU_COUNT(&allowed);
    return count > 0 ? count : 1;
}

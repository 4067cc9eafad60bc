/* How much memory a process may still take. */
#ifndef MC_BASE_AVAILABLE_MEMORY_H
#define MC_BASE_AVAILABLE_MEMORY_H

#include <stdint.h>

/*
 * Bytes that the system can give without swapping, at most what the control groups (version 2) of
 * the process allow; 0 if that is unknown. An estimate: other processes take memory, too.
 */
int64_t mc_available_memory(void);

/* The same from other files, for tests: as /proc/meminfo, /proc/self/cgroup and /sys/fs/cgroup. */
int64_t mc_available_memory_in(const char *meminfo, const char *cgroup, const char *groups);

#endif

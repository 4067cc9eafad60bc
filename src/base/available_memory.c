#include "base/available_memory.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind `key` in a file with lines of a key and a number; -1 if there is none. */
static int64_t find_number(const char *path, const char *key)
{
    char line[256];
    int64_t found = -1;
    FILE *const file = fopen(path, "re");
    if (!file)
        return -1;
    while (found < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) {
            const char *const text = line + strlen(key);
            char *end;
            const long long number = strtoll(text, &end, 10);
            found = end > text && number >= 0 ? number : -1;
        }
    fclose(file);
    return found;
}

/* The control group of version 2, as a path from the root of all groups; "" if there is none. */
static void find_group(const char *cgroup, char *out, size_t size)
{
    char line[PATH_MAX];
    FILE *const file = fopen(cgroup, "re");
    out[0] = '\0';
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, size, "%s", line + strlen("0::"));
        }
    if (file)
        fclose(file);
}

/*
 * The lowest limit of a group and of those around it. In a container the path may be that of the
 * host, which does not exist there: the container's own limit is then at the root.
 */
static int64_t lowest_limit(const char *groups, char *group, int64_t lowest)
{
    for (;;) {
        char path[PATH_MAX + 64];
        snprintf(path, sizeof path, "%s%s/memory.max", groups, group);
        const int64_t limit = find_number(path, ""); /* -1 where the file says "max" */
        lowest = limit >= 0 && limit < lowest ? limit : lowest;
        char *const last = strrchr(group, '/');
        if (!last)
            return lowest;
        *last = '\0';
    }
}

int64_t mc_available_memory_in(const char *meminfo, const char *cgroup, const char *groups)
{
    const int64_t kilobytes = find_number(meminfo, "MemAvailable:");
    char group[PATH_MAX];
    if (kilobytes < 0 || kilobytes > INT64_MAX / 1024)
        return 0;
    find_group(cgroup, group, sizeof group);
    return lowest_limit(groups, group, kilobytes * 1024);
}

int64_t mc_available_memory(void)
{
    return mc_available_memory_in("/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup");
}

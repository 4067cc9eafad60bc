#include "base/disk.h"

#include "base/memory.h"
#include "base/system.h"

#include <string.h>

static bool query(const char *path, mc_disk *out)
{
    struct stat status;
    struct statvfs room;
    if (mc_system->stat(path, &status) != 0 || mc_system->statvfs(path, &room) != 0)
        return false;
    /*
     * As double: the product may exceed 64 bits on file systems that report absurd sizes. Blocks
     * that only root may use are not counted.
     */
    const double bytes = (double)room.f_bavail * (double)room.f_frsize;
    *out = (mc_disk){.device = status.st_dev,
                     .free = bytes < 0x1p62 ? (int64_t)bytes : INT64_C(1) << 62};
    return true;
}

bool mc_disk_at(const char *path, mc_disk *out)
{
    /*
     * The output folder usually does not exist yet: go up until a folder does. `slash != above`
     * keeps the root, which the last line tries.
     */
    char *const above = mc_strdup(path);
    bool found = above && query(above, out);
    for (char *slash; above && !found && (slash = strrchr(above, '/')) && slash != above;) {
        *slash = '\0';
        found = query(above, out);
    }
    mc_free(above);
    return found || (above && query(*path == '/' ? "/" : ".", out));
}

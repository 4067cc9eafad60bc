#include "base/disk.h"

#include "base/memory.h"
#include "base/system.h"

#include <string.h>

static bool look(const char *path, mc_disk *out)
{
    struct stat status;
    struct statvfs room;
    if (mc_system->stat(path, &status) != 0 || mc_system->statvfs(path, &room) != 0)
        return false;
    const double bytes = (double)room.f_bavail * (double)room.f_frsize;
    *out = (mc_disk){.device = status.st_dev,
                     .free = bytes < 0x1p62 ? (int64_t)bytes : INT64_C(1) << 62};
    return true;
}

bool mc_disk_at(const char *path, mc_disk *out)
{
    char *const above = mc_strdup(path);
    bool found = above && look(above, out);
    for (char *slash; above && !found && (slash = strrchr(above, '/')) && slash != above;) {
        *slash = '\0';
        found = look(above, out);
    }
    mc_free(above);
    return found || (above && look(*path == '/' ? "/" : ".", out));
}

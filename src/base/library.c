#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

#ifdef MC_LINK_LIBRARIES
/*
 * The libraries are linked, for packages that contain them. They are among those that were loaded
 * with this program or library.
 */
static void *open_first(const char *const *file_names, const char **found)
{
    static const char here;
    Dl_info self;
    *found = file_names[0];
    if (dladdr(&here, &self) == 0)
        return NULL;
    /* RTLD_NOLOAD: a handle to what is loaded, never another copy. */
    void *const handle = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    return handle ? handle : dlopen(NULL, RTLD_NOW);
}
#else
static void *open_first(const char *const *file_names, const char **found)
{
    void *handle = NULL;
    for (; !handle && *file_names; file_names++) {
        /* RTLD_LOCAL: its symbols stay invisible to libraries that the process loads later. */
        handle = dlopen(*file_names, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        *found = *file_names;
    }
    return handle;
}
#endif

mc_status mc_library_load(const char *what, const char *const *file_names, const mc_symbol *symbols,
                          mc_error *error)
{
    const char *found = NULL;
    void *const handle = open_first(file_names, &found);
    if (!handle)
        return mc_fail(error, MC_UNSUPPORTED, "%s is not installed: expected %s (%s)", what,
                       file_names[0], dlerror());
    for (; symbols->name; symbols++) {
        /* POSIX: data pointers and function pointers have one form. */
        void *const address = dlsym(handle, symbols->name);
        if (!address)
            return mc_fail(error, MC_UNSUPPORTED, "%s (%s): expected the function %s, found none",
                           what, found, symbols->name);
        memcpy(symbols->address, &address, sizeof address);
    }
    return MC_OK;
}

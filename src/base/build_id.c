#include "base/build_id.h"

#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BYTES = 32 }; /* of an id: SHA-1 has 20 */

/* Written once, under pthread_once, and read-only from then on. Empty if there is no id. */
static char build_id[2 * MAX_BYTES + 1];

/* A note is a header, a name and a description, each of the latter two padded to four bytes. */
static size_t padded(size_t size)
{
    return (size + 3) / 4 * 4;
}

static void write_digits(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size && i < MAX_BYTES; i++)
        snprintf(build_id + 2 * i, 3, "%02x", bytes[i]);
}

static void read_notes(const char *notes, size_t size)
{
    /*
     * Sizes in a note come from the file: a note that would end behind the segment ends the search.
     */
    for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
        ElfW(Nhdr) note;
        memcpy(&note, notes + at, sizeof note);
        const size_t name = at + sizeof note, text = name + padded(note.n_namesz);
        const size_t end = text + padded(note.n_descsz);
        if (end > size)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(notes + name, "GNU", 4) == 0)
            write_digits((const unsigned char *)notes + text, note.n_descsz);
        at = end;
    }
}

static bool holds(const struct dl_phdr_info *object, uintptr_t address)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *const part = &object->dlpi_phdr[i];
        /*
         * dlpi_addr is the difference between where the object was linked and where it was loaded.
         */
        const uintptr_t start = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && address >= start && address - start < part->p_memsz)
            return true;
    }
    return false;
}

static int visit(struct dl_phdr_info *object, size_t size, void *user)
{
    (void)size, (void)user;
    /*
     * The library may be linked into a program or loaded by one: the object that contains this
     * variable is the right one in both cases.
     */
    if (!holds(object, (uintptr_t)build_id))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *const part = &object->dlpi_phdr[i];
        if (part->p_type == PT_NOTE)
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): where the loader has put it */
            read_notes((const char *)(object->dlpi_addr + part->p_vaddr), part->p_memsz);
    }
    /* Not 0: ends the iteration. */
    return 1;
}

static void find(void)
{
    dl_iterate_phdr(visit, NULL);
}

const char *mc_build_id(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find);
    return build_id;
}

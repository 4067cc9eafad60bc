#include "base/build_id.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BYTES = (MC_PROGRAM_ID_SIZE - 1) / 2 }; /* of an id: SHA-1 has 20 */

typedef struct search {
    uintptr_t address;
    char *id;
} search;

/* A note is a header, a name and a description, each of the latter two padded to four bytes. */
static size_t padded(size_t size)
{
    return (size + 3) / 4 * 4;
}

static void write_digits(const unsigned char *bytes, size_t size, char *out)
{
    for (size_t i = 0; i < size && i < MAX_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void read_notes(const char *notes, size_t size, char *out)
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
            write_digits((const unsigned char *)notes + text, note.n_descsz, out);
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
    const search *const s = user;
    (void)size;
    if (!holds(object, s->address))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *const part = &object->dlpi_phdr[i];
        if (part->p_type == PT_NOTE)
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): where the loader has put it */
            read_notes((const char *)(object->dlpi_addr + part->p_vaddr), part->p_memsz, s->id);
    }
    /* Not 0: ends the iteration. */
    return 1;
}

void mc_program_id(const void *address, char out[MC_PROGRAM_ID_SIZE])
{
    search s = {(uintptr_t)address, out};
    out[0] = '\0';
    dl_iterate_phdr(visit, &s);
}

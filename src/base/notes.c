#include "base/notes.h"

#include "base/memory.h"

mc_status mc_notes_add_list(mc_notes *notes, mc_error *error, const char *format, va_list arguments)
{
    if (!notes)
        return MC_OK;
    /* Room first: if the line cannot be allocated, the list is unchanged. */
    if (!MC_GROW(notes->lines, notes->count, notes->capacity))
        return mc_fail_memory(error);
    char *const line = mc_format_list(format, arguments);
    if (!line)
        return mc_fail_memory(error);
    notes->lines[notes->count++] = line;
    return MC_OK;
}

mc_status mc_notes_add(mc_notes *notes, mc_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const mc_status status = mc_notes_add_list(notes, error, format, arguments);
    va_end(arguments);
    return status;
}

void mc_notes_free(mc_notes *notes)
{
    for (size_t i = 0; i < notes->count; i++)
        mc_free(notes->lines[i]);
    mc_free(notes->lines);
    *notes = (mc_notes){0};
}

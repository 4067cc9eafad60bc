/* JSON lines: one object per line. */
#include "base/json.h"
#include "base/memory.h"
#include "glue/readers.h"

#include <string.h>

/* The members of the current object, in order; the arrays are reused. */
typedef struct members {
    const char **names;
    const json_t **values;
    size_t count, name_capacity, value_capacity;
} members;

static mc_status list_members(json_t *object, members *m, mc_error *error)
{
    const char *name;
    json_t *value;
    m->count = 0;
    json_object_foreach(object, name, value)
    {
        if (!MC_GROW(m->names, m->count, m->name_capacity) ||
            !MC_GROW(m->values, m->count, m->value_capacity))
            return mc_fail_memory(error);
        m->names[m->count] = name;
        m->values[m->count++] = value;
    }
    return MC_OK;
}

/*
 * Texts are written to *room, which is the line that they come from: quotes and escapes make the
 * line longer than its texts.
 */
static mc_status make_cell(const char *name, const json_t *value, char **room, mc_cell *cell,
                           mc_error *error)
{
    if (json_is_string(value)) {
        const size_t size = json_string_length(value);
        memcpy(*room, json_string_value(value), size);
        *cell = (mc_cell){.kind = MC_CELL_TEXT, .text = {*room, size}};
        *room += size;
    } else if (json_is_real(value)) {
        *cell = (mc_cell){.kind = MC_CELL_REAL, .real = json_real_value(value)};
    } else if (json_is_integer(value) || json_is_boolean(value)) {
        const int64_t number = json_is_integer(value) ? json_integer_value(value)
                                                      : json_is_true(value);
        *cell = (mc_cell){.kind = MC_CELL_INTEGER, .integer = number};
    } else if (!json_is_null(value)) {
        return mc_fail(error, MC_FORMAT, "expected a string or a number as '%s', found %s", name,
                       json_is_object(value) ? "an object" : "a list");
    }
    return MC_OK;
}

/* Columns are looked up in each object: its members may be in any order. */
static mc_status add_object(mc_table *table, json_t *object, members *m, char *room, size_t line,
                            mc_error *error)
{
    mc_cell cells[MC_COLUMN_ROLES] = {0};
    MC_TRY(list_members(object, m, error));
    MC_TRY(mc_table_choose(table, m->names, m->count, error));
    for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++) {
        const size_t chosen = table->chosen[role];
        if (chosen != MC_NO_COLUMN) /* always, if there are no names */
            /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
            MC_TRY(make_cell(m->names[chosen], m->values[chosen], &room, &cells[role], error));
    }
    return mc_table_add(table, cells, line, error);
}

static mc_status add_line(mc_table *table, char *line, size_t size, members *m, size_t number,
                          mc_error *error)
{
    json_t *value = NULL;
    MC_TRY(mc_json_parse(line, size, &value, error));
    const mc_status status = json_is_object(value)
                                 ? add_object(table, value, m, line, number, error)
                                 : mc_fail(error, MC_FORMAT,
                                           "expected one JSON object per line, found a list");
    json_decref(value);
    return status;
}

static bool is_blank(const char *line, size_t size)
{
    while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t' || line[size - 1] == '\r'))
        size--;
    return size == 0;
}

mc_status mc_jsonl_read(mc_table *table, char *bytes, size_t size, mc_error *error)
{
    mc_status status = MC_OK;
    members m = {0};
    char *const end = bytes + size;
    bytes += mc_byte_order_mark(bytes, size);
    table->points_into_file = true;
    for (size_t line = 1; status == MC_OK && bytes < end; line++) {
        char *const newline = memchr(bytes, '\n', (size_t)(end - bytes));
        const size_t length = (size_t)((newline ? newline : end) - bytes);
        if (!is_blank(bytes, length))
            status = mc_at_line(error, line, add_line(table, bytes, length, &m, line, error));
        bytes += length + (newline != NULL);
    }
    mc_free(m.names);
    mc_free(m.values);
    return status;
}

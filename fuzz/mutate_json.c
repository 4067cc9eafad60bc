/* Mutations of JSON, value by value. What is no JSON is left to libFuzzer. */
#include "mutate.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Values that a reader may not expect where they come to stand. */
static const char *const literals[] = {
    "null",
    "true",
    "false",
    "0",
    "1",
    "2",
    "-1",
    "0.5",
    "1e300",
    "9223372036854775807",
    "-9223372036854775808",
    "4611686018427387904",
    "\"\"",
    "\"x\"",
    "\"..\"",
    "\"a/b\"",
    "\"\\u00e9\"",
    "\"F32\"",
    "\"F4\"",
    "[]",
    "{}",
    "[0]",
    "[0,0]",
    "[0,4]",
    "[[[[[[[[]]]]]]]]",
    "{\"x\":{\"x\":{}}}",
};

static json_t *draw_literal(fuzz_random *random)
{
    if (fuzz_draw(random, 4) == 0)
        return json_integer((json_int_t)fuzz_draw_number(random));
    return json_loads(literals[fuzz_draw(random, sizeof literals / sizeof *literals)],
                      JSON_DECODE_ANY, NULL);
}

/* The member or element that is drawn; 0 of nothing. */
static size_t count_of(const json_t *value)
{
    return json_is_object(value) ? json_object_size(value) : json_array_size(value);
}

static const char *draw_key(json_t *object, fuzz_random *random)
{
    void *member = json_object_iter(object);
    for (uint32_t skip = fuzz_draw(random, json_object_size(object)); skip > 0; skip--)
        member = json_object_iter_next(object, member);
    return json_object_iter_key(member);
}

static void change_object(json_t *object, fuzz_random *random)
{
    const char *const key = draw_key(object, random);
    char other[64];
    switch (fuzz_draw(random, 4)) {
    case 0:
        json_object_del(object, key);
        break;
    case 1: /* the same again by another name */
        snprintf(other, sizeof other, "%.40s%u", key, (unsigned)fuzz_draw(random, 8));
        json_object_set_new(object, other, json_deep_copy(json_object_get(object, key)));
        break;
    default:
        json_object_set_new(object, key, draw_literal(random));
    }
}

static void change_array(json_t *array, fuzz_random *random)
{
    const size_t at = fuzz_draw(random, json_array_size(array));
    switch (fuzz_draw(random, 4)) {
    case 0:
        json_array_remove(array, at);
        break;
    case 1:
        json_array_insert_new(array, at, draw_literal(random));
        break;
    default:
        json_array_set_new(array, at, draw_literal(random));
    }
}

/* Goes down by chance, and changes something where it stops. */
static void change(json_t *value, fuzz_random *random)
{
    if (count_of(value) == 0) {
        if (json_is_object(value))
            json_object_set_new(value, "x", draw_literal(random));
        else
            json_array_append_new(value, draw_literal(random));
        return;
    }
    json_t *const inner = json_is_object(value)
                              ? json_object_get(value, draw_key(value, random))
                              : json_array_get(value, fuzz_draw(random, json_array_size(value)));
    if ((json_is_object(inner) || json_is_array(inner)) && fuzz_draw(random, 3))
        change(inner, random);
    else if (json_is_object(value))
        change_object(value, random);
    else
        change_array(value, random);
}

size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t max_size, fuzz_random *random)
{
    json_t *const value = fuzz_draw(random, 3) ? json_loadb((const char *)data, size, 0, NULL)
                                               : NULL;
    if (!value)
        return LLVMFuzzerMutate(data, size, max_size);
    change(value, random);
    char *const text = json_dumps(value, JSON_COMPACT);
    json_decref(value);
    const size_t length = text ? strlen(text) : 0;
    const bool fits = length > 0 && length <= max_size;
    if (fits)
        memcpy(data, text, length);
    free(text);
    return fits ? length : LLVMFuzzerMutate(data, size, max_size);
}

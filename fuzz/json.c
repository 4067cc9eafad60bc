/* JSON with the numbers that Python writes: what is written is read as the same, and written so. */
#include "fuzz.h"

#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static void check_again(const json_t *value)
{
    json_t *again = NULL;
    char *const text = mc_json_write(value, JSON_COMPACT);
    fuzz_require(text != NULL, "it can be written");
    fuzz_require(mc_json_parse(text, strlen(text), &again, NULL) == MC_OK, "and read");
    fuzz_require(json_equal(value, again), "as the same");
    char *const same = mc_json_write(again, JSON_COMPACT);
    fuzz_require(same && strcmp(text, same) == 0, "and written as the same");
    mc_free(text);
    mc_free(same);
    json_decref(again);
}

/* The scanner accepts what the parser accepts, but for numbers that it cannot store. */
static void check_scanned(const uint8_t *data, size_t size, mc_status status, const mc_error *error)
{
    mc_scan scan = mc_scan_begin((const char *)data, 0, size);
    /* jansson takes lists and objects only. */
    const char first = mc_scan_peek(&scan);
    mc_scan_skip(&scan);
    mc_scan_end(&scan);
    fuzz_require((mc_scan_check(&scan, NULL) == MC_OK) == !scan.problem, "a problem is an error");
    if (status == MC_OK)
        fuzz_require(!scan.problem, "the scanner accepts what the parser accepts");
    else if (status == MC_FORMAT && size < 4300 && (first == '[' || first == '{') &&
             !strstr(error->text, "overflow") && !strstr(error->text, "too big") &&
             !strstr(error->text, "depth"))
        fuzz_require(scan.problem, "the scanner rejects what the parser rejects");
}

/* Names and whole numbers of an object, as the parser has them. Names are decoded in place. */
static void check_members(const uint8_t *data, size_t size, const json_t *value)
{
    char *const copy = malloc(size);
    if (!copy)
        return;
    memcpy(copy, data, size);
    mc_scan s = mc_scan_begin(copy, 0, size);
    for (bool more = mc_scan_open(&s, '{'); more; more = mc_scan_next(&s, '}')) {
        const mc_scan_text text = mc_scan_name(&s);
        const char *const name = mc_scan_keep(&s, text);
        fuzz_require(json_object_get(value, name) != NULL, "the parser has the name");
        fuzz_require(text.escaped || mc_scan_is(text, name), "a text without escapes is the text");
        const char first = mc_scan_peek(&s);
        if (first < '0' || first > '9') {
            mc_scan_skip(&s);
            continue;
        }
        const int64_t number = mc_scan_integer(mc_scan_number(&s), 1000000);
        fuzz_require(number >= -1 && number <= 1000000, "the number is within the limit");
    }
    fuzz_require(mc_scan_check(&s, NULL) == MC_OK, "all members are scanned");
    free(copy);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    json_t *value = NULL, *unique = NULL;
    const mc_status status = mc_json_parse((const char *)data, size, &value, &error);
    fuzz_check_status(status, &error); /* memory works again from here on */
    check_scanned(data, size, status, &error);
    if (status == MC_OK)
        check_again(value);
    else if (status != MC_NO_MEMORY)
        fuzz_require(mc_json_parse_unique((const char *)data, size, &unique, NULL) != MC_OK,
                     "repeated names are all that is allowed more");
    if (json_is_object(value))
        check_members(data, size, value);
    json_decref(value);
    json_decref(unique);
}

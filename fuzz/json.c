/* JSON with the numbers that Python writes: what is written is read as the same, and written so. */
#include "fuzz.h"

#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"

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
    if (status == MC_OK)
        fuzz_require(!scan.problem, "the scanner accepts what the parser accepts");
    else if (status == MC_FORMAT && size < 4300 && (first == '[' || first == '{') &&
             !strstr(error->text, "overflow") && !strstr(error->text, "too big") &&
             !strstr(error->text, "depth"))
        fuzz_require(scan.problem, "the scanner rejects what the parser rejects");
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
    json_decref(value);
    json_decref(unique);
}

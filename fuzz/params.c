/* The name of a method, and parameters as the command takes them, one a line. */
#include "fuzz.h"

#include "base/memory.h"
#include "merge/params.h"

#include <math.h>
#include <string.h>

/* What the built-in methods may lack. */
static const mc_param params_of_all_types[] = {
    {"number", MC_NUMBER, "", .minimum = -1, .maximum = 1},
    {"free", MC_NUMBER, ""},
    {"integer", MC_INTEGER, "", .minimum = 0, .maximum = 9e15},
    {"flag", MC_FLAG, ""},
    {"choice", MC_CHOICE, "", .choices = (const char *const[]){"one", "other", NULL}},
    {"each", MC_NUMBER, "", .per_input = true},
    {"flags", MC_FLAG, "", .per_input = true},
    {"choices", MC_CHOICE, "", .choices = (const char *const[]){"one", "other", NULL},
     .per_input = true},
    {0},
};
static const mc_method all_types = {.name = "all", .params = params_of_all_types};

enum { MOST_LINES = 16, MOST_BYTES = 4096 };

/* Every value, set again as a number into a copy, gives equal parameters; others are refused. */
static void check_numbers(const mc_params *params)
{
    mc_error error = MC_ERROR_NONE;
    mc_params *copy = NULL;
    if (mc_params_copy(params, &copy, &error) != MC_OK)
        return;
    for (size_t i = 0; params->method->params && params->method->params[i].name; i++) {
        const mc_param *const param = &params->method->params[i];
        for (size_t k = 0; k < params->values[i].count; k++) {
            const size_t input = param->per_input ? k : MC_ALL_INPUTS;
            const double number = params->values[i].numbers[k];
            fuzz_require(mc_params_set_number(copy, param->name, input, number, &error) == MC_OK,
                         "a value that was parsed can be set");
        }
        fuzz_require(mc_params_set_number(copy, param->name, 3, 0, &error) != MC_OK,
                     "there is no fourth model");
        fuzz_require(mc_params_set_number(copy, param->name, MC_ALL_INPUTS, (double)NAN, &error) !=
                         MC_OK,
                     "NaN is not a value");
    }
    fuzz_require(mc_params_equal(params, copy), "the copy is equal");
    fuzz_require(!mc_params_note(params) == !mc_params_note(copy), "and has the same warning");
    fuzz_require(mc_params_report(copy, false, NULL, &error) == MC_OK, "which is not an error");
    (void)mc_params_report(copy, true, NULL, &error);
    mc_params_unref(copy);
}

static void parse(const mc_method *method, const char *const *settings, size_t count)
{
    mc_params *params = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_status status = mc_params_parse(method, settings, count, 3, &params, &error);
    if (status == MC_OK) {
        fuzz_memory_back();
        char *const json = mc_params_json(params);
        fuzz_require(json && json[0] == '{', "what was parsed can be written");
        mc_free(json);
        check_numbers(params);
        mc_params_unref(mc_params_ref(params));
        mc_params_unref(params);
    } else {
        fuzz_check_status(status, &error);
        fuzz_require(status == MC_USAGE || status == MC_NO_MEMORY, "a refusal is wrong usage");
    }
}

/* All methods for each input would take many times as long. */
static const mc_method *choose(const char *name)
{
    if (strcmp(name, all_types.name) == 0)
        return &all_types;
    const mc_method *const named = mc_method_find(name);
    return named ? named : mc_method_at((unsigned char)name[0] % mc_method_count());
}

void fuzz_input(const uint8_t *data, size_t size)
{
    const char *lines[MOST_LINES] = {0};
    static char text[MOST_BYTES];
    size_t count = 0;
    const size_t length = size < sizeof text ? size : sizeof text - 1;
    if (length > 0)
        memcpy(text, data, length);
    text[length] = '\0';
    for (char *rest = text; rest && count < MOST_LINES;)
        lines[count++] = strsep(&rest, "\n");
    parse(choose(lines[0]), lines + 1, count - 1);
}

/* Parameters: what is accepted, what a method sees, and values that are set one by one. */
#include "merge/fixtures.h"

#include "base/memory.h"
#include "merge/params.h"

static const char *const choices[] = {"one", "other", NULL};

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return values[0].numbers[0] == 13 ? mc_fail(error, MC_USAGE, "13 does not fit") : MC_OK;
}

static const mc_method method = {
    .name = "m",
    .check = check,
    .params = MC_PARAMS({"number", MC_NUMBER, "", .fallback = .5, .minimum = -20, .maximum = 20},
                        {"whole", MC_INTEGER, "", .fallback = 3}, {"flag", MC_FLAG, ""},
                        {"choice", MC_CHOICE, "", .choices = choices},
                        {"weights", MC_NUMBER, "", .fallback = 1, .per_input = true},
                        {"flags", MC_FLAG, "", .fallback = 1, .per_input = true},
                        {"choices", MC_CHOICE, "", .choices = choices, .per_input = true})};

static const mc_method strict_method = {
    .name = "s",
    .params = MC_PARAMS({"needed", MC_NUMBER, "", .required = true},
                        {"each", MC_INTEGER, "", .per_input = true, .required = true})};

enum { MODELS = 3 };

static mc_params *parse(const char *setting)
{
    mc_params *params = NULL;
    assert_done(mc_params_parse(&method, &setting, setting != NULL, MODELS, &params, &error));
    return params;
}

/* Compares without blanks, and frees the parameters. */
static void assert_json(mc_params *params, const char *expected)
{
    char *const json = mc_params_json(params);
    size_t length = 0;
    for (const char *at = json; *at; at++)
        if (*at != ' ')
            json[length++] = *at;
    json[length] = '\0';
    assert_string_equal(json, expected);
    mc_free(json);
    mc_params_unref(params);
}

#define ALL(number_, whole_, flag_, choice_, weights_, flags_, choices_)                           \
    "{\"number\":" number_ ",\"whole\":" whole_ ",\"flag\":" flag_ ",\"choice\":" choice_          \
    ",\"weights\":" weights_ ",\"flags\":" flags_ ",\"choices\":" choices_ "}"

static void test_values(void **state)
{
    (void)state;
    assert_json(parse(NULL), ALL("0.5", "3", "false", "\"one\"", "[1,1,1]", "[true,true,true]",
                                 "[\"one\",\"one\",\"one\"]"));
    assert_json(parse("weights=.25"), ALL("0.5", "3", "false", "\"one\"", "[0.25,0.25,0.25]",
                                          "[true,true,true]", "[\"one\",\"one\",\"one\"]"));
    assert_json(parse("weights=[1, 2, .5]"), ALL("0.5", "3", "false", "\"one\"", "[1,2,0.5]",
                                                 "[true,true,true]", "[\"one\",\"one\",\"one\"]"));
    assert_json(parse("flags=no,on,0"), ALL("0.5", "3", "false", "\"one\"", "[1,1,1]",
                                            "[false,true,false]", "[\"one\",\"one\",\"one\"]"));
    assert_json(parse("choices=other,one,other"),
                ALL("0.5", "3", "false", "\"one\"", "[1,1,1]", "[true,true,true]",
                    "[\"other\",\"one\",\"other\"]"));
    assert_json(parse("whole=9007199254740992"),
                ALL("0.5", "9007199254740992", "false", "\"one\"", "[1,1,1]", "[true,true,true]",
                    "[\"one\",\"one\",\"one\"]"));
    assert_json(parse("whole=1e3"), ALL("0.5", "1000", "false", "\"one\"", "[1,1,1]",
                                        "[true,true,true]", "[\"one\",\"one\",\"one\"]"));
}

static mc_status refused(const char *setting, mc_error *error)
{
    mc_params *params = NULL;
    return mc_params_parse(&method, &setting, 1, MODELS, &params, error);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_error(MC_USAGE, "expected one value, or one per model (3), found 2",
                 refused("weights=1,2", &error));
    assert_error(MC_USAGE, "(3), found 4", refused("weights=1,2,3,4", &error));
    assert_error(MC_USAGE, "expected a number, found ''", refused("weights=1,2,", &error));
    assert_error(MC_USAGE, "expected true or false, found '2'", refused("flags=1,2,0", &error));
    assert_error(MC_USAGE, "expected one of one, other", refused("choices=one,1,other", &error));
    assert_error(MC_USAGE, "found '1,2'", refused("number=1,2", &error));
    assert_error(MC_USAGE, "13 does not fit", refused("number=13", &error));
    /* Above 2^53 a double would be another number than the one that was asked for. */
    assert_error(MC_USAGE, "a whole number of at most 2^53 in magnitude, found '9007199254740993'",
                 refused("whole=9007199254740993", &error));
    assert_error(MC_USAGE, "2^53", refused("whole=-9007199254740993", &error));
    assert_error(MC_USAGE, "2^53", refused("whole=9007199254740993.0", &error));
    assert_error(MC_USAGE, "2^53", refused("whole=1e16", &error));
    assert_error(MC_USAGE, "2^53", refused("whole=99999999999999999999999", &error));
    assert_error(MC_USAGE, "2^53", refused("whole= 1", &error));
    assert_error(MC_USAGE, "2^53", refused("whole=1.5", &error));
}

static void test_required(void **state)
{
    static const char *const one[] = {"needed=1"}, *const both[] = {"needed=1", "each=2"};
    mc_params *params = NULL;
    (void)state;
    assert_error(MC_USAGE, "parameter 'needed' is required",
                 mc_params_parse(&strict_method, NULL, 0, 2, &params, &error));
    assert_error(MC_USAGE, "parameter 'each' is required",
                 mc_params_parse(&strict_method, one, 1, 2, &params, &error));
    assert_done(mc_params_parse(&strict_method, both, 2, 2, &params, &error));
    assert_json(params, "{\"needed\":1,\"each\":[2,2]}");
    assert_done(mc_params_new(&strict_method, 2, &params, &error));
    assert_done(mc_params_set_number(params, "needed", MC_ALL_INPUTS, 1, &error));
    assert_done(mc_params_set_text(params, "each", 1, "7", &error));
    assert_error(MC_USAGE, "'each' is required", mc_params_check(params, &error));
    assert_done(mc_params_set_number(params, "each", 0, 6, &error));
    assert_done(mc_params_check(params, &error));
    assert_json(params, "{\"needed\":1,\"each\":[6,7]}");
}

/* New values are bound to a copy; the shared original stays what it was. */
static void test_setting(void **state)
{
    mc_params *const shared = parse("weights=1,2,3");
    mc_params *copy = NULL;
    (void)state;
    assert_done(mc_params_copy(shared, &copy, &error));
    assert_true(mc_params_equal(shared, copy));
    assert_done(mc_params_set_number(copy, "weights", 1, .5, &error));
    assert_false(mc_params_equal(shared, copy));
    assert_true(copy->values[4].numbers[1] == .5 && shared->values[4].numbers[1] == 2);
    assert_done(mc_params_set_text(copy, "choice", MC_ALL_INPUTS, "other", &error));
    assert_done(mc_params_set_number(copy, "flag", MC_ALL_INPUTS, 1, &error));
    assert_error(MC_USAGE, "index of a choice",
                 mc_params_set_number(copy, "choice", MC_ALL_INPUTS, 2, &error));
    assert_error(MC_USAGE, "index of a choice", mc_params_set_number(copy, "flags", 0, .5, &error));
    assert_error(MC_USAGE, "one for a single model",
                 mc_params_set_number(copy, "number", 0, 1, &error));
    assert_error(MC_USAGE, "expected a model below 3, found 3",
                 mc_params_set_number(copy, "weights", 3, 1, &error));
    assert_error(MC_USAGE, "from -20 to 20, found '21'",
                 mc_params_set_number(copy, "number", MC_ALL_INPUTS, 21, &error));
    assert_error(MC_USAGE, "did you mean 'weights'?",
                 mc_params_set_number(copy, "weight", 0, 1, &error));
    assert_done(mc_params_set_number(copy, "number", MC_ALL_INPUTS, 13, &error));
    assert_error(MC_USAGE, "13 does not fit", mc_params_check(copy, &error));
    assert_done(mc_params_set_number(copy, "number", MC_ALL_INPUTS, 1, &error));
    assert_json(copy, ALL("1", "3", "true", "\"other\"", "[1,0.5,3]", "[true,true,true]",
                          "[\"one\",\"one\",\"one\"]"));
    mc_params_unref(mc_params_ref(shared));
    mc_params_unref(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_setting),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}

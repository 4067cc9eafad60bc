/* Tables from the ids of a result to the rows of models, and the tensors that they give. */
#include "merge/token_map.h"

#include "base/error.h"
#include "merge/report.h"
#include "merge/vocabularies.h"

#include <math.h>

/* a b | b a c | a b and two added tokens, with rows to spare. */
static const vocabulary three[] = {
    {"\"a\": 0, \"b\": 1", NULL, 2, 0, NULL},
    {"\"b\": 0, \"a\": 1, \"c\": 2", NULL, 3, 10, NULL},
    {"\"a\": 0, \"b\": 1",
     "{\"id\": 2, \"content\": \"<x>\", \"special\": true}, {\"id\": 3, \"content\": \"<y>\"}", 8,
     100, NULL}};

static mc_token_map_choice choice_of(const models *m)
{
    return (mc_token_map_choice){
        .models = m->owners, .count = m->count, .base = m->count, .unite = true};
}

/* The rows of every model; NaN is not a row. */
static void check_rows(const models *m, const mc_token_map_choice *choice, size_t rows,
                       const float expected[][8])
{
    static const char name[] = "model.embed_tokens.weight";
    mc_source *sources[MOST_MODELS] = {0}, *made[MOST_MODELS] = {0};
    mc_token_map *map = NULL;
    assert_done(mc_token_map_new(choice, &map, m->report, &error));
    for (size_t i = 0; i < m->count; i++)
        sources[i] = mc_state_dict_find(mc_model_state_dict(m->models[i]), name);
    assert_done(mc_token_map_tensors(map, name, sources, made, &error));
    for (size_t i = 0; i < m->count; i++) {
        float found[8];
        assert_int_equal(mc_source_count(made[i]), rows);
        assert_done(mc_source_read_f32(made[i], 0, (int64_t)rows, found, &error));
        for (size_t r = 0; r < rows; r++)
            if (found[r] != expected[i][r])
                fail_msg("model %zu, row %zu: expected %g, found %g", i, r, (double)expected[i][r],
                         (double)found[r]);
        mc_source_unref(made[i]);
    }
    mc_token_map_free(map);
}

static void test_union(void **state)
{
    (void)state;
    models m = models_new(three, 3);
    mc_token_map_choice choice = choice_of(&m);
    /* a b c <x> <y>: the row of the only model that has the token stands in. */
    check_rows(
        &m, &choice, 5,
        (const float[][8]){{0, 1, 12, 102, 103}, {11, 10, 12, 102, 103}, {100, 101, 12, 102, 103}});
    assert_reported(m.report, "3 tokens added to those of 'm0'; 5 rows");
    assert_reported(m.report, "3 tokens are not in every model");
    /* The ids of another model: b a c <x> <y>; padded rows are the mean of the others. */
    choice.target = 1;
    choice.pad_to_multiple_of = 6;
    check_rows(&m, &choice, 6,
               (const float[][8]){{1, 0, 12, 102, 103, 43.6F},
                                  {10, 11, 12, 102, 103, 47.6F},
                                  {101, 100, 12, 102, 103, 83.6F}});
    /* Only the target's tokens: others are dropped, and that is reported. */
    choice = choice_of(&m);
    choice.unite = false;
    check_rows(&m, &choice, 2, (const float[][8]){{0, 1}, {11, 10}, {100, 101}});
    assert_reported(m.report, "1 token of 'm1' left out: not in that of 'm0'");
    assert_reported(m.report, "2 tokens of 'm2' left out: not in that of 'm0'");
    models_free(&m);
}

/* A token that two models have and one lacks: the base's row, else the mean. */
static void test_stand_in(void **state)
{
    (void)state;
    const vocabulary all[] = {{"\"a\": 0", NULL, 1, 0, NULL},
                              {"\"a\": 0, \"t\": 1", NULL, 2, 10, NULL},
                              {"\"t\": 0, \"a\": 1", NULL, 2, 20, NULL}};
    models m = models_new(all, 3);
    mc_token_map_choice choice = choice_of(&m);
    check_rows(&m, &choice, 2, (const float[][8]){{0, 15.5F}, {10, 11}, {21, 20}});
    choice.base = 2;
    check_rows(&m, &choice, 2, (const float[][8]){{0, 20}, {10, 11}, {21, 20}});
    models_free(&m);
}

static void test_rules(void **state)
{
    (void)state;
    models m = models_new(three, 2);
    mc_token_map_choice choice = choice_of(&m);
    /* In the order of a b c <z> <s> <r>. */
    const mc_token_rule rules[] = {
        {.token = "<z>", .kind = MC_TOKEN_ZERO},
        {.token = "<s>", .kind = MC_TOKEN_OTHER, .model = 1, .other = "c"},
        {.token = "<r>", .kind = MC_TOKEN_ROW, .model = 1, .row = 1},
        {.token = "a", .kind = MC_TOKEN_SAME, .model = 1, .force = true},
        {.token = "b", .kind = MC_TOKEN_ZERO}};
    choice.rules = rules;
    choice.rule_count = sizeof rules / sizeof *rules;
    check_rows(&m, &choice, 6, (const float[][8]){{11, 1, 12, 0, 12, 11}, {11, 10, 12, 0, 12, 11}});
    models_free(&m);
}

static void check_error(const models *m, const mc_token_rule *rules, size_t count, mc_status status,
                        const char *part)
{
    mc_token_map_choice choice = choice_of(m);
    mc_token_map *map = NULL;
    choice.rules = rules;
    choice.rule_count = count;
    assert_error(status, part, mc_token_map_new(&choice, &map, m->report, &error));
    assert_null(map);
}

static void test_errors(void **state)
{
    (void)state;
    models m = models_new(three, 2);
    const mc_token_rule nobody = {.token = "<n>"}, empty = {.token = "", .kind = MC_TOKEN_ZERO},
                        without = {.token = "c", .kind = MC_TOKEN_SAME},
                        beyond = {.token = "<n>", .kind = MC_TOKEN_ROW, .row = 2},
                        twice[] = {{.token = "a", .kind = MC_TOKEN_ZERO}, {.token = "a"}};
    check_error(&m, &nobody, 1, MC_MISMATCH, "token '<n>': no model has it");
    check_error(&m, &empty, 1, MC_USAGE, "expected a token");
    check_error(&m, &without, 1, MC_MISMATCH, "expected its row in 'm0', which has no token 'c'");
    check_error(&m, &beyond, 1, MC_MISMATCH, "expected a row below 2 of 'm0', found 2");
    check_error(&m, twice, 2, MC_USAGE, "two sources for one token");
    models_free(&m);
}

/* A vocabulary that cannot be read, and the same error for any number of threads. */
static void test_malformed(void **state)
{
    (void)state;
    const vocabulary all[] = {three[0], {"\"a\": -1", NULL, 1, 0, NULL}, {"\"", NULL, 1, 0, NULL}};
    models m = models_new(all, 3);
    const mc_token_map_choice choice = choice_of(&m);
    mc_token_map *map = NULL;
    assert_error(MC_FORMAT, "m1/tokenizer.json: token 'a'",
                 mc_token_map_new(&choice, &map, m.report, &error));
    models_free(&m);
}

/* A model without tokenizer files has the target's tokens, which is reported. */
static void test_without_files(void **state)
{
    (void)state;
    const vocabulary all[] = {three[1], {NULL, NULL, 3, 50, NULL}};
    models m = models_new(all, 2);
    mc_token_map_choice choice = choice_of(&m);
    mc_token_map *map = NULL;
    check_rows(&m, &choice, 3, (const float[][8]){{10, 11, 12}, {50, 51, 52}});
    assert_reported(m.report, "'m1' has no tokenizer files");
    choice.strict = true;
    assert_error(MC_MISMATCH, "has no tokenizer files",
                 mc_token_map_new(&choice, &map, m.report, &error));
    choice.strict = false;
    choice.target = 1;
    assert_error(MC_UNSUPPORTED, "expected a tokenizer.json",
                 mc_token_map_new(&choice, &map, m.report, &error));
    models_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_union),     cmocka_unit_test(test_stand_in),
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_without_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

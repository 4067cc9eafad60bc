/*
 * Where oneDNN is missing: one line that says what to install. The library's place is taken by a
 * file that is none (CMakeLists.txt).
 */
#include "merge/fixtures.h"

#include "base/json.h"
#include "nn/encoder.h"

static void test_says_what_to_install(void **state)
{
    (void)state;
    json_t *config = NULL;
    mc_state_dict *weights = NULL;
    mc_encoder *encoder = NULL;
    assert_done(mc_json_load(MC_TEST_DATA "/nn/bert/config.json", 1 << 20, &config, &error));
    assert_done(mc_state_dict_open(MC_TEST_DATA "/nn/bert", &weights, &error));
    assert_done(mc_encoder_new(config, "config.json", MC_F32, &encoder, &error));
    static const char part[] = "oneDNN (Debian's package libdnnl";
    assert_error(MC_UNSUPPORTED, part, mc_encoder_load(encoder, weights, 2, NULL, &error));
    assert_error(MC_UNSUPPORTED, part, mc_encoder_load(encoder, weights, 2, NULL, &error));
    mc_encoder_free(encoder);
    assert_error(MC_UNSUPPORTED, part,
                 mc_encoder_new(config, "config.json", MC_BF16, &encoder, &error));
    mc_state_dict_free(weights);
    json_decref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_says_what_to_install)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

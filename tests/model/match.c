/* Names of one tensor in two models. */
#include <mergecraft/model.h>

#include "model/match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(list_) (sizeof(list_) / sizeof *(list_))

/* Expects wanted[i] to be found as partners[i]; NULL: not at all. */
static void assert_matches(const char *const *wanted, const char *const *partners, size_t count,
                           const char *const *available, size_t available_count)
{
    size_t found[32];
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_names_match(wanted, count, available, available_count, found, &error),
                     MC_OK);
    for (size_t i = 0; i < count; i++) {
        const char *const name = found[i] == SIZE_MAX ? NULL : available[found[i]];
        if (!name != !partners[i] || (name && strcmp(name, partners[i]) != 0))
            fail_msg("%s: expected %s, found %s", wanted[i], partners[i] ? partners[i] : "nothing",
                     name ? name : "nothing");
    }
}

/* Pairs of names of one tensor: each pair matches in both directions. */
static void assert_same(const char *const (*pairs)[2], size_t count)
{
    const char *left[32], *right[32];
    for (size_t i = 0; i < count; i++) {
        left[i] = pairs[i][0];
        right[i] = pairs[i][1];
    }
    assert_matches(left, right, count, right, count);
    assert_matches(right, left, count, left, count);
}

static void test_versions(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"},
        {"bert.embeddings.LayerNorm.beta", "bert.embeddings.LayerNorm.bias"},
        {"conv.weight_g", "conv.parametrizations.weight.original0"},
        {"conv.weight_v", "conv.parametrizations.weight.original1"},
        {"spectral.weight_orig", "spectral.parametrizations.weight.original"},
        {"spectral.weight_u", "spectral.parametrizations.weight.0._u"},
        {"language_model.model.layers.0.q.weight", "model.language_model.layers.0.q.weight"},
        {"language_model.lm_head.weight", "lm_head.weight"},
        {"vision_tower.patch.weight", "model.vision_tower.patch.weight"},
        {"multi_modal_projector.linear_1.weight", "model.multi_modal_projector.linear_1.weight"},
        {"cls.predictions.decoder.bias", "cls.predictions.bias"},
        {"model.layers.0.block_sparse_moe.gate.weight", "model.layers.0.mlp.gate.weight"},
        {"shared.weight", "encoder.embed_tokens.weight"},
    };
    assert_same(pairs, COUNT(pairs));
}

static void test_vision(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"encoder.layer.0.attention.attention.query.weight", "layers.0.attention.q_proj.weight"},
        {"encoder.layer.0.attention.output.dense.weight", "layers.0.attention.o_proj.weight"},
        {"encoder.layer.0.intermediate.dense.weight", "layers.0.mlp.fc1.weight"},
        {"encoder.layer.0.output.dense.weight", "layers.0.mlp.fc2.weight"},
    };
    assert_same(pairs, COUNT(pairs));
}

/* Parts that were compiled or wrapped by themselves. */
static void test_wrappers(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"encoder.layer.0._orig_mod.output.dense.weight", "encoder.layer.0.output.dense.weight"},
        {"encoder.layer.1._checkpoint_wrapped_module.output.dense.weight",
         "encoder.layer.1.output.dense.weight"},
        {"encoder.layer.2._fsdp_wrapped_module._checkpoint_wrapped_module.output.dense.weight",
         "layers.2.fc2.weight"},
    };
    assert_same(pairs, COUNT(pairs));
}

/* A prefix and old names at once. */
static void test_prefix(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"},
        {"embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight"},
        {"encoder.layer.0.output.LayerNorm.beta", "bert.encoder.layer.0.output.LayerNorm.bias"},
    };
    assert_same(pairs, COUNT(pairs));
}

/* A name that fits two tensors fits none; a tensor with its own name keeps it. */
static void test_not_guessed(void **state)
{
    (void)state;
    static const char *const wanted[] = {"norm.weight"};
    static const char *const both[] = {"norm.gamma", "norm.weight"};
    static const char *const none[] = {NULL}, *const same[] = {"norm.weight"};
    assert_matches(wanted, same, 1, both, 2);
    static const char *const twice[] = {"a.weight_v", "a.parametrizations.weight.0._v"};
    static const char *const original[] = {"a.parametrizations.weight.original1"};
    assert_matches(original, none, 1, twice, 2);
    static const char *const shared[] = {"shared.weight", "encoder.embed_tokens.weight"};
    static const char *const plain[] = {"shared.weight"};
    static const char *const first[] = {"shared.weight", NULL};
    assert_matches(shared, first, 2, plain, 1);
    static const char *const other[] = {"classifier.weight"};
    assert_matches(other, none, 1, both, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),    cmocka_unit_test(test_vision),
        cmocka_unit_test(test_wrappers),    cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_not_guessed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * What tensors are. tests/data/model/names has the tensors that transformers saves for a tiny model
 * of each type, and what transformers knows of each (make_names.py); roles that it does not know
 * are written here, by the models' papers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/parts.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_role(const char *file, const char *name, const char *fact, mc_part_role role,
                       bool in_block)
{
    const bool norm = strcmp(fact, "norm") == 0, input = strcmp(fact, "input") == 0;
    const bool output = strcmp(fact, "output") == 0;
    /* BatchNorm's statistics are buffers of a norm. */
    if (norm && role != MC_PART_NORM && role != MC_PART_BUFFER)
        fail_msg("%s: %s: expected a norm, found %s", file, name, mc_part_role_text(role));
    if (input && role != MC_PART_INPUT_EMBEDDING)
        fail_msg("%s: %s: expected the input embedding, found %s", file, name,
                 mc_part_role_text(role));
    if (output && role != MC_PART_OUTPUT_HEAD)
        fail_msg("%s: %s: expected the output head, found %s", file, name, mc_part_role_text(role));
    if (strcmp(fact, "unknown") != 0 && !norm && role == MC_PART_NORM)
        fail_msg("%s: %s: expected no norm (%s)", file, name, fact);
    if (in_block && (strcmp(fact, "linear") == 0 || strcmp(fact, "transposed") == 0) &&
        role == MC_PART_OTHER)
        fail_msg("%s: %s: expected a role, found none", file, name);
}

static void check_line(const char *file, const char *type, char *line)
{
    const char *const name = strtok(line, "\t"), *const shape = strtok(NULL, "\t");
    const char *const fact = strtok(NULL, "\t"), *const block = strtok(NULL, "\n");
    assert_true(name && shape && fact && block);
    const mc_part part = mc_part_of(type, name), inferred = mc_part_of(NULL, name);
    check_role(file, name, fact, part.role, part.block >= 0);
    assert_int_equal(part.role, inferred.role);
    const int expected = block[0] == '-' ? -1 : atoi(block);
    if (block[0] != '?' && part.block != expected)
        fail_msg("%s: %s: expected block %d, found %d", file, name, expected, part.block);
    const bool transposed = strcmp(fact, "transposed") == 0 && strchr(shape, 'x');
    if (part.transposed != transposed)
        fail_msg("%s: %s: expected transposed %d, found %d", file, name, transposed,
                 part.transposed);
    /* The tiny vocabularies have 99 tokens, which nothing else has. */
    const int axis = strncmp(shape, "99", 2) == 0 ? 0 : strcmp(shape, "1x99") == 0 ? 1 : -1;
    if (part.vocabulary_axis != axis)
        fail_msg("%s: %s [%s]: expected vocabulary axis %d, found %d", file, name, shape, axis,
                 part.vocabulary_axis);
}

static void check_file(const char *file)
{
    char path[512], line[512], type[64] = "", prefix[64] = "";
    snprintf(path, sizeof path, MC_TEST_DATA "/model/names/%s", file);
    FILE *const stream = fopen(path, "r");
    assert_non_null(stream);
    assert_non_null(fgets(line, sizeof line, stream));
    assert_true(sscanf(line, "# %63s %63s", type, prefix) >= 1);
    const char *const known = mc_encoder_prefix(type);
    if (!known)
        fail_msg("%s: expected a row for '%s'", file, type);
    size_t with = 0;
    while (fgets(line, sizeof line, stream)) {
        with += *known && strncmp(line, known, strlen(known)) == 0;
        check_line(file, type, line);
    }
    fclose(stream);
    /* base_model_prefix, where names have it at all. */
    if (*known && (strncmp(known, prefix, strlen(prefix)) != 0 || with == 0))
        fail_msg("%s: expected the prefix '%s.', found '%s'", file, prefix, known);
}

static void test_saved_names(void **state)
{
    (void)state;
    DIR *const folder = opendir(MC_TEST_DATA "/model/names");
    size_t count = 0;
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') {
            check_file(entry->d_name);
            count++;
        }
    closedir(folder);
    assert_true(count >= 29);
}

typedef struct expectation {
    const char *name;
    mc_part_role role;
    int block, expert;
} expectation;

static void test_roles(void **state)
{
    (void)state;
    static const expectation all[] = {
        {"bert.encoder.layer.7.attention.self.query.weight", MC_PART_QUERY, 7, -1},
        {"bert.encoder.layer.7.attention.output.dense.bias", MC_PART_ATTENTION_OUT, 7, -1},
        {"bert.encoder.layer.7.intermediate.dense.weight", MC_PART_MLP_UP, 7, -1},
        {"bert.encoder.layer.7.output.dense.weight", MC_PART_MLP_DOWN, 7, -1},
        {"bert.pooler.dense.weight", MC_PART_HEAD, -1, -1},
        {"cls.predictions.transform.dense.weight", MC_PART_HEAD, -1, -1},
        {"classifier.0.weight", MC_PART_HEAD, -1, -1},
        {"bert.embeddings.position_ids", MC_PART_BUFFER, -1, -1},
        {"distilbert.transformer.layer.0.attention.v_lin.weight", MC_PART_VALUE, 0, -1},
        {"distilbert.transformer.layer.0.ffn.lin2.weight", MC_PART_MLP_DOWN, 0, -1},
        {"deberta.encoder.rel_embeddings.weight", MC_PART_POSITION_EMBEDDING, -1, -1},
        {"model.layers.3.attn.Wqkv.weight", MC_PART_QUERY_KEY_VALUE, 3, -1},
        {"model.layers.3.mlp.Wi.weight", MC_PART_MLP_GATE_UP, 3, -1},
        {"model.layers.3.mlp.Wo.weight", MC_PART_MLP_DOWN, 3, -1},
        {"model.layers.3.attn.Wo.weight", MC_PART_ATTENTION_OUT, 3, -1},
        {"decoder.block.5.layer.1.EncDecAttention.o.weight", MC_PART_ATTENTION_OUT, 5, -1},
        {"encoder.block.5.layer.1.DenseReluDense.wi_0.weight", MC_PART_MLP_GATE, 5, -1},
        {"encoder.block.5.layer.1.DenseReluDense.wi_1.weight", MC_PART_MLP_UP, 5, -1},
        {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
         MC_PART_POSITION_EMBEDDING, 0, -1},
        {"h.11.attn.c_attn.weight", MC_PART_QUERY_KEY_VALUE, 11, -1},
        {"h.11.attn.c_proj.weight", MC_PART_ATTENTION_OUT, 11, -1},
        {"h.11.mlp.c_proj.weight", MC_PART_MLP_DOWN, 11, -1},
        {"h.11.attn.bias", MC_PART_BUFFER, 11, -1},
        {"gpt_neox.layers.2.attention.dense.weight", MC_PART_ATTENTION_OUT, 2, -1},
        {"embed_out.weight", MC_PART_OUTPUT_HEAD, -1, -1},
        {"model.layers.31.self_attn.o_proj.weight", MC_PART_ATTENTION_OUT, 31, -1},
        {"model.layers.31.self_attn.q_norm.weight", MC_PART_NORM, 31, -1},
        {"model.layers.0.mlp.gate.weight", MC_PART_ROUTER, 0, -1},
        {"model.layers.0.mlp.experts.127.gate_proj.weight", MC_PART_MLP_GATE, 0, 127},
        {"model.layers.0.mlp.experts.gate_up_proj", MC_PART_MLP_GATE_UP, 0, MC_ALL_EXPERTS},
        {"model.layers.0.mlp.experts.down_proj", MC_PART_MLP_DOWN, 0, MC_ALL_EXPERTS},
        {"model.layers.4.block_sparse_moe.experts.6.w2.weight", MC_PART_MLP_DOWN, 4, 6},
        {"model.layers.4.block_sparse_moe.gate.weight", MC_PART_ROUTER, 4, -1},
        {"backbone.layers.9.mixer.A_log", MC_PART_STATE_SPACE, 9, -1},
        {"backbone.layers.9.mixer.out_proj.weight", MC_PART_STATE_SPACE, 9, -1},
        {"vision_model.encoder.layers.1.mlp.fc1.weight", MC_PART_MLP_UP, 1, -1},
        {"visual_projection.weight", MC_PART_HEAD, -1, -1},
        {"vit.embeddings.patch_embeddings.projection.weight", MC_PART_PATCH_EMBEDDING, -1, -1},
        {"vit.embeddings.position_embeddings", MC_PART_POSITION_EMBEDDING, -1, -1},
        {"model.decoder.layers.3.encoder_attn.v_proj.bias", MC_PART_VALUE, 3, -1},
        {"proj_out.weight", MC_PART_OUTPUT_HEAD, -1, -1},
        {"wav2vec2.feature_extractor.conv_layers.6.conv.weight", MC_PART_CONVOLUTION, 6, -1},
        {"wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
         MC_PART_POSITION_EMBEDDING, -1, -1},
        {"wav2vec2.encoder.layers.0.feed_forward.output_dense.weight", MC_PART_MLP_DOWN, 0, -1},
        {"resnet.encoder.stages.1.layers.0.layer.0.normalization.running_mean", MC_PART_BUFFER, 1,
         -1},
        {"", MC_PART_OTHER, -1, -1},
        {".", MC_PART_OTHER, -1, -1},
        {"layers.99999999.x", MC_PART_OTHER, -1, -1},
        {"something.unheard.of", MC_PART_OTHER, -1, -1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const mc_part part = mc_part_of(NULL, all[i].name);
        if (part.role != all[i].role || part.block != all[i].block || part.expert != all[i].expert)
            fail_msg("%s: expected %s, block %d, expert %d; found %s, %d, %d", all[i].name,
                     mc_part_role_text(all[i].role), all[i].block, all[i].expert,
                     mc_part_role_text(part.role), part.block, part.expert);
    }
}

/* Who renumbers blocks finds the number by these lengths. */
static void test_stacks(void **state)
{
    (void)state;
    const mc_part part = mc_part_of("t5", "decoder.block.12.layer.1.EncDecAttention.q.weight");
    assert_int_equal(part.stack_length, strlen("decoder.block."));
    assert_int_equal(part.number_length, 2);
    assert_int_equal(mc_part_of("t5", "shared.weight").number_length, 0);
}

static void add(mc_state_dict *dict, const char *name)
{
    static const float value = 1;
    mc_source *source = NULL;
    const int64_t shape[] = {1};
    assert_int_equal(mc_source_wrap(MC_F32, 1, shape, &value, NULL, NULL, &source, NULL), MC_OK);
    assert_int_equal(mc_state_dict_set(dict, name, source, NULL), MC_OK);
    mc_source_unref(source);
}

static void test_tied(void **state)
{
    (void)state;
    mc_state_dict *dict = NULL;
    assert_int_equal(mc_state_dict_new(&dict, NULL), MC_OK);
    add(dict, "model.norm.weight");
    assert_null(mc_tied_partner("llama", dict, "lm_head.weight"));
    add(dict, "model.embed_tokens.weight");
    assert_string_equal(mc_tied_partner("llama", dict, "lm_head.weight"),
                        "model.embed_tokens.weight");
    assert_null(mc_tied_partner("llama", dict, "lm_head.bias"));
    assert_null(mc_tied_partner("llama", dict, "model.norm.weight"));
    mc_state_dict_free(dict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_names),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_stacks),
        cmocka_unit_test(test_tied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Model folders as people have them: which weight files are read, what is noted, what is refused.
 * Quantised weights with their configuration.
 */
#include "files.h"

#include "base/descriptor.h"
#include "base/json.h"
#include "checkpoint/stored.h"
#include "tensor/source.h"

static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = make_folder();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

/* ---- files ---- */

static void put(const char *name, const char *bytes, size_t size)
{
    char *const path = join(folder, name);
    save_file(path, bytes, size);
    free(path);
}

/* A safetensors file of one float32 tensor of one element. */
static void put_tensor(const char *file, const char *tensor, float value)
{
    char header[256], bytes[512];
    const int size = snprintf(header, sizeof header,
                              "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                              tensor);
    const uint64_t length = (uint64_t)size;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, (size_t)size);
    memcpy(bytes + 8 + size, &value, 4);
    put(file, bytes, (size_t)size + 12);
}

static void put_index(const char *file, const char *tensor, const char *shard)
{
    char text[256];
    const int size = snprintf(text, sizeof text, "{\"weight_map\": {\"%s\": \"%s\"}}", tensor,
                              shard);
    put(file, text, (size_t)size);
}

static json_t *parsed(const char *text)
{
    json_t *json = NULL;
    if (text)
        assert_int_equal(mc_json_parse(text, strlen(text), &json, NULL), MC_OK);
    return json;
}

static void copy_fixture(const char *from, const char *to)
{
    char *const path = join(CHECKPOINTS, from);
    size_t size = 0;
    char *const bytes = load_file(path, &size);
    put(to, bytes, size);
    free(bytes);
    free(path);
}

/* ---- what is expected ---- */

static void open_folder(const char *config, mc_checkpoint *out)
{
    mc_error error = MC_ERROR_NONE;
    json_t *const json = parsed(config);
    out->is_input_embedding = is_input_embedding;
    if (mc_checkpoint_open(folder, json, out, &error) != MC_OK)
        fail_msg("%s", message_of(&error));
    json_decref(json);
}

static void expect_error(const char *path, const char *config, mc_status status, const char *words)
{
    mc_error error = MC_ERROR_NONE;
    mc_checkpoint checkpoint = {0};
    json_t *const json = parsed(config);
    const mc_status found = mc_checkpoint_open(path, json, &checkpoint, &error);
    if (found != status || !strstr(message_of(&error), words))
        fail_msg("expected status %d and '%s', found %d: %s", status, words, found,
                 message_of(&error));
    mc_checkpoint_close(&checkpoint);
    json_decref(json);
}

static void expect_element(const mc_checkpoint *checkpoint, const char *name, float expected)
{
    float found = 0;
    const mc_source *const source = mc_state_dict_find(checkpoint->dict, name);
    assert_non_null(source);
    assert_int_equal(mc_source_read_f32(source, 0, 1, &found, NULL), MC_OK);
    assert_true(found == expected);
}

static bool has_note(const mc_checkpoint *checkpoint, const char *words)
{
    for (size_t i = 0; i < checkpoint->notes.count; i++)
        if (strstr(checkpoint->notes.lines[i], words))
            return true;
    return false;
}

/* ---- precedence ---- */

/* The order is transformers': the single file, then the index, and safetensors before torch. */
static void test_precedence(void **state)
{
    (void)state;
    mc_checkpoint one = {0}, two = {0}, three = {0};
    copy_fixture("flat.pt", "pytorch_model.bin");
    open_folder(NULL, &one);
    assert_non_null(mc_state_dict_find(one.dict, "w"));
    put_tensor("shard.safetensors", "x", 2);
    put_index("model.safetensors.index.json", "x", "shard.safetensors");
    open_folder(NULL, &two);
    expect_element(&two, "x", 2);
    assert_true(has_note(&two, "ignores pytorch_model.bin"));
    put_tensor("model.safetensors", "x", 1);
    open_folder(NULL, &three);
    expect_element(&three, "x", 1);
    assert_int_equal(three.notes.count, 2);
    assert_true(has_note(&three, "ignores model.safetensors.index.json"));
    mc_checkpoint_close(&one);
    mc_checkpoint_close(&two);
    mc_checkpoint_close(&three);
}

/* An index whose shards are gone does not matter beside a complete file. */
static void test_stale_index(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    put_index("model.safetensors.index.json", "x", "gone.safetensors");
    expect_error(folder, NULL, MC_NOT_FOUND, "gone.safetensors");
    put_tensor("model.safetensors", "x", 1);
    open_folder(NULL, &checkpoint);
    expect_element(&checkpoint, "x", 1);
    mc_checkpoint_close(&checkpoint);
}

/* A file that is gone from a cache must not be replaced by another one in silence. */
static void test_dangling(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    char *const link = join(folder, "model.safetensors");
    put_tensor("diffusion_pytorch_model.safetensors", "x", 2);
    assert_int_equal(symlink("gone", link), 0);
    free(link);
    open_folder(NULL, &checkpoint);
    expect_element(&checkpoint, "x", 2);
    assert_true(has_note(&checkpoint, "not a readable file"));
    mc_checkpoint_close(&checkpoint);
}

static void test_named_file(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    put_tensor("model.safetensors", "x", 1);
    put_tensor("other.safetensors", "x", 2);
    open_folder("{\"transformers_weights\": \"other.safetensors\"}", &checkpoint);
    expect_element(&checkpoint, "x", 2);
    expect_error(folder, "{\"transformers_weights\": \"../x\"}", MC_FORMAT, "inside the folder");
    expect_error(folder, "{\"transformers_weights\": \"none\"}", MC_NOT_FOUND, "'none'");
    mc_checkpoint_close(&checkpoint);
}

/* ---- adapters ---- */

static void test_adapters(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    static const char config[] = "{\"base_model_name_or_path\": \"org/base\"}";
    put("adapter_config.json", config, sizeof config - 1);
    expect_error(folder, NULL, MC_UNSUPPORTED, "found an adapter for 'org/base'");
    put_tensor("adapter_model.safetensors", "layer.lora_A.weight", 1);
    expect_error(folder, NULL, MC_UNSUPPORTED, "found an adapter for 'org/base'");
    put_tensor("model.safetensors", "x", 1);
    open_folder(NULL, &checkpoint);
    assert_false(mc_checkpoint_is_adapter(&checkpoint));
    assert_true(has_note(&checkpoint, "ignores adapter_config.json"));
    mc_checkpoint_close(&checkpoint);
    put_tensor("model.safetensors", "layer.lora_A.weight", 1);
    open_folder(NULL, &checkpoint);
    assert_true(mc_checkpoint_is_adapter(&checkpoint));
    mc_checkpoint_close(&checkpoint);
}

/* ---- tied tensors ---- */

static void test_untied_by_configuration(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        bool kept;
    } cases[] = {
        {NULL, false},
        {"{}", false},
        {"{\"tie_word_embeddings\": true}", false},
        {"{\"tie_word_embeddings\": false}", true},
        {"{\"text_config\": {\"tie_word_embeddings\": false}}", true},
        {"{\"tie_word_embeddings\": true, \"text_config\": {\"tie_word_embeddings\": false}}",
         false},
    };
    copy_fixture("tied.pt", "pytorch_model.bin");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mc_checkpoint checkpoint = {0};
        open_folder(cases[i].config, &checkpoint);
        assert_int_equal(mc_state_dict_find(checkpoint.dict, "lm_head.weight") != NULL,
                         cases[i].kept);
        assert_int_equal(checkpoint.alias_count == 0, cases[i].kept);
        mc_checkpoint_close(&checkpoint);
    }
}

/* ---- torch files ---- */

static void test_notes_of_torch_files(void **state)
{
    (void)state;
    static const struct {
        const char *file, *words; /* NULL: nothing is noted */
    } cases[] = {
        {"averaged.pt", "reads the tensors under 'params_ema' and ignores 'params' (a dict)"},
        {"generator.pt", NULL},
        {"lightning_p2.pt", NULL},
        {"mixed.pt", "read as tensors with dotted names: 'head' (a dict)"},
        {"mixed.bin", "ignored: 'array' (a NumPy array), 'scale' (a number)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mc_checkpoint checkpoint = {0};
        char *const path = join(CHECKPOINTS, cases[i].file);
        assert_int_equal(mc_checkpoint_open(path, NULL, &checkpoint, NULL), MC_OK);
        if (cases[i].words ? !has_note(&checkpoint, cases[i].words) : checkpoint.notes.count != 0)
            fail_msg("%s: expected %s", cases[i].file, cases[i].words ? cases[i].words : "no note");
        mc_checkpoint_close(&checkpoint);
        free(path);
    }
}

static void test_refused_torch_files(void **state)
{
    (void)state;
    expect_error(CHECKPOINTS "/refused/two_dicts.pt", NULL, MC_UNSUPPORTED,
                 "several: 'generator' (a dict), 'discriminator' (a dict)");
    expect_error(CHECKPOINTS "/refused/whole_module.pt", NULL, MC_UNSUPPORTED,
                 "'net' (an object made by lightning_callbacks.Net)");
    expect_error(CHECKPOINTS "/refused/object.pt", NULL, MC_UNSUPPORTED,
                 "found an object made by lightning_callbacks.Net");
    expect_error(CHECKPOINTS "/refused/list.pt", NULL, MC_UNSUPPORTED, "found a list");
}

/* ---- quantised weights ---- */

#define FP8_CONFIG "{\"quantization_config\": {\"quant_method\": \"fp8\"}, \"dtype\": "

static void test_fp8(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    json_t *const config = parsed(FP8_CONFIG "\"float32\"}");
    copy_fixture("fp8.safetensors", "model.safetensors");
    assert_int_equal(mc_checkpoint_open(folder, config, &checkpoint, NULL), MC_OK);
    assert_true(checkpoint.dequantized && has_note(&checkpoint, "8 FP8 tensors are dequantised"));
    assert_null(json_object_get(config, "quantization_config"));
    for (size_t i = 0; i < mc_state_dict_count(checkpoint.dict); i++) {
        assert_null(strstr(mc_state_dict_name(checkpoint.dict, i), "scale"));
        assert_int_equal(mc_source_dtype(mc_state_dict_source(checkpoint.dict, i)), MC_F32);
    }
    mc_checkpoint_close(&checkpoint);
    json_decref(config);
    assert_int_equal(open_as_memory_fails(folder, 1000), MC_OK);
}

/* Any part must be the same as that part of the whole, whatever the blocks. */
static void test_fp8_parts(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    assert_int_equal(mc_checkpoint_open(CHECKPOINTS "/fp8.safetensors", NULL, &checkpoint, NULL),
                     MC_OK);
    for (size_t i = 0; i < mc_state_dict_count(checkpoint.dict); i++) {
        const mc_source *const source = mc_state_dict_source(checkpoint.dict, i);
        const int64_t count = mc_source_count(source), step = count > 100 ? 977 : 5;
        float *const whole = malloc((size_t)count * sizeof *whole);
        float *const part = malloc((size_t)count * sizeof *part);
        assert_int_equal(mc_source_read_f32(source, 0, count, whole, NULL), MC_OK);
        for (int64_t first = 0; first < count; first += step)
            for (int64_t size = 1; first + size <= count; size += step) {
                assert_int_equal(mc_source_read_f32(source, first, size, part, NULL), MC_OK);
                assert_memory_equal(part, whole + first, (size_t)size * sizeof *part);
            }
        free(whole);
        free(part);
    }
    mc_checkpoint_close(&checkpoint);
}

static void test_other_quantisations(void **state)
{
    (void)state;
    static const struct {
        const char *config, *words;
    } cases[] = {
        {"{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}}", "'gptq'"},
        {"{\"quantization_config\": {\"quant_method\": \"awq\"}}", "'awq'"},
        {"{\"quantization_config\": {\"load_in_8bit\": true}}", "'bitsandbytes'"},
        {"{\"text_config\": {\"quantization_config\": {\"quant_method\": \"hqq\"}}}", "'hqq'"},
        {"{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", "
         "\"format\": \"pack-quantized\"}}",
         "(pack-quantized)"},
        {"{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"config_groups\": "
         "{\"a\": {\"weights\": {\"type\": \"int\", \"num_bits\": 8}}}}}",
         "(int)"},
    };
    put_tensor("model.safetensors", "x", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(folder, cases[i].config, MC_UNSUPPORTED, cases[i].words);
    /* Without a configuration, by names. */
    put_tensor("model.safetensors", "layer.qweight", 1);
    expect_error(folder, NULL, MC_UNSUPPORTED, "found GPTQ or AWQ");
    put_tensor("model.safetensors", "layer.weight.SCB", 1);
    expect_error(folder, NULL, MC_UNSUPPORTED, "bitsandbytes");
    put_tensor("model.safetensors", "layer.W_q", 1);
    expect_error(folder, NULL, MC_UNSUPPORTED, "HQQ");
}

/* A configuration left over from a model that was dequantised: the output would not be read. */
static void test_declared_but_float(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    json_t *const config = parsed(FP8_CONFIG "\"bfloat16\"}");
    put_tensor("model.safetensors", "layer.weight", 1);
    assert_int_equal(mc_checkpoint_open(folder, config, &checkpoint, NULL), MC_OK);
    assert_true(checkpoint.dequantized && has_note(&checkpoint, "no tensor is FP8"));
    assert_null(json_object_get(config, "quantization_config"));
    mc_checkpoint_close(&checkpoint);
    json_decref(config);
}

/* ---- many files ---- */

/* More shards than may be open: each is closed and opened again, and still what it was. */
static void test_many_files(void **state)
{
    (void)state;
    enum { SHARDS = 40, MOST_OPEN = 5 };
    mc_checkpoint checkpoint = {0};
    char map[64 * SHARDS] = "{\"weight_map\": {";
    for (int i = 0; i < SHARDS; i++) {
        char name[32], shard[32];
        snprintf(name, sizeof name, "x%d", i);
        snprintf(shard, sizeof shard, "s%d.safetensors", i);
        put_tensor(shard, name, (float)i);
        snprintf(map + strlen(map), sizeof map - strlen(map), "%s\"%s\": \"%s\"", i ? ", " : "",
                 name, shard);
    }
    strcat(map, "}}");
    put("model.safetensors.index.json", map, strlen(map));
    mc_descriptor_limit(MOST_OPEN);
    open_folder(NULL, &checkpoint);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < SHARDS; i++) {
            char name[32];
            snprintf(name, sizeof name, "x%d", i * 7 % SHARDS);
            expect_element(&checkpoint, name, (float)(i * 7 % SHARDS));
        }
    /* A file that was replaced while it was closed is noticed. */
    float value;
    mc_error error = MC_ERROR_NONE;
    char *const path = join(folder, "s0.safetensors");
    expect_element(&checkpoint, "x0", 0);
    for (int i = 1; i <= MOST_OPEN; i++)
        mc_source_read_f32(mc_state_dict_source(checkpoint.dict, (size_t)i + 5), 0, 1, &value,
                           NULL);
    assert_int_equal(unlink(path), 0);
    put_tensor("s0.safetensors", "x0", 1);
    assert_int_equal(
        mc_source_read_f32(mc_state_dict_find(checkpoint.dict, "x0"), 0, 1, &value, &error),
        MC_CHANGED);
    assert_non_null(strstr(message_of(&error), "s0.safetensors"));
    mc_checkpoint_close(&checkpoint);
    mc_descriptor_limit(0);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_precedence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_named_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dangling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_adapters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_untied_by_configuration, set_up, tear_down),
        cmocka_unit_test(test_notes_of_torch_files),
        cmocka_unit_test(test_refused_torch_files),
        cmocka_unit_test_setup_teardown(test_fp8, set_up, tear_down),
        cmocka_unit_test(test_fp8_parts),
        cmocka_unit_test_setup_teardown(test_other_quantisations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_declared_but_float, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_files, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}

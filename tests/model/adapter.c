/* Adapters against what PEFT makes of them: tests/data/adapters/make_adapters.py. */
#include "model/adapter.h"

#include "base/memory.h"
#include "base/text.h"
#include "tensor/source.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA MC_TEST_DATA "/adapters"

static mc_error error;

static void open_base(const char *name, mc_checkpoint *base)
{
    char *const path = mc_format("%s/%s/base", DATA, name);
    *base = (mc_checkpoint){0};
    assert_int_equal(mc_checkpoint_open(path, NULL, base, &error), MC_OK);
    mc_free(path);
}

static float *values_of(const mc_source *source)
{
    float *const values = malloc((size_t)source->count * sizeof *values + 1);
    assert_non_null(values);
    assert_int_equal(mc_source_read_f32(source, 0, source->count, values, &error), MC_OK);
    return values;
}

/* Relative to the largest element: PEFT and this library add up in different orders. */
static double difference(const mc_source *a, const mc_source *b)
{
    assert_int_equal(a->count, b->count);
    float *const x = values_of(a), *const y = values_of(b);
    double most = 0, worst = 0;
    for (int64_t i = 0; i < a->count; i++) {
        most = fmax(most, fabs((double)x[i]));
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    }
    free(x);
    free(y);
    return worst / most;
}

static mc_status apply(const mc_adapter *adapter, const char *model_type, mc_state_dict *dict,
                       mc_notes *notes)
{
    json_t *const config = json_pack("{s:s?}", "model_type", model_type);
    const mc_adapter_base base = {
        .label = "lora", .name = "base", .config = config, .dict = dict, .notes = notes};
    const mc_status status = mc_adapter_apply(adapter, &base, &error);
    json_decref(config);
    return status;
}

/* Applies the adapter at `path` to the base of a case and compares with what PEFT merged. */
static size_t check_case(const char *name, const char *path, const char *model_type,
                         mc_notes *notes)
{
    mc_checkpoint base, merged = {0};
    mc_adapter adapter = {0};
    mc_state_dict *dict = NULL;
    size_t changed = 0;
    char *const expected = mc_format("%s/%s/merged.safetensors", DATA, name);
    open_base(name, &base);
    assert_int_equal(mc_checkpoint_open(expected, NULL, &merged, &error), MC_OK);
    assert_int_equal(mc_adapter_open(path, &adapter, &error), MC_OK);
    assert_int_equal(mc_state_dict_copy(base.dict, &dict, &error), MC_OK);
    assert_int_equal(apply(&adapter, model_type, dict, notes), MC_OK);
    assert_int_equal(mc_state_dict_count(dict), mc_state_dict_count(merged.dict));
    for (size_t i = 0; i < mc_state_dict_count(merged.dict); i++) {
        const char *const tensor = mc_state_dict_name(merged.dict, i);
        const mc_source *const found = mc_state_dict_find(dict, tensor);
        assert_non_null(found);
        changed += found != mc_state_dict_find(base.dict, tensor);
        if (difference(found, mc_state_dict_source(merged.dict, i)) > 1e-6)
            fail_msg("%s: tensor '%s' differs from PEFT's", name, tensor);
    }
    mc_state_dict_free(dict);
    mc_adapter_close(&adapter);
    mc_checkpoint_close(&merged);
    mc_checkpoint_close(&base);
    mc_free(expected);
    return changed;
}

/* `changed`: how many tensors the adapter must have changed, so that nothing passes unchanged. */
static void check_folder(const char *name, const char *model_type, size_t changed)
{
    char *const path = mc_format("%s/%s/adapter", DATA, name);
    assert_int_equal(check_case(name, path, model_type, NULL), changed);
    mc_free(path);
}

static void plain(void **state)
{
    (void)state;
    check_folder("plain", "llama", 4);
}

static void patterns_and_rank_stabilised(void **state)
{
    (void)state;
    check_folder("patterns", "llama", 6);
}

static void dora(void **state)
{
    (void)state;
    check_folder("dora", "llama", 4);
    check_folder("conv1d_dora", "gpt2", 2);
}

static void embeddings_and_modules_to_save(void **state)
{
    (void)state;
    check_folder("embedding", "llama", 4);
}

static void conv1d(void **state)
{
    (void)state;
    check_folder("conv1d", "gpt2", 3);
}

static void classifier_and_biases(void **state)
{
    (void)state;
    mc_checkpoint base;
    open_base("classifier", &base);
    size_t biases = 0;
    for (size_t i = 0; i < mc_state_dict_count(base.dict); i++)
        biases += mc_ends_with(mc_state_dict_name(base.dict, i), ".bias");
    mc_checkpoint_close(&base);
    check_folder("classifier", "bert", biases + 5 + 1); /* query and 4 × dense; classifier.weight */
}

static void encoder_and_decoder(void **state)
{
    (void)state;
    check_folder("t5", "t5", 5);
}

static void experts(void **state)
{
    (void)state;
    check_folder("experts", "gpt_oss", 3);
}

static void single_file_of_kohya(void **state)
{
    (void)state;
    mc_notes notes = {0};
    assert_int_equal(check_case("plain", DATA "/plain/kohya.safetensors", NULL, &notes), 4);
    assert_int_equal(notes.count, 1); /* the module of a text encoder */
    assert_string_equal(notes.lines[0], "adapter lora: 1 of 5 modules belong to another component "
                                        "and are left out");
    mc_notes_free(&notes);
}

/* PEFT saves one fan_in_fan_out for all modules, which is wrong for some if a model has both. */
static void settings_that_mislead(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"plain", "llama", "true"}, {"conv1d", "gpt2", "false"}};
    for (size_t i = 0; i < 2; i++) {
        mc_checkpoint base, merged = {0};
        mc_adapter adapter = {0};
        char *const path = mc_format("%s/%s/adapter", DATA, cases[i][0]);
        char *const expected = mc_format("%s/%s/merged.safetensors", DATA, cases[i][0]);
        open_base(cases[i][0], &base);
        assert_int_equal(mc_checkpoint_open(expected, NULL, &merged, &error), MC_OK);
        assert_int_equal(mc_adapter_open(path, &adapter, &error), MC_OK);
        adapter.fan_in_fan_out = strcmp(cases[i][2], "true") == 0;
        assert_int_equal(apply(&adapter, cases[i][1], base.dict, NULL), MC_OK);
        for (size_t k = 0; k < mc_state_dict_count(merged.dict); k++)
            assert_true(
                difference(mc_state_dict_find(base.dict, mc_state_dict_name(merged.dict, k)),
                           mc_state_dict_source(merged.dict, k)) < 1e-6);
        mc_adapter_close(&adapter);
        mc_checkpoint_close(&merged);
        mc_checkpoint_close(&base);
        mc_free(expected);
        mc_free(path);
    }
}

static void another_base(void **state)
{
    (void)state;
    mc_checkpoint base;
    mc_adapter adapter = {0};
    open_base("classifier", &base);
    assert_int_equal(mc_adapter_open(DATA "/plain/adapter", &adapter, &error), MC_OK);
    assert_int_equal(apply(&adapter, NULL, base.dict, NULL), MC_MISMATCH);
    assert_non_null(strstr(error.text, ".weight' in the base model"));
    mc_adapter_close(&adapter);
    mc_checkpoint_close(&base);
}

/* ---- broken adapters ------------------------------------------------------------------------- */

static char folder[] = "/tmp/mergecraft-adapter-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char *const path = mc_format("%s/%s", folder, name);
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    mc_free(path);
}

/* A safetensors file of empty tensors with these names. */
static void write_tensors(const char *const *names)
{
    mc_text header = {0};
    for (; *names; names++)
        mc_text_add(&header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[0,2],\"data_offsets\":[0,0]}",
                    header.length ? "," : "{", *names);
    mc_text_add(&header, "}");
    char *const path = mc_format("%s/adapter_model.safetensors", folder);
    FILE *const file = fopen(path, "w");
    const uint64_t length = header.length;
    assert_int_equal(fwrite(&length, sizeof length, 1, file), 1);
    assert_int_equal(fwrite(header.data, header.length, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    mc_text_free(&header);
    mc_free(path);
}

static void expect_error(mc_status status, const char *text)
{
    mc_adapter adapter = {0};
    error = (mc_error)MC_ERROR_NONE;
    const mc_status found = mc_adapter_open(folder, &adapter, &error);
    mc_adapter_close(&adapter);
    if (found != status || !strstr(error.text, text))
        fail_msg("expected '%s', found %d '%s'", text, found, error.text);
}

static void broken(void **state)
{
    (void)state;
    static const char q[] = "base_model.model.q.lora_A.weight";
    assert_non_null(mkdtemp(folder));
    write_file("adapter_config.json", "[]");
    expect_error(MC_FORMAT, "expected a JSON object");
    write_file("adapter_config.json", "{\"peft_type\":\"LOHA\"}");
    expect_error(MC_UNSUPPORTED, "found LOHA");
    write_file("adapter_config.json",
               "{\"peft_type\":\"LORA\",\"init_lora_weights\":\"pissa_niter_4\"}");
    expect_error(MC_UNSUPPORTED, "pissa_niter_4");
    static const char *const variants[][2] = {
        {"\"layer_replication\":[[0,2]]", "layer_replication"},
        {"\"trainable_token_indices\":[1]", "trainable_token_indices"},
        {"\"alora_invocation_tokens\":[1]", "alora_invocation_tokens"},
        {"\"monteclora_config\":{\"buffer_size\":1}", "monteclora_config"},
        {"\"arrow_config\":{\"top_k\":1}", "arrow_config"},
        {"\"kasa_config\":{\"beta\":1}", "kasa_config"},
        {"\"use_bdlora\":{\"nblocks\":2}", "use_bdlora"},
        {"\"use_qalora\":true", "use_qalora"},
        {"\"use_next_year\":true", "use_next_year"},
        {"\"init_lora_weights\":\"olora\"", "olora"},
        {"\"init_lora_weights\":\"lora_ga\"", "lora_ga"},
        {"\"init_lora_weights\":\"CorDA\"", "CorDA"},
        {"\"init_lora_weights\":\"next_year\"", "next_year"},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        char *const config = mc_format("{\"peft_type\":\"LORA\",%s}", variants[i][0]);
        write_file("adapter_config.json", config);
        expect_error(MC_UNSUPPORTED, variants[i][1]);
        mc_free(config);
    }
    write_file("adapter_config.json", "{\"peft_type\":\"LORA\"}");
    expect_error(MC_NOT_FOUND, "adapter_model.safetensors");
    write_tensors((const char *const[]){"base_model.model.q.hada_w1_a", NULL});
    expect_error(MC_UNSUPPORTED, "LoHa");
    write_tensors((const char *const[]){"other.weight", NULL});
    expect_error(MC_FORMAT, "found none");
    write_tensors((const char *const[]){q, NULL});
    expect_error(MC_FORMAT, "found only lora_A");
    write_tensors((const char *const[]){q, "base_model.model.q.lora_A.default.weight", NULL});
    expect_error(MC_FORMAT, "found it twice");
    write_tensors((const char *const[]){q, "base_model.model.q.lora_B.bias", NULL});
    expect_error(MC_UNSUPPORTED, "biases in its factors");
}

/* Values that only count when the adapter is applied. */
static void broken_values(void **state)
{
    (void)state;
    static const char *const configs[][2] = {
        {"", "expected r, a number, found none"},
        {"\"r\":\"2\"", "expected r, a number"},
        {"\"r\":0", "expected a rank r > 0, found 0"},
        {"\"r\":-2", "expected a rank r > 0"},
        {"\"r\":1.5", "expected a rank r > 0"},
        {"\"r\":1e300", "expected a rank r > 0"},
        {"\"r\":3", "expected the rank 3 of adapter_config.json, found 2 rows"},
        {"\"r\":2", "lora_alpha, a number, found none"},
        {"\"r\":2,\"rank_pattern\":[1]", "expected rank_pattern, an object"},
        {"\"r\":2,\"lora_alpha\":1,\"use_dora\":true", "expected a lora_magnitude_vector"},
        {"\"r\":2,\"lora_alpha\":1,\"rank_pattern\":{\"q_proj\":4}", "expected the rank 4"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":\"x\"", "expected alpha_pattern, an object"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"(\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"[a\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"(?!q).*\":1}", "'(?!q).*'"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"(?i)Q\":1}", "'(?i)Q'"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"\\\\Aq\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"(q)\\\\1\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"[\\\\s]\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"q\\\\\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"q++\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"*q\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"q{\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"[a\\\\-z]\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"q)\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"\u00e9?\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"((q{90}){90}){90}\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"(\\\\b){900}\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"^^^^^^^^^^^^q\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"\\\\<q\":1}", "pattern"},
        {"\"r\":2,\"lora_alpha\":1,\"alpha_pattern\":{\"q_proj\":\"x\"}", "expected a number"},
        {"\"r\":2,\"lora_alpha\":1,\"target_parameters\":[\"q_proj.a\",\"q_proj.b\"]",
         "expected one parameter"},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        mc_checkpoint base;
        mc_adapter adapter = {0};
        char *const link = mc_format("%s/adapter_model.safetensors", folder);
        (void)unlink(link);
        assert_int_equal(symlink(DATA "/plain/adapter/adapter_model.safetensors", link), 0);
        char *const config = mc_format("{\"peft_type\":\"LORA\"%s%s}", *configs[i][0] ? "," : "",
                                       configs[i][0]);
        write_file("adapter_config.json", config);
        mc_free(config);
        open_base("plain", &base);
        if (mc_adapter_open(folder, &adapter, &error) == MC_OK)
            assert_int_not_equal(apply(&adapter, NULL, base.dict, NULL), MC_OK);
        if (!strstr(error.text, configs[i][1]))
            fail_msg("expected '%s', found '%s'", configs[i][1], error.text);
        mc_adapter_close(&adapter);
        mc_checkpoint_close(&base);
        (void)unlink(link);
        mc_free(link);
    }
    char *const config = mc_format("%s/adapter_config.json", folder);
    (void)unlink(config);
    (void)rmdir(folder);
    mc_free(config);
}

/* The scale of a module under alpha_pattern; what Python's re.match gives was checked with it. */
static double scale_of(const char *pattern, const char *path)
{
    double scale = 0;
    const int64_t shape[] = {1, 1};
    mc_source *a = NULL;
    mc_adapter adapter = {
        .config = json_pack("{s:i, s:{s:i}}", "lora_alpha", 1, "alpha_pattern", pattern, 2)};
    char *const copy = mc_strdup(path);
    assert_int_equal(mc_source_wrap(MC_F32, 2, shape, "\0\0\0", NULL, NULL, &a, &error), MC_OK);
    const mc_adapter_module module = {.path = copy, .a = a};
    assert_int_equal(mc_adapter_scale(&adapter, &module, 1, &scale, &error), MC_OK);
    json_decref(adapter.config);
    mc_source_unref(a);
    mc_free(copy);
    return scale;
}

static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        bool matches;
    } rows[] = {
        {"q_proj", true},
        {"self_attn.q_proj", true},
        {"model.layers.10.self_attn.q_proj", true},
        {"^model.layers.10.self_attn.q_proj", true},
        {"^layers.10.self_attn.q_proj", false},
        {"proj", false},
        {"q_pro", false},
        {"layers\\.\\d+\\..*q_proj", true},
        {"layers\\.\\d\\..*q_proj", false},
        {"layers\\.\\D+\\..*q_proj", false},
        {"[\\w.]+q_proj", true},
        {"layers\\.[\\d]+\\.self_attn\\.[^kv]_proj", true},
        {"layers\\.[^\\d]+\\.self_attn\\.q_proj", false},
        {"\\w+_proj", true},
        {"(?:q|k)_proj", true},
        {"(k|v)_proj", false},
        {".*?\\.q_proj", true},
        {"layers.(9|1[0-3]).self_attn.q_proj", true},
        {"layers.\\d{2}.self_attn.q_proj", true},
        {"k_proj|q_proj", true},
        {"[]q]_proj", true},
        {"q\\+?_proj", true},
        {"(?:q_?)+?proj", true},
        {"q_{,2}proj", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((scale_of(rows[i].pattern, "model.layers.10.self_attn.q_proj") > 1) != rows[i].matches)
            fail_msg("'%s' matches otherwise in Python", rows[i].pattern);
}

/* Memory fails at every allocation in turn. */
static void memory(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        mc_checkpoint base;
        mc_adapter adapter = {0};
        open_base("experts", &base);
        mc_memory_fail_after(n);
        mc_status status = mc_adapter_open(DATA "/experts/adapter", &adapter, &error);
        if (status == MC_OK)
            status = apply(&adapter, "gpt_oss", base.dict, NULL);
        mc_memory_fail_after(-1);
        mc_adapter_close(&adapter);
        mc_checkpoint_close(&base);
        if (status == MC_OK)
            break;
        assert_int_equal(status, MC_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test(plain),
        cmocka_unit_test(patterns_and_rank_stabilised),
        cmocka_unit_test(dora),
        cmocka_unit_test(embeddings_and_modules_to_save),
        cmocka_unit_test(conv1d),
        cmocka_unit_test(classifier_and_biases),
        cmocka_unit_test(encoder_and_decoder),
        cmocka_unit_test(experts),
        cmocka_unit_test(single_file_of_kohya),
        cmocka_unit_test(settings_that_mislead),
        cmocka_unit_test(another_base),
        cmocka_unit_test(broken),
        cmocka_unit_test(broken_values),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

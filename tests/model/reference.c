/* BASE+ADAPTER: what it opens, what it notes, and that a failure leaves nothing open. */
#include "model/model.h"

#include "base/memory.h"
#include "base/system.h"
#include "tensor/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PLAIN MC_TEST_DATA "/adapters/plain"
#define Q_PROJ "model.layers.0.self_attn.q_proj.weight"

static mc_error error;

static float first_of(const mc_model *model)
{
    float value;
    const mc_source *const source = mc_state_dict_find(mc_model_state_dict(model), Q_PROJ);
    assert_non_null(source);
    assert_int_equal(mc_source_read_f32(source, 0, 1, &value, &error), MC_OK);
    return value;
}

static mc_model *open_model(const char *name)
{
    mc_model *model = NULL;
    if (mc_model_open(name, &model, &error) != MC_OK)
        fail_msg("%s: %s", name, error.text);
    assert_string_equal(mc_model_name(model), name);
    return model;
}

static void adapters_add_up(void **state)
{
    (void)state;
    mc_model *const base = open_model(PLAIN "/base");
    mc_model *const one = open_model(PLAIN "/base+" PLAIN "/adapter");
    mc_model *const two = open_model(PLAIN "/base+" PLAIN "/adapter+" PLAIN "/adapter");
    const float update = first_of(one) - first_of(base);
    assert_true(update != 0);
    assert_float_equal(first_of(two) - first_of(base), 2 * update, 1e-5);
    assert_int_equal(mc_model_file_count(two), 3);
    assert_false(mc_model_has_adapters(base));
    assert_true(mc_model_has_adapters(one));
    assert_true(mc_model_fingerprint(one) != mc_model_fingerprint(base));
    assert_true(mc_model_fingerprint(one) != mc_model_fingerprint(two));
    mc_model_close(base);
    mc_model_close(one);
    mc_model_close(two);
}

static void parts_that_are_left_out_are_noted(void **state)
{
    (void)state;
    mc_model *const model = open_model(PLAIN "/base+" PLAIN "/kohya.safetensors");
    assert_int_equal(mc_model_note_count(model), 1);
    assert_non_null(strstr(mc_model_note(model, 0), "1 of 5 modules belong to another component"));
    mc_model_close(model);
}

/* A copy of the plain adapter that names a base, in a folder with a plus in its name. */
static void copy_adapter(const char *folder, const char *base, int alpha)
{
    char command[4096];
    snprintf(command, sizeof command,
             "mkdir -p '%s' && cp '" PLAIN "/adapter/adapter_model.safetensors' '%s' && "
             "printf '{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":%d,"
             "\"base_model_name_or_path\":\"%s\"}' > '%s/adapter_config.json'",
             folder, folder, alpha, base, folder);
    assert_int_equal(system(command), 0);
}

static void an_adapter_by_itself(void **state)
{
    (void)state;
    char folder[] = "/tmp/mergecraft-reference-XXXXXX", name[128], command[256];
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/a+b", folder);
    copy_adapter(name, PLAIN "/base", 6);
    mc_model *const alone = open_model(name);
    mc_model *const named = open_model(PLAIN "/base+" PLAIN "/adapter");
    assert_float_equal(first_of(alone), first_of(named), 0);
    mc_model_close(named);

    /* Another alpha is another model, though all weight files are the same. */
    const uint64_t before = mc_model_fingerprint(alone);
    mc_model_close(alone);
    copy_adapter(name, PLAIN "/base", 7);
    mc_model *const changed = open_model(name);
    assert_true(mc_model_fingerprint(changed) != before);
    mc_model_close(changed);

    /* Made for another base: noted. */
    char other[128], reference[512];
    snprintf(other, sizeof other, "%s/other", folder);
    copy_adapter(other, "org/another", 6);
    snprintf(reference, sizeof reference, PLAIN "/base+%s", other);
    mc_model *const noted = open_model(reference);
    assert_int_equal(mc_model_note_count(noted), 1);
    assert_non_null(strstr(mc_model_note(noted, 0), "was made for the base model 'org/another'"));
    mc_model_close(noted);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void errors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        mc_status status;
        const char *text;
    } cases[] = {
        {PLAIN "/base+", MC_USAGE, "with an empty part"},
        {"+" PLAIN "/adapter", MC_USAGE, "with an empty part"},
        {PLAIN "/base++" PLAIN "/adapter", MC_USAGE, "with an empty part"},
        {PLAIN "/base+/nowhere", MC_NOT_FOUND, ""},
        {"/nowhere", MC_NOT_FOUND, "cannot open it"},
        {PLAIN "/base+" MC_TEST_DATA "/adapters/classifier/adapter", MC_MISMATCH, "in the base"},
        {PLAIN "/base+" PLAIN "/base", MC_FORMAT, "found none"},
        {PLAIN "/adapter", MC_USAGE, "names its base model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const names[] = {PLAIN "/base", cases[i].name};
        mc_model *models[2] = {(mc_model *)&error, (mc_model *)&error};
        error = (mc_error)MC_ERROR_NONE;
        const mc_status found = mc_models_open(names, 2, NULL, false, models, &error);
        if (found != cases[i].status || !strstr(error.text, cases[i].text))
            fail_msg("%s: found %d '%s'", cases[i].name, found, error.text);
        assert_null(models[0]);
        assert_null(models[1]);
    }
}

static void memory(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        mc_model *model = NULL;
        mc_memory_fail_after(n);
        const mc_status status = mc_model_open(PLAIN "/base+" PLAIN "/adapter", &model, &error);
        mc_memory_fail_after(-1);
        mc_model_close(model);
        if (status == MC_OK)
            break;
        assert_int_equal(status, MC_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_add_up),
        cmocka_unit_test(parts_that_are_left_out_are_noted),
        cmocka_unit_test(an_adapter_by_itself),
        cmocka_unit_test(errors),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

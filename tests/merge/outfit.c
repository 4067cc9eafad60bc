/* What a result is besides tensors: which files go along, what of them is left out, and changes. */
#include "merge/fixtures.h"

#include "base/memory.h"
#include "merge/outfit.h"
#include "merge/plan.h"

typedef struct model_folder {
    char *root, *path;
    mc_model *model;
    mc_outfit outfit;
    mc_report *report;
} model_folder;

static model_folder folder_new(void)
{
    model_folder f = {.root = temporary_folder()};
    mc_state_dict *const dict = dict_new();
    dict_add_floats(dict, "x", 1, 2);
    save_model(f.root, "m", dict);
    f.path = path_of(f.root, "m");
    assert_done(mc_report_new(&f.report, &error));
    return f;
}

static void folder_open(model_folder *f)
{
    f->model = open_model(f->root, "m");
    assert_done(mc_outfit_from_model(f->model, false, &f->outfit, f->report, &error));
}

static void folder_free(model_folder *f)
{
    mc_outfit_free(&f->outfit);
    mc_report_free(f->report);
    mc_model_close(f->model);
    free(f->path);
    remove_temporary(f->root);
}

static void test_files(void **state)
{
    (void)state;
    static const char *const taken[] = {"tokenizer.json",      "preprocessor_config.json",
                                        "normalizer.json",     "spiece.model",
                                        "chat_template.jinja", "LICENSE"};
    static const char *const left[] = {"optimizer.pt", "trainer_state.json", "train.py",
                                       "README.md", "notes.txt"};
    model_folder f = folder_new();
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        write_text(f.path, taken[i], "{}");
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        write_text(f.path, left[i], "{}");
    folder_open(&f);
    assert_int_equal(f.outfit.count, sizeof taken / sizeof *taken);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        assert_non_null(mc_outfit_find(&f.outfit, taken[i]));
    for (size_t i = 1; i < f.outfit.count; i++)
        assert_true(strcmp(f.outfit.files[i - 1].name, f.outfit.files[i].name) < 0);
    assert_null(f.outfit.config);
    assert_int_equal(mc_report_count(f.report), 0);
    folder_free(&f);
}

/* Code is the model's only where its configuration says so. */
static void test_code(void **state)
{
    (void)state;
    model_folder f = folder_new();
    write_text(f.path, "config.json", "{\"auto_map\": {\"AutoModel\": \"modeling_x.X\"}}");
    write_text(f.path, "modeling_x.py", "class X: pass");
    folder_open(&f);
    assert_non_null(mc_outfit_find(&f.outfit, "modeling_x.py"));
    folder_free(&f);
}

/* transformers ignores such a file silently; it is copied, and reported. */
static void test_generation_config(void **state)
{
    (void)state;
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"{\"temperature\": 1", "generation_config.json: not valid JSON at byte"},
        {"[]", "generation_config.json: expected a JSON object, found something else"},
        {"\xEF\xBB\xBF{}", "generation_config.json: expected JSON without a byte order mark"},
        {"{\"temperature\": 1}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_folder f = folder_new();
        mc_outfit strict = {0};
        write_text(f.path, "generation_config.json", cases[i].text);
        folder_open(&f);
        assert_int_equal(f.outfit.count, 1);
        if (cases[i].problem) {
            assert_reported(f.report, cases[i].problem);
            assert_error(MC_MISMATCH, "(strict)",
                         mc_outfit_from_model(f.model, true, &strict, f.report, &error));
        } else {
            assert_done(mc_outfit_from_model(f.model, true, &strict, f.report, &error));
            assert_int_equal(mc_report_count(f.report), 0);
        }
        mc_outfit_free(&strict);
        folder_free(&f);
    }
}

static void test_not_files(void **state)
{
    (void)state;
    model_folder f = folder_new();
    char *const link = path_of(f.path, "special_tokens_map.json");
    char *const folder = path_of(f.path, "best.model");
    assert_int_equal(symlink("../blobs/gone", link), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    folder_open(&f);
    assert_int_equal(f.outfit.count, 0);
    assert_reported(f.report, "special_tokens_map.json: not a readable file; left out");
    assert_reported(f.report, "best.model: not a readable file; left out");
    /* nor is config.json, which a model may do without */
    char *const config = path_of(f.path, "config.json");
    mc_model *model = NULL;
    assert_int_equal(mkdir(config, 0700), 0);
    assert_done(mc_model_open(f.path, &model, &error));
    assert_null(mc_model_config(model));
    assert_non_null(strstr(mc_model_note(model, 0), "config.json: not a readable file"));
    mc_model_close(model);
    free(config);
    free(link);
    free(folder);
    folder_free(&f);
}

/* Chat templates other than the default one have a folder of their own. */
static void test_chat_templates(void **state)
{
    (void)state;
    model_folder f = folder_new();
    char *const folder = path_of(f.path, "additional_chat_templates");
    assert_int_equal(mkdir(folder, 0700), 0);
    write_text(folder, "rag.jinja", "{{ messages }}");
    folder_open(&f);
    assert_non_null(mc_outfit_find(&f.outfit, "additional_chat_templates/rag.jinja"));
    free(folder);
    folder_free(&f);
}

/* Module folders go along whole; what would lead out of the model's folder does not. */
static void test_modules(void **state)
{
    (void)state;
    model_folder f = folder_new();
    char *const dense = path_of(f.path, "2_Dense");
    assert_int_equal(mkdir(dense, 0700), 0);
    write_text(dense, "config.json", "{}");
    write_text(dense, "model.safetensors", "none");
    write_text(f.root, "secret", "x");
    write_text(f.path, "modules.json",
               "[{\"path\": \"\"}, {\"path\": \"2_Dense\"}, {\"path\": \"..\"},"
               " {\"path\": \"2_Dense/../..\"}, {\"path\": \"/etc\"}, {\"path\": 3}, 4]");
    folder_open(&f);
    assert_int_equal(f.outfit.count, 3);
    assert_non_null(mc_outfit_find(&f.outfit, "2_Dense/config.json"));
    assert_non_null(mc_outfit_find(&f.outfit, "2_Dense/model.safetensors"));
    free(dense);
    folder_free(&f);
}

/* A sentence-transformers folder: an encoder of one tensor, and a dense layer if it has values. */
static mc_model *sentence_model(const char *root, const char *name, float value, const char *dense)
{
    mc_state_dict *const dict = dict_new();
    dict_add_floats(dict, "encoder.weight", value, value);
    save_model(root, name, dict);
    char *const path = path_of(root, name);
    write_text(path, "modules.json", "[{\"path\": \"\"}, {\"path\": \"2_Dense\"}]");
    if (dense && *dense) {
        char *const folder = path_of(path, "2_Dense");
        assert_int_equal(mkdir(folder, 0700), 0);
        write_text(folder, "model.safetensors", dense);
        free(folder);
    } else if (dense) {
        mc_state_dict *const layer = dict_new();
        dict_add_floats(layer, "linear.weight", value + 1, value + 2);
        save_model(path, "2_Dense", layer);
    }
    free(path);
    return open_model(root, name);
}

/* Merges two models, and expects of the dense layer's first number, and of the report. */
static void assert_dense(const char *method, const char *dense[3], const float *expected,
                         const char *line)
{
    char *const root = temporary_folder();
    mc_model *const models[] = {sentence_model(root, "a", 1, dense[0]),
                                sentence_model(root, "b", 5, dense[1]),
                                sentence_model(root, "base", 2, dense[2])};
    const mc_plan_input input = {.method = mc_method_find(method),
                                 .models = (const mc_model *const *)models,
                                 .model_count = 2,
                                 .base = models[2]};
    mc_plan *plan = NULL;
    assert_done(mc_plan_new(&input, &plan, &error));
    if (line)
        assert_reported(mc_plan_report(plan), line);
    char *const out = path_of(root, "out");
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_plan_run(plan, out, &options, NULL, &error));
    assert_true(exists(out, "modules.json"));
    if (expected) {
        mc_model *const made = open_model(out, "2_Dense");
        assert_floats(mc_model_state_dict(made), "linear.weight", expected[0], expected[1]);
        mc_model_close(made);
    }
    mc_plan_free(plan);
    for (size_t i = 0; i < 3; i++)
        mc_model_close(models[i]);
    free(out);
    remove_temporary(root);
}

static void test_module_weights(void **state)
{
    (void)state;
    assert_dense("soup", (const char *[]){"", "", NULL}, (const float[]){4, 5}, NULL);
    /* base 3, 4; models 2, 3 and 6, 7: 3 + (−1 + 3) · .5 */
    assert_dense("task", (const char *[]){"", "", ""}, (const float[]){4, 5}, NULL);
    assert_dense("ties", (const char *[]){"", "", NULL}, (const float[]){4, 5},
                 "2_Dense: not in all models and the base, and averaged over 2");
    assert_dense("soup", (const char *[]){NULL, "", NULL}, (const float[]){6, 7},
                 "2_Dense: not in all models and the base, and averaged over 1");
    assert_dense("soup", (const char *[]){"broken", "", NULL}, (const float[]){6, 7},
                 "copied from one model and not merged");
    assert_dense("soup", (const char *[]){"", NULL, NULL}, NULL, "2_Dense: not a readable folder");
}

/* diffusers loads its own file names only, and knows no dtype in a configuration. */
static void test_diffusers(void **state)
{
    (void)state;
    char *const root = temporary_folder(), *const out = path_of(root, "out");
    mc_model *models[2];
    for (int i = 0; i < 2; i++) {
        char name[] = {'m', (char)('0' + i), 0};
        mc_state_dict *const dict = dict_new();
        dict_add_floats(dict, "conv.weight", (float)i, 2);
        save_model(root, name, dict);
        char *const path = path_of(root, name);
        char *const usual = path_of(path, "model.safetensors");
        char *const own = path_of(path, "diffusion_pytorch_model.safetensors");
        assert_int_equal(rename(usual, own), 0);
        write_text(path, "config.json",
                   "{\"_class_name\": \"AutoencoderKL\", \"_diffusers_version\": \"0.30\"}");
        models[i] = open_model(root, name);
        free(path);
        free(usual);
        free(own);
    }
    const mc_plan_input input = {.method = mc_method_find("soup"),
                                 .models = (const mc_model *const *)models,
                                 .model_count = 2};
    mc_plan *plan = NULL;
    assert_done(mc_plan_new(&input, &plan, &error));
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_plan_run(plan, out, &options, NULL, &error));
    assert_true(exists(out, "diffusion_pytorch_model.safetensors"));
    assert_false(exists(out, "model.safetensors"));
    mc_model *const made = open_model(root, "out");
    assert_floats(mc_model_state_dict(made), "conv.weight", 0.5F, 2);
    assert_null(strstr(mc_model_config(made), "dtype"));
    mc_model_close(made);
    mc_plan_free(plan);
    mc_model_close(models[0]);
    mc_model_close(models[1]);
    free(out);
    remove_temporary(root);
}

static void test_changes(void **state)
{
    (void)state;
    model_folder f = folder_new();
    char *text = NULL;
    size_t size = 0;
    write_text(f.path, "vocab.txt", "a\nb\n");
    folder_open(&f);
    assert_done(mc_outfit_text(&f.outfit, "vocab.txt", &text, &size, &error));
    assert_string_equal(text, "a\nb\n");
    assert_int_equal(size, 4);
    mc_free(text);
    assert_done(mc_outfit_put(&f.outfit, "vocab.txt", "c\n", 2, &error));
    assert_done(mc_outfit_put(&f.outfit, "sub/new.json", "{}", 2, &error));
    assert_int_equal(f.outfit.count, 2);
    assert_done(mc_outfit_text(&f.outfit, "vocab.txt", &text, &size, &error));
    assert_string_equal(text, "c\n");
    mc_free(text);
    assert_done(mc_outfit_text(&f.outfit, "none", &text, &size, &error));
    assert_null(text);
    mc_outfit_remove(&f.outfit, "none");
    mc_outfit_remove(&f.outfit, "vocab.txt");
    assert_int_equal(f.outfit.count, 1);
    folder_free(&f);
}

static mc_outputs rows_of(const mc_model *model)
{
    mc_outputs outputs = {0};
    mc_output *row = NULL;
    const mc_labels labels = {.model_count = 1};
    const mc_input input = {.source = mc_state_dict_source(mc_model_state_dict(model), 0)};
    assert_done(mc_outputs_add(&outputs, "y", MC_ACTION_COPY, NULL, NULL, &row, &error));
    assert_done(mc_output_add_input(row, &input, &error));
    assert_done(mc_outputs_resolve(&outputs, &labels, &error));
    return outputs;
}

/*
 * A plan of rows writes its own tensors, outfit, card and provenance, in folders where it says so.
 */
static void test_plan_from_rows(void **state)
{
    (void)state;
    model_folder f = folder_new();
    write_text(f.path, "config.json", "{\"model_type\": \"bert\"}");
    folder_open(&f);
    assert_done(
        mc_outfit_put(&f.outfit, "1_Pooling/config.json", "{\"mode\": \"cls\"}", 15, &error));
    json_object_set_new(f.outfit.config, "num_hidden_layers", json_integer(9));
    const mc_model *const models[] = {f.model};
    mc_plan_rows rows = {.outputs = rows_of(f.model),
                         .outfit = f.outfit,
                         .report = f.report,
                         .models = models,
                         .model_count = 1,
                         .all_count = 1,
                         .recipe = "merge_method: passthrough"};
    mc_plan *plan = NULL;
    assert_done(mc_plan_from_rows(&rows, &plan, &error));
    f.outfit = (mc_outfit){0};
    f.report = NULL;
    assert_error(MC_UNSUPPORTED, "a recipe", mc_plan_bind(plan, NULL, 0, &error));
    char *const out = path_of(f.root, "out");
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_plan_run(plan, out, &options, NULL, &error));
    mc_model *const made = open_model(f.root, "out");
    assert_floats(mc_model_state_dict(made), "y", 1, 2);
    assert_non_null(strstr(mc_model_config(made), "\"num_hidden_layers\": 9"));
    assert_non_null(strstr(mc_model_config(made), "\"torch_dtype\": \"float32\""));
    size_t size = 0;
    char *const pooling = path_of(out, "1_Pooling/config.json"), *const card = path_of(out,
                                                                                       "README.md");
    char *text = read_text(pooling, &size);
    assert_string_equal(text, "{\"mode\": \"cls\"}");
    free(text);
    text = read_text(card, &size);
    assert_non_null(strstr(text, "```yaml\nmerge_method: passthrough\n```"));
    free(text);
    free(pooling);
    free(card);
    free(out);
    mc_model_close(made);
    mc_plan_free(plan);
    folder_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),          cmocka_unit_test(test_code),
        cmocka_unit_test(test_not_files),      cmocka_unit_test(test_chat_templates),
        cmocka_unit_test(test_modules),        cmocka_unit_test(test_module_weights),
        cmocka_unit_test(test_diffusers),      cmocka_unit_test(test_changes),
        cmocka_unit_test(test_plan_from_rows), cmocka_unit_test(test_generation_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

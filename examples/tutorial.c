/*
 * The library, step by step:
 *
 *     tutorial MODELS OUT
 *
 * MODELS is the folder of the demo models (examples/models). Two merged models are written into the
 * folder OUT.
 *
 * As torch's `state_dict()`, an mc_state_dict is an ordered map from tensor names to tensors. Its
 * tensors are *sources*: reading values reads only the requested piece. Opening a model reads no
 * weights; `a − b` of two state dicts computes nothing; a merge is computed when it is read, saved
 * or loaded into memory.
 */
#include <mergecraft/mergecraft.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MODELS = 5, PATH = 4096 };

/*
 * ---- Errors ----
 *
 * A function that can fail returns an mc_status, MC_OK on success, and fills an mc_error on
 * failure. The functions here pass both on to main(), which prints one line.
 */
#define TRY(call_)                                                                                 \
    do {                                                                                           \
        const mc_status status_ = (call_);                                                         \
        if (status_ != MC_OK)                                                                      \
            return status_;                                                                        \
    } while (0)

/*
 * ---- A method on layers ----
 *
 * A layer is one tensor name across all models. The body is called with a piece of it:
 * `layer->models[m][i]` is element i of model m, a float for any dtype in the file. The result goes
 * to layer->out[i]. tile.h has common operations, such as the median; a plain loop is as fast.
 */
MC_LAYER_MERGE(median, .help = "element-wise median of the models")
{
    mc_tile_median(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}

/*
 * ---- A method on state dicts ----
 *
 * The task vector of a model is fine-tuned − base. This method adds `scale` times their mean to the
 * base:
 *
 *     base + scale · (mean(models) − base)
 *
 * This is arithmetic on whole state dicts. Each step makes a new one that keeps references to its
 * operands, so that these can be freed at once. Nothing is computed yet.
 */
static const double scale = 0.8;

/* *dict = *dict op other */
static mc_status combine(mc_state_dict **dict, mc_operator op, const mc_state_dict *other,
                         mc_error *error)
{
    mc_state_dict *result = NULL;
    TRY(mc_state_dict_combine(op, *dict, other, NULL, &result, error));
    mc_state_dict_free(*dict);
    *dict = result;
    return MC_OK;
}

/* *dict = *dict op number */
static mc_status combine_number(mc_state_dict **dict, mc_operator op, double number,
                                mc_error *error)
{
    mc_state_dict *result = NULL;
    TRY(mc_state_dict_combine_number(op, *dict, number, false, &result, error));
    mc_state_dict_free(*dict);
    *dict = result;
    return MC_OK;
}

static mc_status move_along(mc_state_dict **dict, const mc_merge_input *input, mc_error *error)
{
    for (size_t m = 1; m < input->model_count; m++)
        TRY(combine(dict, MC_ADD, input->models[m], error));
    TRY(combine_number(dict, MC_DIVIDE, (double)input->model_count, error));
    TRY(combine(dict, MC_SUBTRACT, input->base, error));
    TRY(combine_number(dict, MC_MULTIPLY, scale, error));
    return combine(dict, MC_ADD, input->base, error);
}

/* The body gives a new state dict in *out; where it fails it gives none. */
MC_MODEL_MERGE(along_the_mean, .help = "from the base along the mean task vector",
               .needs_base = true)
{
    mc_state_dict *dict = NULL;
    TRY(mc_state_dict_copy(input->models[0], &dict, error));
    const mc_status status = move_along(&dict, input, error);
    if (status == MC_OK)
        *out = dict;
    else
        mc_state_dict_free(dict);
    return status;
}

/*
 * ---- What we hold ----
 *
 * Everything that must be freed is in one struct: a function that fails returns, and main() frees
 * all. The functions that free accept NULL.
 */
typedef struct tutorial {
    mc_model *models[MODELS], *base, *merged;
    const mc_state_dict *dicts[MODELS]; /* of the models; they belong to them */
    mc_state_dict *median, *along;
    mc_plan *plan;
    mc_report *report;
    mc_glue_data *data;
    mc_pipeline *pipeline;
} tutorial;

static void free_all(tutorial *t)
{
    mc_pipeline_close(t->pipeline);
    mc_glue_data_free(t->data);
    mc_report_free(t->report);
    mc_plan_free(t->plan);
    mc_state_dict_free(t->along);
    mc_state_dict_free(t->median);
    mc_model_close(t->merged);
    mc_model_close(t->base);
    for (int i = 0; i < MODELS; i++)
        mc_model_close(t->models[i]);
}

/*
 * ---- Step 1: open the models ----
 *
 * A model is a folder as transformers writes it, or a file of weights. The format (safetensors,
 * shards, pytorch_model.bin old or new) makes no difference from here on.
 */
static mc_status open_models(tutorial *t, const char *folder, mc_error *error)
{
    char path[PATH];
    for (int i = 0; i < MODELS; i++) {
        snprintf(path, sizeof path, "%s/rte-%d", folder, i + 1);
        TRY(mc_model_open(path, &t->models[i], error));
        t->dicts[i] = mc_model_state_dict(t->models[i]);
        const char *const architecture = mc_model_architecture(t->models[i]);
        printf("rte-%d: %s, %s, %zu tensors\n", i + 1, architecture ? architecture : "unknown",
               mc_model_format(t->models[i]), mc_state_dict_count(t->dicts[i]));
    }
    snprintf(path, sizeof path, "%s/base", folder);
    return mc_model_open(path, &t->base, error);
}

/* Values are read piece by piece: here one, the first. */
static mc_status print_first(const char *what, const mc_state_dict *dict, mc_error *error)
{
    const char *const name = "classifier.weight";
    const mc_source *const source = mc_state_dict_find(dict, name);
    if (!source)
        return mc_fail(error, MC_NOT_FOUND, "%s has no tensor '%s'", what, name);
    float value = 0;
    TRY(mc_source_read_f32(source, 0, 1, &value, error));
    printf("%s: %s begins with %g\n", what, name, (double)value);
    return MC_OK;
}

/*
 * ---- Step 2: dict_map ----
 *
 * State dicts in, state dict out: the method is applied to every name that all of them have. The
 * result is lazy: reading one value computes one piece of one layer.
 */
static mc_status map_median(tutorial *t, mc_error *error)
{
    const mc_merge_input input = {.models = t->dicts, .model_count = MODELS};
    TRY(mc_dict_map(&median, &input, &t->median, NULL, error));
    for (int i = 0; i < MODELS; i++)
        TRY(print_first(mc_model_name(t->models[i]), t->dicts[i], error));
    return print_first("their median", t->median, error);
}

/*
 * ---- Step 3: model_merge, and computing all of it ----
 *
 * mc_model_merge takes care of what dict_map does not: layers that are passed through, that is
 * averaged over the fine-tuned models instead (here the classifier, which the base does not even
 * have), names that only some models have, tensors that are no floats. What it noticed on the way
 * is in the report. mc_state_dict_materialize computes everything, on all processors.
 */
static mc_status merge_task_vectors(tutorial *t, mc_error *error)
{
    const char *const passthrough[] = {"classifier.*"};
    const mc_merge_input input = {.models = t->dicts,
                                  .model_count = MODELS,
                                  .base = mc_model_state_dict(t->base),
                                  .passthrough = passthrough,
                                  .passthrough_count = 1};
    TRY(mc_report_new(&t->report, error));
    mc_state_dict *lazy = NULL;
    TRY(mc_model_merge(&along_the_mean, &input, &lazy, t->report, error));
    for (size_t i = 0; i < mc_report_count(t->report); i++)
        printf("note: %s\n", mc_report_line(t->report, i));

    mc_run_result result = {0};
    const mc_status status = mc_state_dict_materialize(lazy, NULL, &t->along, &result, error);
    mc_state_dict_free(lazy);
    TRY(status);
    printf("along the mean: %zu tensors in memory\n", result.tensors);
    return print_first("along the mean", t->along, error);
}

/* A state dict that we made is written like any other; the folder holds weights only. */
static mc_status save_along(const tutorial *t, const char *folder, mc_error *error)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/along-the-mean", folder);
    return mc_state_dict_save(t->along, path, &(mc_run_options){.overwrite = true}, NULL, error);
}

/*
 * ---- Step 4: models in, folder out ----
 *
 * This is what the command does. A plan has a line for each tensor of the result and can be looked
 * at before it is run. Running it streams: memory stays the same for models of any size. The folder
 * gets the configuration and the tokenizer too.
 */
static mc_status merge_into_folder(tutorial *t, const char *folder, mc_error *error)
{
    const mc_plan_input input = {
        .method = &median, .models = (const mc_model *const *)t->models, .model_count = MODELS};
    TRY(mc_plan_new(&input, &t->plan, error));
    mc_plan_line line;
    char how[256];
    mc_plan_line_at(t->plan, 0, &line);
    printf("plan: %zu tensors; the first is %s, %s, %s\n", mc_plan_count(t->plan), line.name,
           mc_dtype_name(line.dtype), mc_plan_line_text(&line, how, sizeof how));

    char path[PATH];
    snprintf(path, sizeof path, "%s/median", folder);
    const mc_run_options options = {.threads = 2, .overwrite = true};
    mc_run_result result = {0};
    TRY(mc_plan_run(t->plan, path, &options, &result, error));
    printf("written: %s, %" PRId64 " bytes\n", path, result.bytes_written);
    return mc_model_open(path, &t->merged, error);
}

/*
 * ---- Step 5: read it back ----
 *
 * What was written is what dict_map computes: the same bits, for any number of threads.
 */
static mc_status count_unequal(const mc_source *a, const mc_source *b, int64_t *unequal,
                               mc_error *error)
{
    enum { PIECE = 4096 };
    float from_a[PIECE], from_b[PIECE];
    const int64_t size = mc_source_count(a);
    for (int64_t first = 0; first < size; first += PIECE) {
        const int64_t count = size - first < PIECE ? size - first : PIECE;
        TRY(mc_source_read_f32(a, first, count, from_a, error));
        TRY(mc_source_read_f32(b, first, count, from_b, error));
        for (int64_t i = 0; i < count; i++)
            *unequal += memcmp(&from_a[i], &from_b[i], sizeof from_a[i]) != 0;
    }
    return MC_OK;
}

static mc_status read_back(const tutorial *t, mc_error *error)
{
    const mc_state_dict *const written = mc_model_state_dict(t->merged);
    int64_t elements = 0, unequal = 0;
    for (size_t i = 0; i < mc_state_dict_count(written); i++) {
        const mc_source *const source = mc_state_dict_source(written, i);
        const char *const name = mc_state_dict_name(written, i);
        const mc_source *const computed = mc_state_dict_find(t->median, name);
        if (!computed)
            return mc_fail(error, MC_MISMATCH, "dict_map did not make '%s'", name);
        TRY(count_unequal(source, computed, &unequal, error));
        elements += mc_source_count(source);
    }
    printf("read back: %" PRId64 " elements, %" PRId64 " differ from what dict_map gives\n",
           elements, unequal);
    return MC_OK;
}

/*
 * ---- Step 6: evaluate ----
 *
 * A pipeline is tokenizer, encoder and labels of a model. It is scored on a GLUE task: here
 * entailment, on examples that come with the demo models. Other weights can be loaded into a
 * pipeline that is there: the parents', one after the other, and then the median from step 2, which
 * has never been written; it is computed while it is loaded.
 */
static mc_status score(const tutorial *t, const char *what, const mc_state_dict *weights,
                       mc_error *error)
{
    mc_evaluation result;
    TRY(mc_pipeline_load(t->pipeline, weights, error));
    TRY(mc_pipeline_evaluate(t->pipeline, mc_glue_task_find("rte"), t->data, NULL, &result, error));
    printf("%s: %s %.4f on %zu examples\n", what, result.metrics[0].name, result.metrics[0].value,
           result.examples);
    mc_evaluation_free(&result);
    return MC_OK;
}

static mc_status score_all(tutorial *t, const char *folder, mc_error *error)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/data", folder);
    TRY(mc_glue_load(mc_glue_task_find("rte"), path, "validation", &t->data, error));
    TRY(mc_pipeline_open(t->merged, NULL, &t->pipeline, error));
    for (int i = 0; i < MODELS; i++)
        TRY(score(t, mc_model_name(t->models[i]), t->dicts[i], error));
    TRY(score(t, "their median", t->median, error));
    return score(t, "along the mean", t->along, error);
}

static mc_status run(tutorial *t, const char *models, const char *out, mc_error *error)
{
    TRY(open_models(t, models, error));
    TRY(map_median(t, error));
    TRY(merge_task_vectors(t, error));
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return mc_fail(error, MC_IO, "%s: cannot create the folder: %s", out, strerror(errno));
    TRY(save_along(t, out, error));
    TRY(merge_into_folder(t, out, error));
    TRY(read_back(t, error));
    return score_all(t, models, error);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: tutorial MODELS OUT\n");
        return 2;
    }
    tutorial t = {0};
    mc_error error = MC_ERROR_NONE;
    const mc_status status = run(&t, argv[1], argv[2], &error);
    free_all(&t);
    if (status == MC_OK)
        return 0;
    char line[sizeof error];
    fprintf(stderr, "tutorial: %s\n", mc_error_message(&error, line, sizeof line));
    return 1;
}

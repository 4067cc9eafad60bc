/* Small encoders against transformers (tests/data/nn/make_nn.py), and what must hold for any. */
#include "merge/fixtures.h"

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "nn/encoder.h"
#include "nn/onednn.h"
#include "tensor/cast.h"

#include <math.h>
#include <pthread.h>

static const char *const models[] = {
    "bert",         "bert_odd",        "bert_gelu_new", "bert_gelu_fast",
    "bert_sigmoid", "bert_quick_gelu", "bert_silu",     "bert_gelu_pytorch_tanh",
    "bert_tanh",    "bert_linear",     "roberta",       "roberta_padding",
    "distilbert",   "distilbert_relu", "bert_wide",     "bert_wide_prime",
};
enum { MODELS = sizeof models / sizeof *models, SEQUENCES = 10, MOST_LABELS = 3, TOKENS = 400 };

/* ---- fixtures -------------------------------------------------------------------------------- */

typedef struct cases {
    int32_t ids[TOKENS];
    uint8_t types[TOKENS];
    size_t starts[SEQUENCES + 1];
    double logits[SEQUENCES * MOST_LABELS], int8[SEQUENCES * MOST_LABELS];
    size_t labels;
    mc_batch batch;
} cases;

static json_t *read_json(const char *model, const char *file)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/nn/%s/%s", MC_TEST_DATA, model, file);
    json_t *value = NULL;
    assert_done(mc_json_load(path, 1 << 20, &value, &error));
    return value;
}

static void read_case(cases *c, size_t index, const json_t *from)
{
    const json_t *const ids = json_object_get(from, "ids"), *const types = json_object_get(from,
                                                                                           "types");
    const json_t *const logits = json_object_get(from, "logits"), *const int8 = json_object_get(
                                                                      from, "int8");
    const size_t start = c->starts[index], count = json_array_size(ids);
    assert_true(start + count <= TOKENS);
    for (size_t i = 0; i < count; i++) {
        c->ids[start + i] = (int32_t)json_integer_value(json_array_get(ids, i));
        c->types[start + i] = (uint8_t)json_integer_value(json_array_get(types, i));
    }
    c->starts[index + 1] = start + count;
    c->labels = json_array_size(logits);
    for (size_t i = 0; i < c->labels; i++) {
        c->logits[index * c->labels + i] = json_number_value(json_array_get(logits, i));
        c->int8[index * c->labels + i] = json_number_value(json_array_get(int8, i));
    }
}

static void read_cases(const char *model, cases *c)
{
    json_t *const all = read_json(model, "cases.json");
    assert_int_equal(json_array_size(all), SEQUENCES);
    c->starts[0] = 0;
    for (size_t i = 0; i < SEQUENCES; i++)
        read_case(c, i, json_array_get(all, i));
    json_decref(all);
    c->batch = (mc_batch){c->ids, c->types, c->starts, SEQUENCES};
}

static mc_state_dict *read_weights(const char *model)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/nn/%s", MC_TEST_DATA, model);
    mc_state_dict *dict = NULL;
    assert_done(mc_state_dict_open(path, &dict, &error));
    return dict;
}

static mc_encoder *new_encoder(const char *model, mc_dtype dtype)
{
    json_t *const config = read_json(model, "config.json");
    mc_encoder *encoder = NULL;
    assert_done(mc_encoder_new(config, "config.json", dtype, &encoder, &error));
    json_decref(config);
    return encoder;
}

static mc_encoder *open_encoder(const char *model, mc_dtype dtype)
{
    mc_encoder *const encoder = new_encoder(model, dtype);
    mc_state_dict *const weights = read_weights(model);
    assert_done(mc_encoder_load(encoder, weights, 2, NULL, &error));
    mc_state_dict_free(weights);
    return encoder;
}

static mc_scratch *new_scratch(void)
{
    mc_scratch *scratch = NULL;
    assert_done(mc_scratch_new(&scratch, &error));
    return scratch;
}

static void logits_of(const mc_encoder *encoder, const mc_batch *batch, int threads, float *logits)
{
    mc_scratch *const scratch = new_scratch();
    assert_done(mc_encoder_logits(encoder, batch, threads, NULL, scratch, logits, &error));
    mc_scratch_free(scratch);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void compare_with_transformers(mc_dtype dtype, double tolerance)
{
    double most = 0;
    for (size_t m = 0; m < MODELS; m++) {
        cases c;
        read_cases(models[m], &c);
        mc_encoder *const encoder = open_encoder(models[m], dtype);
        assert_int_equal(mc_encoder_label_count(encoder), c.labels);
        float logits[SEQUENCES * MOST_LABELS];
        logits_of(encoder, &c.batch, 1, logits);
        const double *const expected = dtype == MC_I8 ? c.int8 : c.logits;
        for (size_t i = 0; i < SEQUENCES * c.labels; i++) {
            const double difference = fabs(logits[i] - expected[i]);
            if (!(difference <= tolerance))
                fail_msg("%s, logit %zu: expected %g, found %g", models[m], i, expected[i],
                         (double)logits[i]);
            most = difference > most ? difference : most;
        }
        mc_encoder_free(encoder);
    }
    print_message("largest difference: %g\n", most);
}

/* The reference is in float64: what is left is the rounding of float32. */
static void test_same_as_transformers(void **state)
{
    (void)state;
    const mc_cpu_level best = mc_cpu();
    for (int level = 0; level <= (int)best; level++) {
        assert_true(mc_cpu_force((mc_cpu_level)level));
        compare_with_transformers(MC_F32, 1e-4);
    }
    assert_true(mc_cpu_force(best));
}

/*
 * bfloat16 has 8 bits, and these weights are far larger than those of real models, so that a
 * rounding error is too; real ones are held to 5e-2 (tests/real).
 */
static void test_bf16_near_transformers(void **state)
{
    (void)state;
    if (mc_onednn_check(MC_BF16, NULL) != MC_OK)
        skip();
    compare_with_transformers(MC_BF16, .1);
}

/*
 * The reference rounds to int8 too, but what it rounds it has computed in float64: now and then a
 * number is rounded the other way, which moves a logit by less than this. At every level, as what
 * is beside the sums is computed here.
 */
static void test_int8_as_in_torch(void **state)
{
    (void)state;
    if (mc_onednn_check(MC_I8, NULL) != MC_OK)
        skip();
    const mc_cpu_level best = mc_cpu();
    for (int level = 0; level <= (int)best; level++) {
        assert_true(mc_cpu_force((mc_cpu_level)level));
        compare_with_transformers(MC_I8, 2e-2);
    }
    assert_true(mc_cpu_force(best));
}

/* ---- independence ---------------------------------------------------------------------------- */

/* Sequences of `from` in another order, each `repeat` times. */
typedef struct shuffled {
    int32_t ids[TOKENS * 12];
    uint8_t types[TOKENS * 12];
    size_t starts[SEQUENCES * 12 + 1], origin[SEQUENCES * 12];
    mc_batch batch;
} shuffled;

static void shuffle(const cases *from, size_t count, unsigned seed, shuffled *out)
{
    out->starts[0] = 0;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        const size_t which = (seed >> 16) % SEQUENCES;
        const size_t start = from->starts[which], length = from->starts[which + 1] - start;
        out->origin[i] = which;
        memcpy(out->ids + out->starts[i], from->ids + start, length * sizeof *out->ids);
        memcpy(out->types + out->starts[i], from->types + start, length);
        out->starts[i + 1] = out->starts[i] + length;
    }
    out->batch = (mc_batch){out->ids, out->types, out->starts, count};
}

static void alone(const mc_encoder *encoder, const cases *c, float *logits)
{
    for (size_t i = 0; i < SEQUENCES; i++) {
        const mc_batch one = {c->ids, c->types, c->starts + i, 1};
        logits_of(encoder, &one, 1, logits + i * c->labels);
    }
}

static void check_independence(const char *model, mc_dtype dtype)
{
    static cases c;
    static shuffled s;
    read_cases(model, &c);
    mc_encoder *const encoder = open_encoder(model, dtype);
    float expected[SEQUENCES * MOST_LABELS], found[SEQUENCES * 12 * MOST_LABELS];
    alone(encoder, &c, expected);
    mc_scratch *const scratch = new_scratch();
    static const size_t counts[] = {1, 2, 7, 23, 64, SEQUENCES * 12};
    for (unsigned round = 0; round < 6; round++)
        for (int threads = 1; threads <= 5; threads += 2) {
            const size_t count = counts[round];
            shuffle(&c, count, round * 7 + (unsigned)threads, &s);
            assert_done(
                mc_encoder_logits(encoder, &s.batch, threads, NULL, scratch, found, &error));
            for (size_t i = 0; i < count; i++)
                assert_memory_equal(found + i * c.labels, expected + s.origin[i] * c.labels,
                                    c.labels * sizeof *found);
        }
    mc_scratch_free(scratch);
    mc_encoder_free(encoder);
}

static void test_same_bits_for_any_batch_and_threads(void **state)
{
    (void)state;
    static const char *const some[] = {"bert", "bert_odd", "bert_wide", "roberta", "distilbert"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        check_independence(some[i], MC_F32);
        if (mc_onednn_check(MC_BF16, NULL) == MC_OK)
            check_independence(some[i], MC_BF16);
        if (mc_onednn_check(MC_I8, NULL) == MC_OK)
            check_independence(some[i], MC_I8);
    }
}

typedef struct caller {
    pthread_t thread;
    const mc_encoder *encoder;
    const cases *c;
    float logits[SEQUENCES * MOST_LABELS];
    mc_status status;
} caller;

static void *call(void *argument)
{
    caller *const c = argument;
    mc_scratch *scratch = NULL;
    c->status = mc_scratch_new(&scratch, NULL);
    for (int i = 0; i < 5 && c->status == MC_OK; i++)
        c->status = mc_encoder_logits(c->encoder, &c->c->batch, 2, NULL, scratch, c->logits, NULL);
    mc_scratch_free(scratch);
    return NULL;
}

static void test_several_callers(void **state)
{
    (void)state;
    cases c;
    read_cases("bert", &c);
    mc_encoder *const encoder = open_encoder("bert", MC_F32);
    float expected[SEQUENCES * MOST_LABELS];
    alone(encoder, &c, expected);
    caller callers[3];
    for (size_t i = 0; i < 3; i++) {
        callers[i] = (caller){.encoder = encoder, .c = &c};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].status, MC_OK);
        assert_memory_equal(callers[i].logits, expected, SEQUENCES * c.labels * sizeof *expected);
    }
    mc_encoder_free(encoder);
}

/* A long sequence is shared by threads, and so is one beside short ones. */
static void test_few_sequences(void **state)
{
    (void)state;
    static const char *const some[] = {"bert", "bert_odd", "bert_wide", "roberta", "distilbert"};
    static const mc_dtype dtypes[] = {MC_F32, MC_BF16, MC_I8};
    for (size_t m = 0; m < sizeof some / sizeof *some * 3; m++) {
        cases c;
        if (mc_onednn_check(dtypes[m % 3], NULL) != MC_OK)
            continue;
        read_cases(some[m / 3], &c);
        mc_encoder *const encoder = open_encoder(some[m / 3], dtypes[m % 3]);
        float expected[SEQUENCES * MOST_LABELS], found[SEQUENCES * MOST_LABELS];
        alone(encoder, &c, expected);
        for (size_t first = SEQUENCES - 4; first < SEQUENCES; first++)
            for (int threads = 2; threads <= 6; threads++) {
                const mc_batch last = {c.ids, c.types, c.starts + first, SEQUENCES - first};
                logits_of(encoder, &last, threads, found);
                assert_memory_equal(found, expected + first * c.labels,
                                    (SEQUENCES - first) * c.labels * sizeof *found);
            }
        mc_encoder_free(encoder);
    }
}

/* ---- watching -------------------------------------------------------------------------------- */

typedef struct watched {
    double tokens;
    size_t calls, stop_at; /* the call that cancels; 0: none */
    volatile int cancel;
} watched;

static void see_progress(double tokens, void *user)
{
    watched *const w = user;
    assert_true(tokens >= w->tokens);
    w->tokens = tokens;
    __atomic_store_n(&w->cancel, ++w->calls == w->stop_at, __ATOMIC_RELAXED);
}

/* One thread, and several that share the only sequence. Of several groups, others may take all. */
static void test_progress_and_cancel(void **state)
{
    (void)state;
    cases c;
    read_cases("bert", &c);
    mc_encoder *const encoder = open_encoder("bert", MC_F32);
    mc_scratch *const scratch = new_scratch();
    float expected[SEQUENCES * MOST_LABELS], found[SEQUENCES * MOST_LABELS];
    alone(encoder, &c, expected);
    for (int threads = 1; threads <= 4; threads++) {
        const size_t first = threads == 1 ? 0 : SEQUENCES - 1;
        const mc_batch batch = {c.ids, c.types, c.starts + first, SEQUENCES - first};
        const double tokens = (double)(c.starts[SEQUENCES] - c.starts[first]);
        watched w = {0};
        const mc_watch watch = {&w.cancel, see_progress, &w};
        assert_done(mc_encoder_logits(encoder, &batch, threads, &watch, scratch, found, &error));
        assert_true(w.calls > 10 && fabs(w.tokens - tokens) < 1e-6);
        w = (watched){.stop_at = 5};
        assert_error(MC_INTERRUPTED, "interrupted",
                     mc_encoder_logits(encoder, &batch, threads, &watch, scratch, found, &error));
        assert_done(mc_encoder_logits(encoder, &batch, threads, NULL, scratch, found, &error));
        assert_memory_equal(found, expected + first * c.labels,
                            (SEQUENCES - first) * c.labels * sizeof *found);
    }
    mc_scratch_free(scratch);
    mc_encoder_free(encoder);
}

/* ---- loading again --------------------------------------------------------------------------- */

static void test_other_weights(void **state)
{
    (void)state;
    cases c;
    read_cases("bert", &c);
    mc_state_dict *const weights = read_weights("bert");
    mc_state_dict *other = NULL;
    assert_done(mc_state_dict_combine_number(MC_MULTIPLY, weights, .5, false, &other, &error));
    mc_encoder *const encoder = new_encoder("bert", MC_F32);
    float first[SEQUENCES * MOST_LABELS], second[SEQUENCES * MOST_LABELS];
    assert_done(mc_encoder_load(encoder, weights, 2, NULL, &error));
    logits_of(encoder, &c.batch, 2, first);
    assert_done(mc_encoder_load(encoder, other, 3, NULL, &error));
    logits_of(encoder, &c.batch, 2, second);
    assert_memory_not_equal(first, second, sizeof *first * SEQUENCES * c.labels);
    assert_done(mc_encoder_load(encoder, weights, 1, NULL, &error));
    logits_of(encoder, &c.batch, 2, second);
    assert_memory_equal(first, second, sizeof *first * SEQUENCES * c.labels);
    mc_encoder_free(encoder);
    mc_state_dict_free(other);
    mc_state_dict_free(weights);
}

/* Float32 and float64 values under a narrower dtype, as merges have them. */
static mc_state_dict *cast_all(const mc_state_dict *weights, mc_dtype dtype)
{
    mc_state_dict *const all = dict_new();
    for (size_t i = 0; i < mc_state_dict_count(weights); i++) {
        const char *const name = mc_state_dict_name(weights, i);
        mc_source *cast = NULL;
        assert_done(mc_source_cast(mc_state_dict_find(weights, name), dtype, &cast, &error));
        assert_done(mc_state_dict_set(all, name, cast, &error));
        mc_source_unref(cast);
    }
    return all;
}

/* Lazy weights are rounded to their dtype, once, as if they had been written and read. */
static void check_rounding(const mc_state_dict *weights, const cases *c)
{
    static const mc_dtype dtypes[] = {MC_F16, MC_BF16};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        float lazy[SEQUENCES * MOST_LABELS], stored[SEQUENCES * MOST_LABELS];
        mc_state_dict *const cast = cast_all(weights, dtypes[i]);
        mc_state_dict *written = NULL;
        assert_done(mc_state_dict_materialize(cast, NULL, &written, NULL, &error));
        mc_encoder *const encoder = new_encoder("bert", MC_F32);
        assert_done(mc_encoder_load(encoder, cast, 2, NULL, &error));
        logits_of(encoder, &c->batch, 2, lazy);
        assert_done(mc_encoder_load(encoder, written, 2, NULL, &error));
        logits_of(encoder, &c->batch, 2, stored);
        assert_memory_equal(lazy, stored, sizeof *lazy * SEQUENCES * c->labels);
        mc_encoder_free(encoder);
        mc_state_dict_free(written);
        mc_state_dict_free(cast);
    }
}

static void test_lazy_weights(void **state)
{
    (void)state;
    cases c;
    read_cases("bert", &c);
    mc_state_dict *const weights = read_weights("bert");
    mc_state_dict *thirds = NULL;
    assert_done(mc_state_dict_combine_number(MC_DIVIDE, weights, 3, false, &thirds, &error));
    check_rounding(thirds, &c);
    mc_state_dict *const wide = cast_all(weights, MC_F64);
    mc_state_dict *doubles = NULL, *sevenths = NULL;
    assert_done(mc_state_dict_materialize(wide, NULL, &doubles, NULL, &error));
    assert_done(mc_state_dict_combine_number(MC_DIVIDE, doubles, 7, false, &sevenths, &error));
    check_rounding(sevenths, &c);
    mc_state_dict_free(sevenths);
    mc_state_dict_free(doubles);
    mc_state_dict_free(wide);
    mc_state_dict_free(thirds);
    mc_state_dict_free(weights);
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static void bad_config(const char *model, const char *name, json_t *value, mc_status status,
                       const char *part)
{
    json_t *const config = read_json(model, "config.json");
    if (value)
        json_object_set_new(config, name, value);
    else
        json_object_del(config, name);
    mc_encoder *encoder = NULL;
    assert_error(status, part, mc_encoder_new(config, "config.json", MC_F32, &encoder, &error));
    json_decref(config);
}

static void test_bad_configs(void **state)
{
    (void)state;
    bad_config("bert", "architectures", json_pack("[s]", "GPT2LMHeadModel"), MC_UNSUPPORTED,
               "config.json: architecture: expected one of BertForSequenceClassification, "
               "RobertaForSequenceClassification, DistilBertForSequenceClassification, found "
               "GPT2LMHeadModel");
    bad_config("bert", "hidden_act", json_string("xielu"), MC_UNSUPPORTED, "found xielu");
    bad_config("bert", "hidden_act", json_integer(1), MC_UNSUPPORTED, "hidden_act: expected gelu");
    bad_config("bert", "position_embedding_type", json_string("relative_key"), MC_UNSUPPORTED,
               "expected absolute, found relative_key");
    bad_config("bert", "is_decoder", json_true(), MC_UNSUPPORTED, "is_decoder");
    bad_config("bert", "num_attention_heads", json_integer(5), MC_FORMAT,
               "num_attention_heads: expected a divisor of hidden_size (24), found 5");
    bad_config("bert", "num_attention_heads", json_integer(0), MC_FORMAT, "found 0");
    bad_config("bert", "hidden_size", json_integer(-24), MC_FORMAT, "found -24");
    bad_config("bert", "hidden_size", json_string("24"), MC_FORMAT,
               "hidden_size: expected an integer");
    bad_config("bert", "num_hidden_layers", json_integer(1LL << 40), MC_FORMAT,
               "num_hidden_layers: expected 1 to");
    bad_config("bert", "layer_norm_eps", json_real(-1), MC_FORMAT, "layer_norm_eps");
    bad_config("bert", "id2label", json_object(), MC_FORMAT, "id2label");
    bad_config("roberta", "max_position_embeddings", json_integer(2), MC_FORMAT,
               "max_position_embeddings: expected more than pad_token_id + 1 (2), found 2");
}

static void test_architecture_by_model_type(void **state)
{
    (void)state;
    json_t *const config = read_json("roberta", "config.json");
    json_object_del(config, "architectures");
    mc_encoder *encoder = NULL;
    assert_done(mc_encoder_new(config, "config.json", MC_F32, &encoder, &error));
    assert_int_equal(mc_encoder_max_length(encoder), 40);
    assert_int_equal(mc_encoder_vocabulary_size(encoder), 50);
    assert_string_equal(mc_encoder_weight_name(encoder, 0),
                        "roberta.embeddings.word_embeddings.weight");
    mc_encoder_free(encoder);
    json_object_del(config, "model_type");
    assert_error(MC_UNSUPPORTED, "found neither",
                 mc_encoder_new(config, "config.json", MC_F32, &encoder, &error));
    json_decref(config);
}

/* A configuration that says something else than the tensors do. */
static void test_lies(void **state)
{
    (void)state;
    static const struct {
        const char *setting;
        int value;
        mc_status status;
        const char *part;
    } lies[] = {
        {"vocab_size", 51, MC_MISMATCH,
         "tensor 'bert.embeddings.word_embeddings.weight': expected shape [51, 24], as the "
         "configuration says, found [50, 24]"},
        {"vocab_size", 1 << 28, MC_MISMATCH, "[268435456, 24]"},
        {"intermediate_size", 41, MC_MISMATCH, "expected shape [41, 24]"},
        {"num_hidden_layers", 3, MC_NOT_FOUND,
         "tensor 'bert.encoder.layer.2.attention.self.query.weight': expected a tensor of shape "
         "[24, 24]"},
    };
    mc_state_dict *const weights = read_weights("bert");
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        json_t *const config = read_json("bert", "config.json");
        json_object_set_new(config, lies[i].setting, json_integer(lies[i].value));
        mc_encoder *encoder = NULL;
        assert_done(mc_encoder_new(config, "config.json", MC_F32, &encoder, &error));
        assert_error(lies[i].status, lies[i].part,
                     mc_encoder_load(encoder, weights, 2, NULL, &error));
        mc_encoder_free(encoder);
        json_decref(config);
    }
    mc_state_dict_free(weights);
}

/* Replaces a weight by `value` in element `at`. */
static void spoil(mc_state_dict *weights, const char *name, size_t at, float value)
{
    const mc_source *const source = mc_state_dict_find(weights, name);
    const int rank = mc_source_rank(source);
    const int64_t count = mc_source_count(source);
    int64_t shape[2];
    memcpy(shape, mc_source_shape(source), (size_t)rank * sizeof *shape);
    float values[2000];
    assert_true(count <= 2000);
    assert_done(mc_source_read_f32(source, 0, count, values, &error));
    values[at] = value;
    dict_add_bytes(weights, name, MC_F32, rank, shape, values, (size_t)count * sizeof *values);
}

static void test_bad_weights(void **state)
{
    (void)state;
    static const char *const names[] = {
        "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.1.output.dense.weight",
        "bert.pooler.dense.bias", "bert.encoder.layer.0.output.LayerNorm.bias"};
    cases c;
    read_cases("bert", &c);
    mc_encoder *const encoder = open_encoder("bert", MC_F32);
    float logits[SEQUENCES * MOST_LABELS];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        mc_state_dict *const weights = read_weights("bert");
        spoil(weights, names[i], 17, i % 2 ? NAN : -INFINITY);
        assert_error(MC_FORMAT, names[i], mc_encoder_load(encoder, weights, 2, NULL, &error));
        mc_scratch *const scratch = new_scratch();
        assert_error(MC_USAGE, "no weights",
                     mc_encoder_logits(encoder, &c.batch, 1, NULL, scratch, logits, &error));
        mc_scratch_free(scratch);
        mc_state_dict_free(weights);
    }
    mc_state_dict *const weights = read_weights("bert");
    spoil(weights, "classifier.weight", 0, 3e38F);
    spoil(weights, "classifier.weight", 1, 3e38F);
    spoil(weights, "bert.pooler.dense.bias", 0, 100);
    spoil(weights, "bert.pooler.dense.bias", 1, 100);
    assert_done(mc_encoder_load(encoder, weights, 2, NULL, &error));
    mc_scratch *const scratch = new_scratch();
    assert_error(MC_FORMAT, "the logits are not finite",
                 mc_encoder_logits(encoder, &c.batch, 2, NULL, scratch, logits, &error));
    mc_scratch_free(scratch);
    const int64_t shape[] = {3};
    dict_add_bytes(weights, "classifier.bias", MC_I32, 1, shape, "123412341234", 12);
    assert_error(MC_MISMATCH, "tensor 'classifier.bias': expected floats, found I32",
                 mc_encoder_load(encoder, weights, 2, NULL, &error));
    mc_state_dict_free(weights);
    mc_encoder_free(encoder);
}

/* Whole numbers have no infinity: it must not become a number on the way. */
static void test_overflow(void **state)
{
    (void)state;
    static const char name[] = "bert.embeddings.LayerNorm.weight";
    cases c;
    read_cases("bert", &c);
    mc_state_dict *const weights = read_weights("bert");
    mc_state_dict *huge = NULL;
    assert_done(mc_state_dict_combine_number(MC_MULTIPLY, weights, 1e38, false, &huge, &error));
    assert_done(mc_state_dict_set(weights, name, mc_state_dict_find(huge, name), &error));
    static const mc_dtype dtypes[] = {MC_F32, MC_BF16, MC_I8};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (mc_onednn_check(dtypes[i], NULL) != MC_OK)
            continue;
        mc_encoder *const encoder = new_encoder("bert", dtypes[i]);
        assert_done(mc_encoder_load(encoder, weights, 2, NULL, &error));
        mc_scratch *const scratch = new_scratch();
        float logits[SEQUENCES * MOST_LABELS];
        assert_error(MC_FORMAT, "the logits are not finite",
                     mc_encoder_logits(encoder, &c.batch, 2, NULL, scratch, logits, &error));
        mc_scratch_free(scratch);
        mc_encoder_free(encoder);
    }
    mc_state_dict_free(huge);
    mc_state_dict_free(weights);
}

static void test_bad_batches(void **state)
{
    (void)state;
    mc_encoder *const encoder = open_encoder("bert", MC_F32);
    mc_scratch *const scratch = new_scratch();
    int32_t ids[41] = {0};
    uint8_t types[41] = {0};
    float logits[MOST_LABELS];
    const size_t all[] = {0, 41}, none[] = {3, 3}, good[] = {0, 40};
    const mc_batch nothing = {ids, types, none, 0};
    assert_done(mc_encoder_logits(encoder, &nothing, 2, NULL, scratch, logits, &error));
    const mc_batch large = {ids, types, all, 1}, empty = {ids, types, none, 1};
    assert_error(MC_USAGE, "sequence 0: expected 1 to 40 tokens, found 41",
                 mc_encoder_logits(encoder, &large, 2, NULL, scratch, logits, &error));
    assert_error(MC_USAGE, "found 0",
                 mc_encoder_logits(encoder, &empty, 2, NULL, scratch, logits, &error));
    const mc_batch bad = {ids, types, good, 1};
    ids[39] = 50;
    assert_error(MC_MISMATCH, "token id: expected less than the model's vocabulary (50), found 50",
                 mc_encoder_logits(encoder, &bad, 2, NULL, scratch, logits, &error));
    ids[39] = -1;
    assert_error(MC_MISMATCH, "found -1",
                 mc_encoder_logits(encoder, &bad, 2, NULL, scratch, logits, &error));
    ids[39] = 0;
    types[5] = 2;
    assert_error(MC_MISMATCH, "segment type: expected less than type_vocab_size (2), found 2",
                 mc_encoder_logits(encoder, &bad, 2, NULL, scratch, logits, &error));
    types[5] = 0;
    assert_done(mc_encoder_logits(encoder, &bad, 2, NULL, scratch, logits, &error));
    mc_scratch_free(scratch);
    mc_encoder_free(encoder);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static mc_status all_of_it(const json_t *config, mc_dtype dtype, const mc_state_dict *weights,
                           const cases *c, float *logits)
{
    mc_encoder *encoder = NULL;
    mc_scratch *scratch = NULL;
    mc_status status = mc_encoder_new(config, "config.json", dtype, &encoder, NULL);
    if (status == MC_OK)
        status = mc_encoder_load(encoder, weights, 2, NULL, NULL);
    if (status == MC_OK)
        status = mc_scratch_new(&scratch, NULL);
    if (status == MC_OK)
        status = mc_encoder_logits(encoder, &c->batch, 2, NULL, scratch, logits, NULL);
    const size_t last = SEQUENCES - 1; /* alone, it is shared by threads */
    const mc_batch one = {c->ids, c->types, c->starts + last, 1};
    if (status == MC_OK)
        status = mc_encoder_logits(encoder, &one, 2, NULL, scratch, logits + last * c->labels,
                                   NULL);
    mc_scratch_free(scratch);
    mc_encoder_free(encoder);
    return status;
}

static void check_memory_that_fails(mc_dtype dtype)
{
    cases c;
    read_cases("distilbert_relu", &c);
    json_t *const config = read_json("distilbert_relu", "config.json");
    mc_state_dict *const weights = read_weights("distilbert_relu");
    float expected[SEQUENCES * MOST_LABELS], found[SEQUENCES * MOST_LABELS];
    assert_int_equal(all_of_it(config, dtype, weights, &c, expected), MC_OK);
    long failed = 0;
    mc_status status = MC_NO_MEMORY;
    while (status != MC_OK) {
        mc_memory_fail_after(failed++);
        status = all_of_it(config, dtype, weights, &c, found);
        mc_memory_fail_after(-1);
        assert_true(status == MC_OK || status == MC_NO_MEMORY);
    }
    assert_true(failed > 50);
    assert_memory_equal(expected, found, SEQUENCES * c.labels * sizeof *found);
    mc_state_dict_free(weights);
    json_decref(config);
}

static void test_memory_that_fails(void **state)
{
    (void)state;
    check_memory_that_fails(MC_F32);
    if (mc_onednn_check(MC_I8, NULL) == MC_OK)
        check_memory_that_fails(MC_I8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_transformers),
        cmocka_unit_test(test_bf16_near_transformers),
        cmocka_unit_test(test_int8_as_in_torch),
        cmocka_unit_test(test_same_bits_for_any_batch_and_threads),
        cmocka_unit_test(test_few_sequences),
        cmocka_unit_test(test_several_callers),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_other_weights),
        cmocka_unit_test(test_lazy_weights),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_architecture_by_model_type),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_bad_weights),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_memory_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

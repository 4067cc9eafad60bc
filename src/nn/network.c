/*
 * BERT, RoBERTa and DistilBERT with their classification heads. They differ in the names of their
 * weights and settings, in the table of segment types, in how positions are numbered, and in the
 * head's activation. add_block and add_all describe what they share.
 */
#include "nn/network.h"
#include "base/memory.h"
#include "nn/settings.h"

#include <stdio.h>
#include <string.h>

/* A weight's full name is one of these with ".weight" or ".bias". */
typedef struct architecture {
    const char *name, *model_type; /* "architectures" and "model_type" in config.json */
    mc_setting_names settings;
    mc_positions positions;
    const char *word_table, *position_table, *type_table, *embeddings_norm;
    const char
        *block; /* prefix of a block's weights, before its number; the rest of their names: */
    const char *query, *key, *value, *out_proj, *out_norm, *up, *down, *down_norm;
    const char *head, *classifier;
    mc_activation head_activation;
} architecture;

/*
 * Names in config.json, and the defaults of the configuration classes of transformers: a
 * config.json may leave settings out.
 */
#define BERT_SETTINGS(vocabulary_, padding_)                                                       \
    {                                                                                              \
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",            \
            "hidden_act", "type_vocab_size", "layer_norm_eps",                                     \
        {                                                                                          \
            768, 12, 12, 3072, vocabulary_, 512, 2, 2, padding_, 1e-12F, MC_ACTIVATION_GELU        \
        }                                                                                          \
    }
#define BERT_BLOCK                                                                                 \
    .query = "attention.self.query", .key = "attention.self.key", .value = "attention.self.value", \
    .out_proj = "attention.output.dense", .out_norm = "attention.output.LayerNorm",                \
    .up = "intermediate.dense", .down = "output.dense", .down_norm = "output.LayerNorm"

static const architecture architectures[] = {
    {.name = "BertForSequenceClassification",
     .model_type = "bert",
     .settings = BERT_SETTINGS(30522, 0),
     .word_table = "bert.embeddings.word_embeddings",
     .position_table = "bert.embeddings.position_embeddings",
     .type_table = "bert.embeddings.token_type_embeddings",
     .embeddings_norm = "bert.embeddings.LayerNorm",
     .block = "bert.encoder.layer",
     BERT_BLOCK,
     .head = "bert.pooler.dense",
     .classifier = "classifier",
     .head_activation = MC_ACTIVATION_TANH},
    {.name = "RobertaForSequenceClassification",
     .model_type = "roberta",
     .settings = BERT_SETTINGS(50265, 1),
     .positions = MC_POSITIONS_OFFSET,
     .word_table = "roberta.embeddings.word_embeddings",
     .position_table = "roberta.embeddings.position_embeddings",
     .type_table = "roberta.embeddings.token_type_embeddings",
     .embeddings_norm = "roberta.embeddings.LayerNorm",
     .block = "roberta.encoder.layer",
     BERT_BLOCK,
     .head = "classifier.dense",
     .classifier = "classifier.out_proj",
     .head_activation = MC_ACTIVATION_TANH},
    {.name = "DistilBertForSequenceClassification",
     .model_type = "distilbert",
     .settings = {"dim",
                  "n_layers",
                  "n_heads",
                  "hidden_dim",
                  "activation",
                  NULL,
                  NULL,
                  {768, 6, 12, 3072, 30522, 512, 0, 2, 0, 1e-12F, MC_ACTIVATION_GELU}},
     .word_table = "distilbert.embeddings.word_embeddings",
     .position_table = "distilbert.embeddings.position_embeddings",
     .embeddings_norm = "distilbert.embeddings.LayerNorm",
     .block = "distilbert.transformer.layer",
     .query = "attention.q_lin",
     .key = "attention.k_lin",
     .value = "attention.v_lin",
     .out_proj = "attention.out_lin",
     .out_norm = "sa_layer_norm",
     .up = "ffn.lin1",
     .down = "ffn.lin2",
     .down_norm = "output_layer_norm",
     .head = "pre_classifier",
     .classifier = "classifier",
     .head_activation = MC_ACTIVATION_RELU},
};

enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

/* ---- building -------------------------------------------------------------------------------- */

/* After a failure every function does nothing, so the description below needs no checks. */
typedef struct builder {
    mc_network *network;
    const architecture *a;
    mc_nn_settings s;
    bool plain, whole; /* as in mc_network_build_plain */
    int block;         /* of the operations that are added; −1: none */
    bool failed;       /* out of memory */
} builder;

static int add_value(builder *b, mc_rows rows, int width)
{
    mc_network *const n = b->network;
    if (b->failed || !MC_GROW(n->values, n->value_count, n->value_capacity)) {
        b->failed = true;
        return -1;
    }
    n->values[n->value_count] = (mc_nn_value){.rows = rows, .width = width, .panels = 1};
    return (int)n->value_count++;
}

static void add_op(builder *b, mc_op op)
{
    mc_network *const n = b->network;
    if (b->failed || !MC_GROW(n->ops, n->op_count, n->op_capacity)) {
        b->failed = true;
        return;
    }
    for (int i = 0; i < 3; i++)
        if (op.in[i] >= 0) {
            /* Who reads a value decides in which forms it is kept. */
            mc_nn_value *const value = &n->values[op.in[i]];
            value->inputs = value->inputs || op.kind == MC_OP_PRODUCT;
            value->floats = value->floats || op.kind != MC_OP_PRODUCT;
        }
    if (op.kind != MC_OP_PRODUCT) /* the others compute in float32 */
        n->values[op.out].floats = true;
    op.block = b->block;
    n->ops[n->op_count++] = op;
}

/* Takes over the name; NULL: there was no memory for it. rows 0: a vector. */
static int add_weight(builder *b, char *name, mc_weight_kind kind, int64_t rows, int64_t columns)
{
    mc_network *const n = b->network;
    if (!name || b->failed || !MC_GROW(n->weights, n->weight_count, n->weight_capacity)) {
        mc_free(name);
        b->failed = true;
        return -1;
    }
    mc_weight *const weight = &n->weights[n->weight_count];
    *weight = (mc_weight){.name = name, .kind = kind, .rank = rows ? 2 : 1};
    weight->shape[0] = rows ? rows : columns;
    weight->shape[1] = rows ? columns : 0;
    return (int)n->weight_count++;
}

/* `block` −1: outside the blocks. */
static char *name_of(const builder *b, int block, const char *name, const char *suffix)
{
    return block < 0 ? mc_format("%s.%s", name, suffix)
                     : mc_format("%s.%d.%s.%s", b->a->block, block, name, suffix);
}

static int add_table(builder *b, const char *name, int rows)
{
    return add_weight(b, name_of(b, -1, name, "weight"), MC_WEIGHT_TABLE, rows, b->s.hidden);
}

static void add_normalize(builder *b, int block, const char *name, int in, int added, int out)
{
    const int64_t width = b->s.hidden;
    const int gain = add_weight(b, name_of(b, block, name, "weight"), MC_WEIGHT_VECTOR, 0, width);
    const int shift = add_weight(b, name_of(b, block, name, "bias"), MC_WEIGHT_VECTOR, 0, width);
    add_op(b, (mc_op){MC_OP_NORMALIZE, {in, added, -1}, out, {gain, shift, -1}, 0, -1});
}

/* A value to write after `value`: the same one again, or a new one of the same shape. */
static int again(builder *b, int value)
{
    if (!b->plain || b->failed)
        return value;
    const mc_nn_value like = b->network->values[value];
    return add_value(b, like.rows, like.width);
}

static void add_product(builder *b, int block, const char *name, int in, int out,
                        mc_activation activation)
{
    if (b->failed)
        return;
    if (b->plain && activation != MC_ACTIVATION_LINEAR) {
        /* The derivative of an activation needs its input, which a fused product would not keep. */
        const int linear = again(b, out);
        add_product(b, block, name, in, linear, MC_ACTIVATION_LINEAR);
        add_op(b, (mc_op){MC_OP_ACTIVATE, {linear, -1, -1}, out, {-1, -1, -1}, activation, -1});
        return;
    }
    const int64_t rows = b->network->values[out].width, columns = b->network->values[in].width;
    const int weight = add_weight(b, name_of(b, block, name, "weight"), MC_WEIGHT_MATRIX, rows,
                                  columns);
    const int bias = add_weight(b, name_of(b, block, name, "bias"), MC_WEIGHT_BIAS, 0, rows);
    add_op(b, (mc_op){MC_OP_PRODUCT, {in, -1, -1}, out, {weight, bias, -1}, activation, -1});
    if (b->failed)
        return;
    mc_weight *const added = &b->network->weights[weight];
    added->activation = activation;
    added->row_panels = b->network->values[out].panels;
    added->column_panels = b->network->values[in].panels;
}

static void add_first(builder *b, int in, int out)
{
    add_op(b, (mc_op){MC_OP_FIRST, {in, -1, -1}, out, {-1, -1, -1}, 0, -1});
}

/*
 * The fewest panels of equal width that have at most PANEL columns; 1 if the width has no such
 * divisor. Measured: 512 columns are as fast as 384, 768 are slower.
 */
enum { PANEL = 512 };

static int panels_of(int width)
{
    int panels = (width + PANEL - 1) / PANEL;
    while (panels < 2 * width / PANEL && width % panels != 0)
        panels++;
    return panels > 0 && width % panels == 0 ? panels : 1;
}

/* Values that all blocks reuse, with one row per token, or per sequence. */
typedef struct stream {
    int state, query, attended, sum, inner;
} stream;

static stream add_stream(builder *b, mc_rows rows)
{
    const int width = b->s.hidden;
    const stream s = {add_value(b, rows, width), add_value(b, rows, width),
                      add_value(b, rows, width), add_value(b, rows, width),
                      add_value(b, rows, b->s.inner)};
    /* int8 needs a whole row to find its scale */
    if (!b->failed && !b->plain && b->network->dtype != MC_I8)
        b->network->values[s.inner].panels = panels_of(b->s.inner);
    return s;
}

static stream stream_again(builder *b, const stream *s)
{
    return (stream){again(b, s->state), again(b, s->query), again(b, s->attended), again(b, s->sum),
                    again(b, s->inner)};
}

/*
 * A block turns the state `in` into the one that it returns: attention over all tokens, whose
 * states are `tokens`, then the two products of the MLP. Each result is added to its input and
 * normalised.
 */
static int add_block(builder *b, int block, const stream *s, int in, int tokens, int key, int value)
{
    const architecture *const a = b->a;
    /*
     * Without `plain`, both are the same values: a block writes over those of the block before it.
     */
    const stream first = stream_again(b, s), second = stream_again(b, s);
    const int keys = again(b, key), values = again(b, value);
    b->block = block;
    add_product(b, block, a->query, in, first.query, MC_ACTIVATION_LINEAR);
    add_product(b, block, a->key, tokens, keys, MC_ACTIVATION_LINEAR);
    add_product(b, block, a->value, tokens, values, MC_ACTIVATION_LINEAR);
    add_op(
        b,
        (mc_op){MC_OP_ATTENTION, {first.query, keys, values}, first.attended, {-1, -1, -1}, 0, -1});
    add_product(b, block, a->out_proj, first.attended, first.sum, MC_ACTIVATION_LINEAR);
    add_normalize(b, block, a->out_norm, first.sum, in, first.state);
    add_product(b, block, a->up, first.state, second.inner, b->s.activation);
    add_product(b, block, a->down, second.inner, second.sum, MC_ACTIVATION_LINEAR);
    add_normalize(b, block, a->down_norm, second.sum, first.state, second.state);
    b->block = -1;
    return second.state;
}

static int add_embeddings(builder *b, int out)
{
    const architecture *const a = b->a;
    const int words = add_table(b, a->word_table, b->s.vocabulary);
    const int positions = add_table(b, a->position_table, b->s.positions);
    const int types = a->type_table ? add_table(b, a->type_table, b->s.types) : -1;
    const int normalized = again(b, out);
    add_op(b, (mc_op){MC_OP_EMBED, {-1, -1, -1}, out, {words, positions, types}, 0, -1});
    add_normalize(b, -1, a->embeddings_norm, out, -1, normalized);
    return normalized;
}

/*
 * The head reads only the first token, so the last block computes queries for first tokens only,
 * unless it is to be observed on all of them.
 */
static void add_all(builder *b)
{
    const stream tokens = add_stream(b, MC_ROWS_TOKENS), first = add_stream(b, MC_ROWS_SEQUENCES);
    const int key = add_value(b, MC_ROWS_TOKENS, b->s.hidden);
    const int value = add_value(b, MC_ROWS_TOKENS, b->s.hidden);
    const int pooled = add_value(b, MC_ROWS_SEQUENCES, b->s.hidden);
    const int logits = add_value(b, MC_ROWS_SEQUENCES, b->s.labels);
    const int full = b->whole ? b->s.blocks : b->s.blocks - 1;
    int state = add_embeddings(b, tokens.state), head = first.state;
    for (int block = 0; block < full; block++)
        state = add_block(b, block, &tokens, state, state, key, value);
    add_first(b, state, head);
    if (!b->whole)
        head = add_block(b, full, &first, head, state, key, value);
    add_product(b, -1, b->a->head, head, pooled, b->a->head_activation);
    add_product(b, -1, b->a->classifier, pooled, logits, MC_ACTIVATION_LINEAR);
    b->network->result = logits;
    b->network->blocks = b->s.blocks;
}

/* A value that only products read is written in their dtype directly. */
static void set_results(mc_network *network)
{
    network->values[network->result].floats = true;
    for (size_t i = 0; i < network->op_count; i++) {
        const mc_op *const op = &network->ops[i];
        if (op->kind == MC_OP_PRODUCT)
            network->weights[op->weights[0]].result = network->dtype == MC_I8 ? MC_I32
                                                      : network->values[op->out].floats
                                                          ? MC_F32
                                                          : network->dtype;
    }
}

/* ---- from config.json ------------------------------------------------------------------------ */

static mc_status unsupported(const char *file, const char *found, mc_error *error)
{
    char known[256] = "";
    for (size_t i = 0; i < ARCHITECTURES; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 architectures[i].name);
    return mc_fail_at(error, MC_UNSUPPORTED, file, NULL, -1,
                      "architecture: expected one of %s, found %s", known, found);
}

/* By "architectures"; if that is missing, by "model_type". */
static mc_status find(const json_t *config, const char *file, const architecture **out,
                      mc_error *error)
{
    const char *const name = json_string_value(
        json_array_get(json_object_get(config, "architectures"), 0));
    const char *const type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        const architecture *const a = &architectures[i];
        /* A name decides alone: "bert" with another head is another network. */
        if (name ? strcmp(name, a->name) == 0 : type && strcmp(type, a->model_type) == 0) {
            *out = a;
            return MC_OK;
        }
    }
    return unsupported(file,
                       name   ? name
                       : type ? type
                              : "neither architectures nor model_type",
                       error);
}

static mc_status set_limits(mc_network *n, const builder *b, const char *file, mc_error *error)
{
    const mc_nn_settings *const s = &b->s;
    n->positions = b->a->positions;
    n->vocabulary = s->vocabulary;
    n->types = s->types;
    n->labels = s->labels;
    n->heads = s->heads;
    n->epsilon = s->epsilon;
    n->padding = s->padding;
    /* RoBERTa numbers tokens from padding + 1 on: the rows before are of no token. */
    const int skipped = n->positions == MC_POSITIONS_OFFSET ? s->padding + 1 : 0;
    n->max_length = s->positions - skipped;
    if (n->max_length < 1)
        return mc_fail_at(
            error, MC_FORMAT, file, NULL, -1,
            "max_position_embeddings: expected more than pad_token_id + 1 (%d), found %d", skipped,
            s->positions);
    return MC_OK;
}

static mc_status build(builder *b, const json_t *config, const char *file, mc_error *error)
{
    MC_TRY(find(config, file, &b->a, error));
    MC_TRY(mc_nn_settings_read(config, file, &b->a->settings, &b->s, error));
    MC_TRY(set_limits(b->network, b, file, error));
    add_all(b);
    if (b->failed)
        return mc_fail_memory(error);
    set_results(b->network);
    return MC_OK;
}

mc_status mc_network_build(mc_network *network, const json_t *config, const char *file,
                           mc_dtype dtype, mc_error *error)
{
    *network = (mc_network){.dtype = dtype};
    builder b = {.network = network, .block = -1};
    return build(&b, config, file, error);
}

mc_status mc_network_build_plain(mc_network *network, const json_t *config, const char *file,
                                 bool whole, mc_error *error)
{
    *network = (mc_network){.dtype = MC_F32};
    builder b = {.network = network, .plain = true, .whole = whole, .block = -1};
    return build(&b, config, file, error);
}

void mc_network_free(mc_network *network)
{
    for (size_t i = 0; i < network->weight_count; i++)
        mc_free(network->weights[i].name);
    mc_free(network->weights);
    mc_free(network->values);
    mc_free(network->ops);
    *network = (mc_network){0};
}

size_t mc_network_first(const mc_network *network, int block)
{
    const bool head = block == network->blocks;
    const int searched = head ? block - 1 : block;
    size_t first = 0;
    while (network->ops[first].block != searched)
        first++;
    while (head && network->ops[first].block == searched)
        first++;
    return first;
}

int mc_network_state(const mc_network *network, int block)
{
    return network->ops[mc_network_first(network, block)].in[0];
}

#include "model/parts.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- model types ----------------------------------------------------------------------------- */

/* What depends on the model type. Names alone decide the rest. */
typedef struct model_type {
    const char *type;
    const char *prefix;
    bool transposed; /* matrices are [in, out] */
} model_type;

static const model_type types[] = {
    {"albert", "albert."},
    {"bart", "model."},
    {"beit", "beit."},
    {"bert", "bert."},
    {"bloom", "transformer."},
    {"camembert", "roberta."},
    {"clip", ""},
    {"cohere", "model."},
    {"convnext", "convnext."},
    {"data2vec-text", "data2vec_text."},
    {"deberta", "deberta."},
    {"deberta-v2", "deberta."},
    {"deepseek_v3", "model."},
    {"deit", "deit."},
    {"dinov2", "dinov2."},
    {"distilbert", "distilbert."},
    {"electra", "electra."},
    {"ernie", "ernie."},
    {"esm", "esm."},
    {"falcon", "transformer."},
    {"gemma", "model."},
    {"gemma2", "model."},
    {"gemma3_text", "model."},
    {"gpt2", "transformer.", true},
    {"gpt_bigcode", "transformer."},
    {"gpt_neo", "transformer."},
    {"gpt_neox", "gpt_neox."},
    {"gptj", "transformer."},
    {"granite", "model."},
    {"hubert", "hubert."},
    {"imagegpt", "transformer.", true},
    {"llama", "model."},
    {"longformer", "longformer."},
    {"mamba", "backbone."},
    {"mamba2", "backbone."},
    {"marian", "model."},
    {"mbart", "model."},
    {"mistral", "model."},
    {"mixtral", "model."},
    {"modernbert", "model."},
    {"mpnet", "mpnet."},
    {"olmo2", "model."},
    {"openai-gpt", "transformer.", true},
    {"opt", "model."},
    {"pegasus", "model."},
    {"phi", "model."},
    {"phi3", "model."},
    {"qwen2", "model."},
    {"qwen2_moe", "model."},
    {"qwen3", "model."},
    {"qwen3_moe", "model."},
    {"resnet", "resnet."},
    {"roberta", "roberta."},
    {"siglip", ""},
    {"stablelm", "model."},
    {"starcoder2", "model."},
    {"swin", "swin."},
    {"t5", ""},
    {"umt5", ""},
    {"mt5", ""},
    {"vit", "vit."},
    {"wav2vec2", "wav2vec2."},
    {"whisper", "model."},
    {"xlm-roberta", "roberta."},
    {"xlnet", "transformer."},
};

static const model_type *find_type(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].type, name) == 0)
            return &types[i];
    return NULL;
}

const char *mc_encoder_prefix(const char *model_type_name)
{
    const model_type *const found = find_type(model_type_name);
    return found ? found->prefix : NULL;
}

/* ---- names as paths -------------------------------------------------------------------------- */

enum { MAX_SEGMENTS = 32 };

/* "model.layers.3.mlp.up_proj.weight" cut at its dots. */
typedef struct path {
    const char *items[MAX_SEGMENTS];
    size_t lengths[MAX_SEGMENTS];
    size_t count;
    size_t modules; /* segments without the parameter's own: "weight", "bias" */
} path;

static bool is(const path *p, size_t index, const char *word)
{
    return strlen(word) == p->lengths[index] &&
           memcmp(p->items[index], word, p->lengths[index]) == 0;
}

static bool is_any(const path *p, size_t index, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is(p, index, words[i]))
            return true;
    return false;
}
#define IS_ANY(path_, index_, words_)                                                              \
    is_any((path_), (index_), (words_), sizeof(words_) / sizeof *(words_))

/* At most six digits: the number always fits an int. */
static bool is_number(const path *p, size_t index)
{
    for (size_t i = 0; i < p->lengths[index]; i++)
        if (!isdigit((unsigned char)p->items[index][i]))
            return false;
    return p->lengths[index] > 0 && p->lengths[index] < 7;
}

static int number_at(const path *p, size_t index)
{
    int number = 0;
    for (size_t i = 0; i < p->lengths[index]; i++)
        number = number * 10 + (p->items[index][i] - '0');
    return number;
}

static bool ends_with(const path *p, size_t index, const char *ending)
{
    const size_t length = strlen(ending);
    return p->lengths[index] >= length &&
           strncasecmp(p->items[index] + p->lengths[index] - length, ending, length) == 0;
}

/*
 * Cuts a name at its dots. A very long name keeps its first segments, where block and expert are.
 */
static path cut(const char *name)
{
    static const char *const leaves[] = {"weight",       "bias",       "gamma",     "beta",
                                         "weight_g",     "weight_v",   "original0", "original1",
                                         "running_mean", "running_var"};
    path p = {.count = 0};
    for (const char *at = name; *at && p.count < MAX_SEGMENTS; at += *at == '.') {
        p.items[p.count] = at;
        p.lengths[p.count] = strcspn(at, ".");
        at += p.lengths[p.count++];
    }
    p.modules = p.count && IS_ANY(&p, p.count - 1, leaves) ? p.count - 1 : p.count;
    /* Weight normalisation: "conv.parametrizations.weight.original0" is conv's weight. */
    if (p.modules > 2 && is(&p, p.modules - 2, "parametrizations"))
        p.modules -= 2;
    return p;
}

/* Whether the modules end with `suffix`, such as "attention.output.dense", at a dot. */
static bool has_suffix(const path *p, const char *suffix)
{
    const size_t length = strlen(suffix);
    if (p->modules == 0)
        return false;
    const char *const end = p->items[p->modules - 1] + p->lengths[p->modules - 1];
    const size_t all = (size_t)(end - p->items[0]);
    return all >= length && memcmp(end - length, suffix, length) == 0 &&
           (all == length || end[-(ptrdiff_t)length - 1] == '.');
}

/* ---- blocks and experts ---------------------------------------------------------------------- */

/* Words after which a number counts blocks. */
static bool is_stack(const path *p, size_t index)
{
    return is(p, index, "h") || ends_with(p, index, "layer") || ends_with(p, index, "layers") ||
           ends_with(p, index, "block") || ends_with(p, index, "blocks") || is(p, index, "stages");
}

/* Finds the outermost number that follows such a word: T5's "block.3.layer.1" is block 3. */
static void find_block(const path *p, mc_part *part)
{
    for (size_t i = 1; i < p->count; i++)
        if (is_number(p, i) && is_stack(p, i - 1)) {
            part->block = number_at(p, i);
            part->stack_length = (size_t)(p->items[i] - p->items[0]);
            part->number_length = p->lengths[i];
            return;
        }
}

static void find_expert(const path *p, mc_part *part)
{
    for (size_t i = 0; i < p->count; i++)
        /* Without a number, the tensor holds all experts of the block. */
        if (is(p, i, "experts") || is(p, i, "local_experts")) {
            const bool numbered = i + 1 < p->count && is_number(p, i + 1);
            part->expert = numbered ? number_at(p, i + 1) : MC_ALL_EXPERTS;
        }
}

/* ---- roles ----------------------------------------------------------------------------------- */

/*
 * Endings of the modules of a name. The first that fits counts: exact endings precede general ones.
 */
static const struct {
    const char *suffix;
    mc_part_role role;
} endings[] = {
    /* output heads, which predict a token */
    {"lm_head", MC_PART_OUTPUT_HEAD},
    {"lm_head.decoder", MC_PART_OUTPUT_HEAD},
    {"embed_out", MC_PART_OUTPUT_HEAD},
    {"proj_out", MC_PART_OUTPUT_HEAD},
    {"vocab_projector", MC_PART_OUTPUT_HEAD},
    {"output_projection", MC_PART_OUTPUT_HEAD},
    {"cls.predictions", MC_PART_OUTPUT_HEAD},
    {"predictions.decoder", MC_PART_OUTPUT_HEAD},
    {"generator_lm_head", MC_PART_OUTPUT_HEAD},
    {"final_logits_bias", MC_PART_OUTPUT_HEAD},
    /* embeddings */
    {"word_embeddings", MC_PART_INPUT_EMBEDDING},
    {"word_embedding", MC_PART_INPUT_EMBEDDING},
    {"embed_tokens", MC_PART_INPUT_EMBEDDING},
    {"tok_embeddings", MC_PART_INPUT_EMBEDDING},
    {"token_embedding", MC_PART_INPUT_EMBEDDING},
    {"tokens_embed", MC_PART_INPUT_EMBEDDING},
    {"embed_in", MC_PART_INPUT_EMBEDDING},
    {"wte", MC_PART_INPUT_EMBEDDING},
    {"shared", MC_PART_INPUT_EMBEDDING},
    {"backbone.embeddings", MC_PART_INPUT_EMBEDDING},
    {"position_embeddings", MC_PART_POSITION_EMBEDDING},
    {"position_embedding", MC_PART_POSITION_EMBEDDING},
    {"positions_embed", MC_PART_POSITION_EMBEDDING},
    {"embed_positions", MC_PART_POSITION_EMBEDDING},
    {"wpe", MC_PART_POSITION_EMBEDDING},
    {"rel_embeddings", MC_PART_POSITION_EMBEDDING},
    {"relative_attention_bias", MC_PART_POSITION_EMBEDDING},
    {"relative_position_bias_table", MC_PART_POSITION_EMBEDDING},
    {"pos_conv_embed.conv", MC_PART_POSITION_EMBEDDING},
    {"token_type_embeddings", MC_PART_TYPE_EMBEDDING},
    {"patch_embeddings.projection", MC_PART_PATCH_EMBEDDING},
    {"patch_embedding", MC_PART_PATCH_EMBEDDING},
    {"patch_embed.proj", MC_PART_PATCH_EMBEDDING},
    /* attention */
    {"attention.output.dense", MC_PART_ATTENTION_OUT},
    {"attn.c_proj", MC_PART_ATTENTION_OUT},
    {"attention.c_proj", MC_PART_ATTENTION_OUT},
    {"crossattention.c_proj", MC_PART_ATTENTION_OUT},
    {"self_attn.dense", MC_PART_ATTENTION_OUT},
    {"self_attention.dense", MC_PART_ATTENTION_OUT},
    {"attention.dense", MC_PART_ATTENTION_OUT},
    {"attn.Wo", MC_PART_ATTENTION_OUT},
    {"attn.proj", MC_PART_ATTENTION_OUT},
    {"attention.wo", MC_PART_ATTENTION_OUT},
    {"attention.o", MC_PART_ATTENTION_OUT},
    {"SelfAttention.o", MC_PART_ATTENTION_OUT},
    {"EncDecAttention.o", MC_PART_ATTENTION_OUT},
    {"o_proj", MC_PART_ATTENTION_OUT},
    {"out_proj", MC_PART_ATTENTION_OUT},
    {"out_lin", MC_PART_ATTENTION_OUT},
    {"query", MC_PART_QUERY},
    {"q_proj", MC_PART_QUERY},
    {"query_proj", MC_PART_QUERY},
    {"pos_query_proj", MC_PART_QUERY},
    {"q_lin", MC_PART_QUERY},
    {"q_attn", MC_PART_QUERY},
    {"attention.wq", MC_PART_QUERY},
    {"attn.q", MC_PART_QUERY},
    {"SelfAttention.q", MC_PART_QUERY},
    {"EncDecAttention.q", MC_PART_QUERY},
    {"key", MC_PART_KEY},
    {"k_proj", MC_PART_KEY},
    {"key_proj", MC_PART_KEY},
    {"pos_key_proj", MC_PART_KEY},
    {"k_lin", MC_PART_KEY},
    {"attention.wk", MC_PART_KEY},
    {"attn.k", MC_PART_KEY},
    {"SelfAttention.k", MC_PART_KEY},
    {"EncDecAttention.k", MC_PART_KEY},
    {"value", MC_PART_VALUE},
    {"v_proj", MC_PART_VALUE},
    {"value_proj", MC_PART_VALUE},
    {"v_lin", MC_PART_VALUE},
    {"attention.wv", MC_PART_VALUE},
    {"attn.v", MC_PART_VALUE},
    {"SelfAttention.v", MC_PART_VALUE},
    {"EncDecAttention.v", MC_PART_VALUE},
    {"c_attn", MC_PART_QUERY_KEY_VALUE},
    {"query_key_value", MC_PART_QUERY_KEY_VALUE},
    {"Wqkv", MC_PART_QUERY_KEY_VALUE},
    {"qkv_proj", MC_PART_QUERY_KEY_VALUE},
    {"qkv", MC_PART_QUERY_KEY_VALUE},
    {"W_pack", MC_PART_QUERY_KEY_VALUE},
    {"in_proj_weight", MC_PART_QUERY_KEY_VALUE},
    {"in_proj_bias", MC_PART_QUERY_KEY_VALUE},
    /* routers of experts, before the gates of their layers */
    {"mlp.gate", MC_PART_ROUTER},
    {"block_sparse_moe.gate", MC_PART_ROUTER},
    {"feed_forward.router", MC_PART_ROUTER},
    {"mlp.router", MC_PART_ROUTER},
    {"router.classifier", MC_PART_ROUTER},
    {"router.layer", MC_PART_ROUTER},
    {"router", MC_PART_ROUTER},
    {"gate.e_score_correction_bias", MC_PART_ROUTER},
    {"shared_expert_gate", MC_PART_ROUTER},
    /* the layers between attentions */
    {"gate_up_proj", MC_PART_MLP_GATE_UP},
    {"gate_up_proj_bias", MC_PART_MLP_GATE_UP},
    {"mlp.Wi", MC_PART_MLP_GATE_UP},
    {"gate_proj", MC_PART_MLP_GATE},
    {"w1", MC_PART_MLP_GATE},
    {"wi_0", MC_PART_MLP_GATE},
    {"up_proj", MC_PART_MLP_UP},
    {"w3", MC_PART_MLP_UP},
    {"wi_1", MC_PART_MLP_UP},
    {"wi", MC_PART_MLP_UP},
    {"intermediate.dense", MC_PART_MLP_UP},
    {"intermediate_dense", MC_PART_MLP_UP},
    {"fc1", MC_PART_MLP_UP},
    {"c_fc", MC_PART_MLP_UP},
    {"lin1", MC_PART_MLP_UP},
    {"dense_h_to_4h", MC_PART_MLP_UP},
    {"ffn", MC_PART_MLP_UP},
    {"down_proj", MC_PART_MLP_DOWN},
    {"down_proj_bias", MC_PART_MLP_DOWN},
    {"w2", MC_PART_MLP_DOWN},
    {"wo", MC_PART_MLP_DOWN},
    {"mlp.Wo", MC_PART_MLP_DOWN},
    {"output.dense", MC_PART_MLP_DOWN},
    {"output_dense", MC_PART_MLP_DOWN},
    {"fc2", MC_PART_MLP_DOWN},
    {"mlp.c_proj", MC_PART_MLP_DOWN},
    {"lin2", MC_PART_MLP_DOWN},
    {"dense_4h_to_h", MC_PART_MLP_DOWN},
    {"ffn_output", MC_PART_MLP_DOWN},
    {"convolution", MC_PART_CONVOLUTION},
    {"conv", MC_PART_CONVOLUTION},
    {"conv1", MC_PART_CONVOLUTION},
    {"conv2", MC_PART_CONVOLUTION},
    {"conv3", MC_PART_CONVOLUTION},
    {"conv1d", MC_PART_CONVOLUTION},
};

static bool is_buffer(const path *p)
{
    static const char *const names[] = {"running_mean", "running_var",    "num_batches_tracked",
                                        "position_ids", "token_type_ids", "inv_freq",
                                        "masked_bias",  "embed_scale"};
    if (p->count == 0)
        return false;
    const size_t last = p->count - 1;
    /* GPT-2's causal mask was stored as "h.0.attn.bias", a constant. */
    return IS_ANY(p, last, names) || (last > 0 && is(p, last, "bias") && is(p, last - 1, "attn"));
}

static bool is_norm(const path *p)
{
    static const char *const names[] = {"ln",
                                        "ln_1",
                                        "ln_2",
                                        "ln_3",
                                        "ln_f",
                                        "ln1",
                                        "ln2",
                                        "bn",
                                        "bn1",
                                        "bn2",
                                        "bn3",
                                        "norm_f",
                                        "norm1",
                                        "norm2",
                                        "normalization",
                                        "layernorm_before",
                                        "layernorm_after",
                                        "layernorm_embedding",
                                        "q_ln",
                                        "k_ln",
                                        "layer_norm1",
                                        "layer_norm2",
                                        "pre_layrnorm" /* CLIP's spelling */};
    if (p->modules == 0)
        return false;
    return ends_with(p, p->modules - 1, "norm") || IS_ANY(p, p->modules - 1, names);
}

/* Modules on top of an encoder for a task. Such words have other meanings inside blocks. */
static const char *const heads[] = {"classifier",
                                    "classification_head",
                                    "pre_classifier",
                                    "score",
                                    "pooler",
                                    "qa_outputs",
                                    "cls",
                                    "head",
                                    "lm_head",
                                    "vocab_transform",
                                    "summary",
                                    "projector",
                                    "visual_projection",
                                    "text_projection",
                                    "discriminator_predictions",
                                    "generator_predictions",
                                    "seq_relationship",
                                    "v_head",
                                    "logits_proj",
                                    "dense_head"};
enum { HEADS = sizeof heads / sizeof *heads };

static bool is_head(const path *p)
{
    for (size_t i = 0; i < p->modules; i++)
        if (IS_ANY(p, i, heads))
            return true;
    return false;
}

bool mc_pattern_names_head(const char *pattern)
{
    static const char *const ends[] = {"weight", "bias"};
    char name[64];
    for (size_t i = 0; i < 2 * HEADS; i++) {
        snprintf(name, sizeof name, "%s.%s", heads[i / 2], ends[i % 2]);
        if (fnmatch(pattern, name, 0) == 0)
            return true;
    }
    return false;
}

static bool is_state_space(const path *p)
{
    for (size_t i = 0; i + 1 < p->count; i++)
        if (is(p, i, "mixer") || is(p, i, "mamba"))
            return true;
    return false;
}

static mc_part_role ending_of(const path *p)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (has_suffix(p, endings[i].suffix))
            return endings[i].role;
    return MC_PART_OTHER;
}

static mc_part_role role_of(const path *p, bool in_block)
{
    if (is_buffer(p))
        return MC_PART_BUFFER;
    if (is_norm(p))
        return MC_PART_NORM;
    const mc_part_role ending = ending_of(p);
    /* These keep their role inside a head: "cls.predictions.decoder" has the vocabulary axis. */
    if (ending == MC_PART_OUTPUT_HEAD || ending == MC_PART_POSITION_EMBEDDING)
        return ending;
    /* ModernBERT names its head as other models name their second half: "decoder". */
    if (p->modules == 1 && is(p, 0, "decoder"))
        return MC_PART_OUTPUT_HEAD;
    if (!in_block && is_head(p))
        return MC_PART_HEAD;
    return is_state_space(p) ? MC_PART_STATE_SPACE : ending;
}

static int vocabulary_axis(const path *p, mc_part_role role)
{
    if (role == MC_PART_OUTPUT_HEAD)
        return is(p, p->count - 1, "final_logits_bias") ? 1 : 0; /* BART: [1, tokens] */
    return role == MC_PART_INPUT_EMBEDDING ? 0 : -1;
}

mc_part mc_part_of(const char *type, const char *name)
{
    const path p = cut(name);
    const model_type *const known = find_type(type);
    mc_part part = {.block = -1, .expert = -1, .vocabulary_axis = -1};
    if (p.count == 0)
        return part;
    find_block(&p, &part);
    find_expert(&p, &part);
    part.role = role_of(&p, part.block >= 0);
    part.vocabulary_axis = vocabulary_axis(&p, part.role);
    part.bias = ends_with(&p, p.count - 1, "bias") && part.role != MC_PART_BUFFER;
    /* Only the layers of blocks are Conv1D: embeddings and heads of these types are as usual. */
    part.transposed = known && known->transposed && part.block >= 0 && !part.bias &&
                      part.role != MC_PART_NORM && part.role != MC_PART_BUFFER;
    return part;
}

const char *mc_part_role_text(mc_part_role role)
{
    static const char *const texts[] = {
#define X(name_, text_) [MC_PART_##name_] = text_,
        MC_PART_MAP(X)
#undef X
    };
    return texts[role];
}

/* ---- tied tensors ---------------------------------------------------------------------------- */

const char *mc_tied_partner(const char *type, const mc_state_dict *dict, const char *name)
{
    const mc_part part = mc_part_of(type, name);
    if (part.role != MC_PART_OUTPUT_HEAD || part.bias)
        return NULL;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const other = mc_state_dict_name(dict, i);
        if (mc_part_of(type, other).role == MC_PART_INPUT_EMBEDDING)
            return other;
    }
    return NULL;
}

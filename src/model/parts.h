/*
 * What a tensor is: its role in the model, the block and expert it belongs to, its vocabulary axis.
 * Alignment, block stacks, filters, vocabularies, methods that depend on depth, and reports by
 * block and role use this one table.
 *
 * The name decides and, where it matters, the model type of config.json. Names of unknown
 * architectures follow the same rules; a name that fits none is MC_PART_OTHER, never an error.
 *
 * Thread-safe; nothing here allocates.
 */
#ifndef MC_MODEL_PARTS_H
#define MC_MODEL_PARTS_H

#include <mergecraft/state_dict.h>

/* role, what it is called in reports */
#define MC_PART_MAP(X)                                                                             \
    X(OTHER, "other")                                                                              \
    X(INPUT_EMBEDDING, "input embedding")                                                          \
    X(POSITION_EMBEDDING, "position embedding")                                                    \
    X(TYPE_EMBEDDING, "type embedding")                                                            \
    X(PATCH_EMBEDDING, "patch embedding")                                                          \
    X(OUTPUT_HEAD, "output head")                                                                  \
    X(HEAD, "head")                                                                                \
    X(NORM, "norm")                                                                                \
    X(QUERY, "query")                                                                              \
    X(KEY, "key")                                                                                  \
    X(VALUE, "value")                                                                              \
    X(QUERY_KEY_VALUE, "query, key, value")                                                        \
    X(ATTENTION_OUT, "attention out")                                                              \
    X(MLP_GATE, "mlp gate")                                                                        \
    X(MLP_UP, "mlp up")                                                                            \
    X(MLP_GATE_UP, "mlp gate, up")                                                                 \
    X(MLP_DOWN, "mlp down")                                                                        \
    X(ROUTER, "router")                                                                            \
    X(STATE_SPACE, "state space")                                                                  \
    X(CONVOLUTION, "convolution")                                                                  \
    X(BUFFER, "buffer")

typedef enum mc_part_role {
#define X(name_, text_) MC_PART_##name_,
    MC_PART_MAP(X)
#undef X
        MC_PART_COUNT
} mc_part_role;

/* In the place of an expert's number: all experts of a block in one tensor. */
#define MC_ALL_EXPERTS (-2)

typedef struct mc_part {
    mc_part_role role;
    int block;  /* number in its stack; −1: in none */
    int expert; /* −1: of none; MC_ALL_EXPERTS */
    /* Where the block number lies in the name: "model.layers." and "3" of "model.layers.3.mlp". */
    size_t stack_length, number_length; /* 0: in no block */
    int vocabulary_axis;                /* the dimension with one entry per token; −1: none */
    bool bias;
    bool transposed; /* a matrix stored as [in, out], as GPT-2's; others are [out, in] */
} mc_part;

/* `model_type` as config.json has it; NULL if it is unknown. */
mc_part mc_part_of(const char *model_type, const char *name);

/* "query, key, value": static. */
const char *mc_part_role_text(mc_part_role role);

/* Whether a shell pattern matches the usual name of a head, such as "classifier.weight". */
bool mc_pattern_names_head(const char *pattern);

/*
 * What the names of the encoder begin with in models of this type that have a head: "bert.". "" if
 * they have no prefix; NULL if the type is unknown.
 */
const char *mc_encoder_prefix(const char *model_type);

/*
 * The tensor that `name` shares its values with where a configuration ties embeddings: the input
 * embedding of an output head. NULL if it has no partner in the dict.
 */
const char *mc_tied_partner(const char *model_type, const mc_state_dict *dict, const char *name);

#endif

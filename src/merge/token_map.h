/*
 * Vocabularies: models whose tokenizers differ are merged token by token. One tokenizer is that of
 * the result, its tokens get ids, and every tensor with a vocabulary axis (embeddings, heads, their
 * biases) is read through a table from these ids to rows of the model (tensor/gather.h).
 *
 *     mc_token_map_new       reads the tokenizers, makes the tables
 *     mc_token_map_outputs   puts tables before the inputs of rows that exist (recipes)
 *     mc_token_map_tensors   the same for state dicts, before they are lined up
 *     mc_token_map_dress     tokenizer files and configuration of the result (token_map_outfit.h)
 */
#ifndef MC_MERGE_TOKEN_MAP_H
#define MC_MERGE_TOKEN_MAP_H

#include "merge/outputs.h"
#include "merge/tokenizer_files.h"
#include "tensor/gather.h"
#include "tokenizer/union.h"

/* Where the row of a token comes from. */
typedef enum mc_token_kind {
    MC_TOKEN_DEFAULT, /* the base's row if it has the token, else the mean of those that have it */
    MC_TOKEN_ZERO,
    MC_TOKEN_SAME,  /* the row of the same token in one model */
    MC_TOKEN_OTHER, /* the row of another token in one model */
    MC_TOKEN_ROW    /* a row of one model, by number */
} mc_token_kind;

typedef struct mc_token_rule {
    const char *token;
    mc_token_kind kind;
    size_t model;      /* index; unless DEFAULT or ZERO */
    const char *other; /* OTHER */
    int64_t row;       /* ROW */
    bool force;        /* also for models that have the token */
} mc_token_rule;

/* The choice of the user. Everything is borrowed and must outlive the mc_token_map. */
typedef struct mc_token_map_choice {
    const mc_tokenizer_owner *models;
    size_t count;
    size_t base;   /* index of the model whose rows stand in first; count: none */
    size_t target; /* index of the model whose tokenizer the result has */
    bool outside;  /* the target has no tensor in the merge */
    bool unite;    /* with the tokens of the other models */
    const mc_token_rule *rules;
    size_t rule_count;
    int64_t pad_to_multiple_of; /* rows of the result; 0: no padding */
    bool strict;
} mc_token_map_choice;

typedef struct mc_token_map {
    mc_token_map_choice choice;
    uint64_t *keys;          /* per model: hash of its tokenizer files */
    mc_document **documents; /* per model; NULL: no file lists its vocabulary */
    size_t *shared;          /* per model: the one that owns its document; equal files share one */
    bool *own;               /* per model: its document is its tokenizer.json */
    size_t *rows;            /* per model: of its embeddings, by its configuration; 0: unknown */
    mc_union *united;        /* NULL: the vocabularies are the same, though no file lists them */
    mc_gather_rule *rules;   /* ascending by row; `input` is the model's index */
    size_t padded;           /* rows of the result */
    size_t added;            /* tokens that the target's own tokenizer lacks */
} mc_token_map;

/*
 * Free with mc_token_map_free. What is dropped, guessed or averaged is reported.
 *
 * Errors: MC_MISMATCH     a token that no model has, or whose row the model lacks that is to give
 *                         it; a token of the result's tokenizer without a row
 *         MC_UNSUPPORTED  a vocabulary that no file lists
 *         MC_FORMAT       a tokenizer file is malformed
 */
mc_status mc_token_map_new(const mc_token_map_choice *choice, mc_token_map **out, mc_report *report,
                           mc_error *error);
void mc_token_map_free(mc_token_map *map); /* accepts NULL */

/* Replaces the inputs of every row with a vocabulary axis. mc_input.model is the model's index. */
mc_status mc_token_map_outputs(const mc_token_map *map, mc_outputs *outputs, mc_error *error);

/*
 * The tensors called `name` of all models, sources[choice.count] (NULL: it has none), by tables, or
 * as they are if they have no vocabulary axis: out[choice.count], new references.
 */
mc_status mc_token_map_tensors(const mc_token_map *map, const char *name, mc_source *const *sources,
                               mc_source **out, mc_error *error);

#endif

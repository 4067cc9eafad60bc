/*
 * Blocks of a model, by the names of its tensors: "model.layers.3.mlp.up_proj.weight" belongs to
 * block 3 of the stack "model.layers.". model/parts.h parses the names.
 */
#ifndef MC_RECIPE_BLOCKS_H
#define MC_RECIPE_BLOCKS_H

#include <mergecraft/state_dict.h>

#include <stdbool.h>

/* A name with a block; the texts are parts of the name. */
typedef struct mc_block_name {
    size_t stack;     /* bytes of the stack's name, "model.layers." */
    int64_t block;    /* the number */
    const char *rest; /* ".mlp.up_proj.weight" */
} mc_block_name;

/* False for a tensor that belongs to no block. */
bool mc_block_name_of(const char *name, mc_block_name *out);

/* Whether the tensor comes before the blocks (embeddings) rather than after them. */
bool mc_is_before_blocks(const char *name);

/* The number of blocks in the stack of that name (`length` bytes): the largest number and one. */
int64_t mc_block_count(const mc_state_dict *dict, const char *stack, size_t length);

#endif

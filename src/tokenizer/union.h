/*
 * The union of several tokenizers: the base's, with the tokens of the others appended, and for each
 * model the rows of its embedding that belong to the union's ids.
 */
#ifndef MC_TOKENIZER_UNION_H
#define MC_TOKENIZER_UNION_H

#include "tokenizer/document.h"

typedef struct mc_union_input {
    const mc_document *document; /* borrowed */
    /*
     * vocab_size of the model: its tokens with higher ids have no row, and are left out. 0:
     * unknown.
     */
    size_t rows;
} mc_union_input;

/* Borrows the documents of its inputs. */
typedef struct mc_union {
    const mc_document *document; /* the base's, or `made` */
    mc_document *made;           /* the base's with more added tokens; NULL: there are none */
    size_t count;                /* the largest id + 1 */
    int32_t **ids; /* [inputs][count]: the id of a token in a model; −1: it has none */
    size_t input_count;
    size_t skipped;     /* tokens of models that have no row */
    size_t conflicting; /* added tokens whose attributes differ between models; the first's count */
} mc_union;

/* Which tokens the union has. */
typedef struct mc_union_options {
    size_t base;               /* index of the input whose tokens keep their ids */
    bool base_only;            /* the tokens of the other inputs are not added */
    const char *const *wanted; /* texts that are tokens of the union whoever has them */
    size_t wanted_count;
} mc_union_options;

/*
 * Builds the union. Order of its tokens:
 *
 *     the base's, with their ids
 *     ordinary tokens of the other models, in the order of models and ids
 *     added tokens of the other models, with their attributes, likewise
 *     wanted texts that are none of these: with the attributes of the first model that has added
 *         them, else as ordinary added tokens
 *
 * Merges, normalizers and everything else are the base's. Free with mc_union_free.
 *
 * Errors: MC_USAGE     there are no inputs, or no such base
 *         MC_MISMATCH  a token of the base has no row
 *         MC_FORMAT    the package `tokenizers` would give tokens of the union other ids
 */
mc_status mc_union_new(const mc_union_input *inputs, size_t count, const mc_union_options *options,
                       mc_union **out, mc_error *error);
void mc_union_free(mc_union *united); /* accepts NULL */

#endif

/* The chat template of a result: by name, the one that most models have, or a text. */
#ifndef MC_MERGE_CHAT_TEMPLATE_H
#define MC_MERGE_CHAT_TEMPLATE_H

#include "merge/tokenizer_files.h"

/* The choice of the user. Everything is borrowed. */
typedef struct mc_chat_template_choice {
    /* A template; alpaca, chatml, exaone, llama3 or mistral; or auto, what most models have. */
    const char *text;
    const mc_tokenizer_owner *models;
    size_t count;
    const mc_model *donor; /* the model that the outfit was made from */
    bool complete;         /* a missing special token is an error; otherwise it is reported */
    bool strict;           /* so are equally frequent templates, and templates left out */
} mc_chat_template_choice;

/*
 * Puts a template into the outfit, as chat_template.jinja, and into tokenizer_config.json if that
 * has one. Special tokens in the template must be in the vocabulary: the tokenizer would split any
 * other into several ordinary tokens.
 *
 * Errors: MC_USAGE     `text` is none of these
 *         MC_MISMATCH  a special token of the template does not exist; any report under
 *                      strict
 */
mc_status mc_chat_template_set(const mc_chat_template_choice *choice, mc_outfit *outfit,
                               mc_report *report, mc_error *error);

/*
 * A model's chat template; *out is NULL if it has none. chat_template.jinja takes precedence, as in
 * transformers. mc_free it.
 */
mc_status mc_chat_template_of(const mc_tokenizer_owner *model, char **out, mc_error *error);

/* Whether a model has a chat template. */
mc_status mc_chat_template_exists(const mc_tokenizer_owner *model, bool *exists, mc_error *error);

#endif

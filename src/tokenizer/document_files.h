/* The vocabulary of a model as a document, from whichever of its tokenizer files list it. */
#ifndef MC_TOKENIZER_DOCUMENT_FILES_H
#define MC_TOKENIZER_DOCUMENT_FILES_H

#include "tokenizer/document.h"

/* Texts of files; NULL: the file does not exist. */
typedef struct mc_document_files {
    const char *tokenizer; /* tokenizer.json */
    size_t tokenizer_size;
    const char *vocab_txt, *vocab_json;
    const char *config; /* tokenizer_config.json */
    const char *added;  /* added_tokens.json */
} mc_document_files;

/*
 * Reads tokenizer.json, else makes a document of vocab.txt or vocab.json. Tokens that only
 * tokenizer_config.json (added_tokens_decoder) or added_tokens.json have are added. *out is NULL if
 * no file lists the vocabulary. *own: the document's text is that of tokenizer.json.
 *
 * Errors: MC_FORMAT, with the file's name
 */
mc_status mc_document_of_files(const mc_document_files *files, mc_document **out, bool *own,
                               mc_error *error);

#endif

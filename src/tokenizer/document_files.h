/* The vocabulary of a model as a document, from whichever of its tokenizer files list it. */
#ifndef MC_TOKENIZER_DOCUMENT_FILES_H
#define MC_TOKENIZER_DOCUMENT_FILES_H

#include "tokenizer/document.h"

/* A file; text NULL: it does not exist. */
typedef struct mc_document_file {
    char *text; /* mc_alloc, with a NUL behind it */
    size_t size;
} mc_document_file;

/* The files that list a vocabulary. Of the first three only the first that exists is read. */
typedef struct mc_document_files {
    mc_document_file tokenizer; /* tokenizer.json */
    mc_document_file vocab_txt, vocab_json;
    mc_document_file config; /* tokenizer_config.json */
    mc_document_file added;  /* added_tokens.json */
} mc_document_files;

void mc_document_files_free(mc_document_files *files);

/*
 * A number that is the same for files that list the same vocabulary in the same bytes. Members of
 * the configuration other than tokens, such as a chat template, do not count.
 */
uint64_t mc_document_files_key(const mc_document_files *files);

/*
 * Reads tokenizer.json, else makes a document of vocab.txt or vocab.json. Tokens that only
 * tokenizer_config.json (added_tokens_decoder) or added_tokens.json have are added. *out is NULL if
 * no file lists the vocabulary. *own: the document's text is that of tokenizer.json, whose text is
 * taken over.
 *
 * Errors: MC_FORMAT, with the file's name
 */
mc_status mc_document_of_files(mc_document_files *files, mc_document **out, bool *own,
                               mc_error *error);

#endif

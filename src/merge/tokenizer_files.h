/* The tokenizer files of a model, and the vocabulary that they list. */
#ifndef MC_MERGE_TOKENIZER_FILES_H
#define MC_MERGE_TOKENIZER_FILES_H

#include "merge/outfit.h"
#include "tokenizer/document_files.h"

/* A model and where its tokenizer files are. */
typedef struct mc_tokenizer_owner {
    const mc_model *model;
    /* Has its tokenizer files if they are not in its folder (a result not written yet); NULL. */
    const mc_outfit *outfit;
    const char *name; /* in errors */
} mc_tokenizer_owner;

/* The names of files that make a tokenizer; NULL ends the list. */
extern const char *const mc_tokenizer_files[];
/* Of these, SentencePiece models: they hold a vocabulary that is not read; NULL ends the list. */
extern const char *const mc_sentencepiece_files[];

/* The text of a tokenizer file; *out is NULL if there is none. mc_free it. */
mc_status mc_tokenizer_text(const mc_tokenizer_owner *model, const char *name, char **out,
                            size_t *size, mc_error *error);

/* Reads the files that list the vocabulary. Free with mc_document_files_free. */
mc_status mc_tokenizer_load(const mc_tokenizer_owner *model, mc_document_files *out,
                            mc_error *error);
/* mc_document_of_files, with the path of the file in errors. */
mc_status mc_tokenizer_parse(const mc_tokenizer_owner *model, mc_document_files *files,
                             mc_document **out, bool *own, mc_error *error);

/*
 * Both. The vocabulary; *out is NULL if no file lists it. *own: its text is that of tokenizer.json.
 *
 * Errors: MC_FORMAT, with the path of the file
 */
mc_status mc_tokenizer_document(const mc_tokenizer_owner *model, mc_document **out, bool *own,
                                mc_error *error);

/* Whether both models have the file, and it is the same. */
mc_status mc_tokenizer_same_file(const mc_tokenizer_owner *a, const mc_tokenizer_owner *b,
                                 const char *name, bool *same, mc_error *error);

/* Whether the model has one of the files; NULL ends the names. */
mc_status mc_tokenizer_has_file(const mc_tokenizer_owner *model, const char *const *names,
                                bool *has, mc_error *error);

#endif

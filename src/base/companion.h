/*
 * The files that belong to a model beside weights and config.json. One list decides which files are
 * copied from local folders and which are downloaded from the Hub.
 */
#ifndef MC_BASE_COMPANION_H
#define MC_BASE_COMPANION_H

#include <stdbool.h>

/* The folder in which transformers 5 keeps chat templates other than the default one. */
#define MC_CHAT_TEMPLATES "additional_chat_templates"

/*
 * Whether a file of this name, in a model's own folder, is one of them: tokenizer, chat template,
 * generation settings, processors, sentence-transformers' modules, licences, code.
 */
bool mc_is_companion(const char *name);

/* Whether it is code, which goes along only with a model whose configuration refers to it. */
bool mc_is_code(const char *name);

#endif

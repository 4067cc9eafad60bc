/* The files that belong to a model beside its weights and configuration. */
#ifndef MC_BASE_COMPANION_H
#define MC_BASE_COMPANION_H

#include <stdbool.h>

/* Whether a file of this name, in a model's own folder, is one of them: tokenizer, chat template, generation settings. */
bool mc_is_companion(const char *name);

#endif

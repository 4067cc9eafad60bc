/*
 * A model as the user names it: a folder as transformers writes it, or a single file of weights (whose folder's
 * configuration is used, if it has one).
 */
#ifndef MERGECRAFT_MODEL_H
#define MERGECRAFT_MODEL_H

#include <mergecraft/state_dict.h>

typedef struct mc_model mc_model;

/*
 * Opens the model at path: reads config.json, if there is one, and the headers of its weight files. The caller closes
 * it with mc_model_close, which accepts NULL. A model that is open may be used by several threads at once.
 */
MC_API mc_status mc_model_open(const char *path, mc_model **out, mc_error *error);
MC_API void mc_model_close(mc_model *model);

/* As the user wrote it. */
MC_API const char *mc_model_name(const mc_model *model);
/* The folder that its configuration and tokenizer are in. */
MC_API const char *mc_model_folder(const mc_model *model);
/* The text of its config.json; NULL if it has none. */
MC_API const char *mc_model_config(const mc_model *model);
/* "BertForSequenceClassification": the first of its `architectures`; NULL if its config does not say. */
MC_API const char *mc_model_architecture(const mc_model *model);
/* "safetensors", "torch zip", "torch legacy". */
MC_API const char *mc_model_format(const mc_model *model);
/* How many weight files it has, and the path of each, index < count. */
MC_API size_t mc_model_file_count(const mc_model *model);
MC_API const char *mc_model_file(const mc_model *model, size_t index);
/* Its tensors; borrowed. */
MC_API const mc_state_dict *mc_model_state_dict(const mc_model *model);

/* How many labels its config names (id2label), 0 if none; the name of label `index` < count. */
MC_API size_t mc_model_label_count(const mc_model *model);
MC_API const char *mc_model_label(const mc_model *model, size_t index);

#endif

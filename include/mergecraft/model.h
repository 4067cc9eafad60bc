/*
 * A model as the user names it: a folder as transformers writes it, a single file of weights (whose folder's
 * configuration is used, if it has one), or a repository on the Hub, ORG/NAME or ORG/NAME@REVISION.
 *
 * Any of these may be followed by LoRA adapters, BASE+ADAPTER[+ADAPTER…]: folders as PEFT saves
 * them, files with the names of kohya's scripts or of diffusers, or repositories on the Hub. Their
 * updates are applied where tensors are read. The folder of an adapter by itself means the base model
 * that its adapter_config.json names, with the adapter. A path that exists and has a "+" in its name
 * is that path.
 */
#ifndef MERGECRAFT_MODEL_H
#define MERGECRAFT_MODEL_H

#include <mergecraft/hub.h>
#include <mergecraft/state_dict.h>

MC_BEGIN_DECLS

typedef struct mc_model mc_model;

/*
 * Opens a model: a path that exists, else a name on the Hub, which is downloaded unless the cache has it (hub.h). Reads
 * config.json, if there is one, and the headers of its weight files. The caller closes it with mc_model_close, which accepts
 * NULL. A model that is open may be used by several threads at once.
 */
MC_API mc_status mc_model_open(const char *name, mc_model **out, mc_error *error);

/*
 * The same for several: what has to be downloaded is, side by side. With `headers_only` only the headers of safetensors files are
 * fetched of what is not in the cache, so that mistakes are found before large files travel: names, dtypes and shapes are known, a plan
 * can be made, but values cannot be read (MC_NOT_FOUND), and mc_model_is_complete is false. `hub` may be NULL. Fills
 * out[count], on success only; error->file names the model, or its file, that could not be opened.
 */
MC_API mc_status mc_models_open(const char *const *names, size_t count, const mc_hub_options *hub,
                                bool headers_only, mc_model **out, mc_error *error);
MC_API bool mc_model_is_complete(const mc_model *model);
MC_API void mc_model_close(mc_model *model);

/*
 * A model whose tensors the program has: `name` is what it is called in reports, `dict` is copied (its sources are shared), `config`
 * is the text of a config.json, `folder` has tokenizer files; both may be NULL. A merge of such models is never resumed.
 * MC_FORMAT if the configuration is no JSON object. The caller closes it.
 */
MC_API mc_status mc_model_wrap(const char *name, const mc_state_dict *dict, const char *config,
                               const char *folder, mc_model **out, mc_error *error);

/* As the user wrote it. */
MC_API const char *mc_model_name(const mc_model *model);
/* What it is on the Hub, "ORG/NAME" and 40 hexadecimal digits; NULL for a model of a path. */
MC_API const char *mc_model_repository(const mc_model *model);
MC_API const char *mc_model_commit(const mc_model *model);
/* The folder that its configuration and tokenizer are in; NULL if it is not in files. */
MC_API const char *mc_model_folder(const mc_model *model);
/* The text of its config.json; NULL if it has none. */
MC_API const char *mc_model_config(const mc_model *model);
/* "BertForSequenceClassification": the first of its `architectures`; NULL if its config does not say. */
MC_API const char *mc_model_architecture(const mc_model *model);
/* "safetensors", "torch zip", "torch legacy", "memory". */
MC_API const char *mc_model_format(const mc_model *model);
/* How many weight files it has, and the path of each, index < count. */
MC_API size_t mc_model_file_count(const mc_model *model);
MC_API const char *mc_model_file(const mc_model *model, size_t index);
/* Its tensors; borrowed. */
MC_API const mc_state_dict *mc_model_state_dict(const mc_model *model);

/*
 * Remarks on what was ignored, skipped or converted when the model was opened, one line each, index
 * < count. A merge adds them to its report.
 */
MC_API size_t mc_model_note_count(const mc_model *model);
MC_API const char *mc_model_note(const mc_model *model, size_t index);

/* How many labels its config names (id2label), 0 if none; the name of label `index` < count. */
MC_API size_t mc_model_label_count(const mc_model *model);
MC_API const char *mc_model_label(const mc_model *model, size_t index);

MC_END_DECLS

#endif

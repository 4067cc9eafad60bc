/*
 * A model as the user names it: a folder as transformers writes it, a single weight file (with the
 * configuration of its folder, if there is one), or a Hub repository, ORG/NAME or
 * ORG/NAME@REVISION.
 *
 * Any of these may be followed by LoRA adapters, BASE+ADAPTER[+ADAPTER…]: folders as PEFT saves
 * them, files with the names of kohya's scripts or of diffusers, or repositories on the Hub. Their
 * updates are applied where tensors are read. The folder of an adapter by itself means the base
 * model that its adapter_config.json names, with the adapter. An existing path with a "+" in its
 * name is that path.
 *
 * Thread-safety: an open model may be used by several threads at once.
 */
#ifndef MERGECRAFT_MODEL_H
#define MERGECRAFT_MODEL_H

#include <mergecraft/hub.h>
#include <mergecraft/state_dict.h>

MC_BEGIN_DECLS

typedef struct mc_model mc_model;

/*
 * Opens a model: an existing path, else a name on the Hub, which is downloaded unless it is cached
 * (hub.h). Reads config.json, if there is one, and the headers of the weight files. Close it with
 * mc_model_close, which accepts NULL.
 *
 * Errors: MC_NOT_FOUND  no such path or repository, or no weights in it
 *         MC_FORMAT     a malformed file
 *         and those of hub.h
 */
MC_API mc_status mc_model_open(const char *name, mc_model **out, mc_error *error);
MC_API void mc_model_close(mc_model *model);

/*
 * Opens several models; downloads run in parallel. With `headers_only`, only the headers of
 * safetensors files that are not cached are fetched: names, dtypes and shapes are known and a plan
 * can be made, so that mistakes are found before large files are downloaded. Values cannot be read
 * (MC_NOT_FOUND), and mc_model_is_complete is false. `hub` may be NULL. Fills out[count]: all of it
 * on success, with NULL on failure. error->file names the model, or the file of it.
 */
MC_API mc_status mc_models_open(const char *const *names, size_t count, const mc_hub_options *hub,
                                bool headers_only, mc_model **out, mc_error *error);
MC_API bool mc_model_is_complete(const mc_model *model);

/*
 * Makes a model of tensors that the program has. `name` is what reports call it; `dict` is copied,
 * its sources are shared. `config` is the text of a config.json; `folder` has the tokenizer files.
 * Both may be NULL. A merge of such models is never resumed. Close it with mc_model_close.
 *
 * Errors: MC_FORMAT  the configuration is not a JSON object
 */
MC_API mc_status mc_model_wrap(const char *name, const mc_state_dict *dict, const char *config,
                               const char *folder, mc_model **out, mc_error *error);

/*
 * Of a file of statistics (observe.h), keeps the tensors of one side input of methods, such as
 * "grams" or "fishers", under the names of the model's tensors. Other models stay as they are. Call
 * it before the model is used for anything else.
 *
 * Errors: MC_NOT_FOUND  the file has statistics for other side inputs only
 */
MC_API mc_status mc_model_take_side(mc_model *model, const char *side, mc_error *error);

/* As the user wrote it. */
MC_API const char *mc_model_name(const mc_model *model);
/* "ORG/NAME", and 40 hexadecimal digits; NULL unless it is from the Hub. */
MC_API const char *mc_model_repository(const mc_model *model);
MC_API const char *mc_model_commit(const mc_model *model);
/* The folder of its configuration and tokenizer; NULL if it is not in files. */
MC_API const char *mc_model_folder(const mc_model *model);
/* The text of its config.json; NULL if it has none. */
MC_API const char *mc_model_config(const mc_model *model);
/* The first of its `architectures`, "BertForSequenceClassification"; NULL if there is none. */
MC_API const char *mc_model_architecture(const mc_model *model);
/* "safetensors", "torch zip", "torch legacy", "memory". */
MC_API const char *mc_model_format(const mc_model *model);
/* Number of weight files, and the path of each; index < count. */
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

/* Number of labels in its configuration (id2label), 0 if none; the name of label index < count. */
MC_API size_t mc_model_label_count(const mc_model *model);
MC_API const char *mc_model_label(const mc_model *model, size_t index);

/*
 * Finds the tensors of one model among those of another by their names, as merges do: equal names;
 * an old and a new name of one tensor (LayerNorm.gamma, weight_g, …); names that differ by the
 * prefix of an encoder ("bert."). partners[i] receives the index in `available` of the tensor that
 * wanted[i] names, or SIZE_MAX.
 */
MC_API mc_status mc_names_match(const char *const *wanted, size_t wanted_count,
                                const char *const *available, size_t available_count,
                                size_t *partners, mc_error *error);

MC_END_DECLS

#endif

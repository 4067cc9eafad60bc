/*
 * Statistics files: safetensors files with what was observed of a model on a data set. Tensors are
 * named SIDE/TENSOR, as the side input of methods and the model's tensor are ("grams/…",
 * "fishers/…"). Metadata, as texts:
 *
 *     kind      "mergecraft statistics"
 *     digests   object: tensor of the model → 16 hexadecimal digits of its name, dtype, shape
 *               and bytes
 *     shared    object: tensor → another one, whose Gram matrix is also its own
 *     model, data, examples, tokens, truncated, singular, form, version: their origin
 */
#ifndef MC_MODEL_STATISTICS_H
#define MC_MODEL_STATISTICS_H

#include "base/json.h"

#include <mergecraft/model.h>

#define MC_STATISTICS_KIND "mergecraft statistics"
/* Files of another version have other values or names. */
#define MC_STATISTICS_VERSION "1"

/* What a file is from. Texts may be NULL. */
typedef struct mc_statistics_origin {
    const char *model, *task, *data, *form;
    size_t examples, tokens, truncated;
    bool singular;
} mc_statistics_origin;

/* A hash of a tensor's dtype, shape and bytes. */
mc_status mc_tensor_digest(const mc_source *source, uint64_t *out, mc_error *error);

/* Object: name → digest as text, of those of `names` that the state dict has; on many threads. */
mc_status mc_digests(const mc_state_dict *dict, const char *const *names, size_t count, int threads,
                     json_t **out, mc_error *error);

/*
 * MC_MISMATCH unless the statistics that `side` was opened from are those of `model`: tensors of
 * one name have the digests in the file. MC_OK for models without statistics.
 */
mc_status mc_statistics_check(const mc_model *side, const mc_model *model, mc_error *error);

/* Writes a file. `digests` and `shared` are the objects above; the caller keeps them. */
mc_status mc_statistics_write(const char *path, const mc_state_dict *values,
                              const mc_statistics_origin *origin, const json_t *digests,
                              const json_t *shared, mc_error *error);

#endif

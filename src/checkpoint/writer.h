/*
 * One format of files that are written. The format decides the order of the tensors, alignment,
 * names of the shards, index and headers; plans, sinks and the executor do not depend on them. A
 * new format is a file with one of these.
 *
 * The layout is known before the first element is computed. Therefore any thread may compute any
 * tile, and an interrupted run can resume.
 */
#ifndef MC_CHECKPOINT_WRITER_H
#define MC_CHECKPOINT_WRITER_H

#include <mergecraft/source.h>

/* One file. */
typedef struct mc_shard {
    char *name;   /* "model-00001-of-00002.safetensors" */
    char *header; /* what the file begins with */
    size_t header_size;
    size_t first, count;  /* its tensors */
    int64_t start, bytes; /* of its tensors, in the stream of all tensors */
} mc_shard;

/* Where a tensor lies: in the stream of all tensors' bytes, and in its file. */
typedef struct mc_slot {
    int64_t start, offset;
} mc_slot;

typedef struct mc_layout {
    mc_shard *shards;
    size_t count;
    mc_slot *slots; /* one per tensor */
    size_t slot_count;
    int64_t bytes;    /* of all tensors, without headers and padding */
    char *index_name; /* file that lists the shard of each tensor; NULL: none */
    char *index;
} mc_layout;

/* Tensors in the order in which they are written. */
typedef struct mc_tensors {
    const char *const *names;
    mc_source *const *sources;
    size_t count;
    const char *stem; /* what names of files begin with; NULL: the format's usual one, "model" */
} mc_tensors;

typedef struct mc_writer {
    const char *name; /* "safetensors" */
    /*
     * The rank of a dtype in a file: tensors of lower ranks come first, those of equal rank in the
     * model's order.
     */
    int (*rank)(mc_dtype dtype);
    /*
     * Cuts the tensors into files. A shard is closed before it would exceed shard_size bytes; a
     * larger tensor gets a shard of its own. Zero-initialise *out; free it also after a failure.
     * Errors: MC_UNSUPPORTED  the format cannot hold a tensor's name or dtype
     */
    mc_status (*lay_out)(const mc_tensors *tensors, int64_t shard_size, mc_layout *out,
                         mc_error *error);
} mc_writer;

extern const mc_writer mc_writer_safetensors;

/* The same format in the one file that PEFT reads, adapter_model.safetensors. */
extern const mc_writer mc_writer_adapter;

/* The same for diffusers, which reads a LoRA from pytorch_lora_weights.safetensors. */
extern const mc_writer mc_writer_lora;

void mc_layout_free(mc_layout *layout);

/* The end of what is written of a shard once the stream is written up to `position`. */
int64_t mc_layout_end(const mc_layout *layout, const mc_shard *shard, int64_t position);

#endif

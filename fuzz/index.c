/* The index of a checkpoint in several files. */
#include "fuzz.h"

#include "base/shard_index.h"

#include <string.h>

static void check_names(const mc_shard_index *shards)
{
    fuzz_require(shards->count > 0, "an index names files");
    for (size_t i = 0; i < shards->count; i++) {
        const char *const name = shards->files[i];
        fuzz_require(!strchr(name, '/') && strcmp(name, "..") != 0 && name[0] != '\0',
                     "no file leads out of the folder");
        fuzz_require(i == 0 || strcmp(shards->files[i - 1], name) < 0, "each file once, sorted");
    }
}

/* Each tensor has a file of the list, and a tensor that the index does not name has none. */
static void check_map(const mc_shard_index *index)
{
    for (size_t i = 0; i < index->count; i++)
        for (size_t k = index->firsts[i]; k < index->firsts[i + 1]; k++)
            fuzz_require(
                strcmp(mc_shard_index_file(index, index->entries[k].tensor), index->files[i]) == 0,
                "a tensor has its file");
    fuzz_require(mc_shard_index_file(index, "no such \x01 tensor") == NULL, "others have none");
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_shard_index shards = {0};
    mc_error error = MC_ERROR_NONE;
    fuzz_put("index.json", data, size);
    const bool known = mc_shard_index_probe(data, size);
    const mc_status status = mc_shard_index_load("index.json", &shards, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK) {
        fuzz_require(known, "it is known for an index");
        check_names(&shards);
        check_map(&shards);
    }
    mc_shard_index_free(&shards);
    /* Memory fails elsewhere in the second one. */
    error = (mc_error)MC_ERROR_NONE;
    fuzz_check_status(mc_shard_index_parse((const char *)data, size, &shards, &error), &error);
    mc_shard_index_free(&shards);
}

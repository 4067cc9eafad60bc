/* The index of a checkpoint in several files. */
#include "fuzz.h"

#include "checkpoint/shards.h"

#include <string.h>

static void check_names(const mc_shards *shards)
{
    fuzz_require(shards->count > 0, "an index names files");
    for (size_t i = 0; i < shards->count; i++) {
        const char *const name = shards->files[i];
        fuzz_require(!strchr(name, '/') && strcmp(name, "..") != 0 && name[0] != '\0',
                     "no file leads out of the folder");
        fuzz_require(i == 0 || strcmp(shards->files[i - 1], name) < 0, "each file once, sorted");
    }
}

/* One that has all tensors of the index. */
static void fill(const mc_shards *shards, mc_state_dict *found)
{
    static const float zero = 0;
    mc_source *source = NULL;
    fuzz_require(mc_source_wrap(MC_F32, 0, NULL, &zero, NULL, NULL, &source, NULL) == MC_OK,
                 "a tensor can be made");
    const char *name;
    json_t *file;
    json_object_foreach(shards->weight_map, name, file)
        fuzz_require(mc_state_dict_set(found, name, source, NULL) == MC_OK, "it can be added");
    mc_source_unref(source);
}

/* What an index says of its first file: nothing may be missing, and what is in other files is not taken. */
static void check_take(const mc_shards *shards)
{
    mc_state_dict *found = NULL, *dict = NULL;
    const char *const file = shards->files[0];
    fuzz_require(mc_state_dict_new(&found, NULL) == MC_OK, "a dict can be made");
    fuzz_require(mc_state_dict_new(&dict, NULL) == MC_OK, "a dict can be made");
    fuzz_require(mc_shards_take(shards, file, found, dict, NULL) == MC_FORMAT,
                 "what is missing is noticed");
    fill(shards, found);
    fuzz_require(mc_shards_take(shards, file, found, dict, NULL) == MC_OK, "all is there");
    const size_t taken = mc_state_dict_count(dict);
    fuzz_require(taken > 0 && (taken < mc_state_dict_count(found)) == (shards->count > 1),
                 "the file's own tensors are taken");
    mc_state_dict_free(found);
    mc_state_dict_free(dict);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_shards shards = {0};
    mc_error error = MC_ERROR_NONE;
    fuzz_put("index.json", data, size);
    const bool known = mc_shards_probe(data, size);
    const mc_status status = mc_shards_read("index.json", &shards, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK) {
        fuzz_require(known, "it is known for an index");
        check_names(&shards);
        check_take(&shards);
    }
    mc_shards_free(&shards);
}

/*
 * A pickle and the tensors that it describes. Every storage is found and has the size that is asked
 * for, as far as the file has as many bytes, so that mutations reach shapes, strides and offsets.
 */
#include "fuzz.h"

#include "checkpoint/torch_globals.h"
#include "checkpoint/torch_state_dict.h"

#include <string.h>

enum { FILE_BYTES = 4096 };

static mc_status place(void *user, const mc_torch_storage *storage, int64_t *begin, int64_t *end,
                       mc_error *error)
{
    (void)user;
    const int64_t size = storage->count * storage->element_bytes;
    *begin = 8;
    if (size > FILE_BYTES - *begin)
        return mc_fail(error, MC_FORMAT, "expected a storage that fits the file");
    *end = *begin + size;
    return MC_OK;
}

static void check_tensors(mc_pickle_value *root)
{
    static const unsigned char zeros[FILE_BYTES];
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *dict = NULL;
    mc_file *file = NULL;
    mc_notes notes = {0};
    mc_status status = fuzz_open(zeros, sizeof zeros, &file, &error);
    if (status == MC_OK)
        status = mc_state_dict_new(&dict, &error);
    if (status == MC_OK)
        status = mc_torch_read_state_dict(&(mc_torch_file){file, place, NULL}, root, dict, &notes,
                                          &error);
    fuzz_check(status, &error, dict);
    mc_notes_free(&notes);
    mc_state_dict_free(dict);
    mc_file_unref(file);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_pickle *pickle = NULL;
    mc_error error = MC_ERROR_NONE;
    size_t used = 0;
    bool ended = false;
    const mc_status status = mc_pickle_read((const char *)data, size, mc_torch_globals, &pickle,
                                            &used, &ended, &error);
    fuzz_require(used <= size, "no more is used than there is");
    fuzz_require(!ended || status == MC_FORMAT, "what ended too early is not accepted");
    if (status == MC_OK) {
        for (size_t i = 0; i < mc_pickle_persistent_count(pickle); i++)
            fuzz_require(mc_pickle_persistent(pickle, i)->kind == MC_PICKLE_PERSISTENT,
                         "storages are what they are");
        check_tensors(mc_pickle_root(pickle));
    } else {
        fuzz_check_status(status, &error);
    }
    mc_pickle_free(pickle);
}

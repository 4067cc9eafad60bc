/*
 * A pickle and the tensors that it describes. Every storage is found and has the size that is asked for, as far as the file
 * has as many bytes, so that mutations reach shapes, strides and offsets.
 */
#include "fuzz.h"

#include "checkpoint/torch.h"

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

static void check_tensors(mc_value *root)
{
    static const unsigned char zeros[FILE_BYTES];
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *dict = NULL;
    mc_file *const file = fuzz_file(zeros, sizeof zeros);
    fuzz_require(mc_state_dict_new(&dict, NULL) == MC_OK, "a dict can be made");
    fuzz_check(mc_torch_add_tensors(file, root, place, NULL, dict, &error), &error, dict);
    mc_state_dict_free(dict);
    mc_file_unref(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mc_pickle *pickle = NULL;
    mc_error error = MC_ERROR_NONE;
    size_t used = 0;
    const mc_status status = mc_pickle_read((const char *)data, size, mc_torch_globals, &pickle,
                                            &used, NULL, &error);
    fuzz_require(used <= size, "no more is used than there is");
    if (status == MC_OK)
        check_tensors(mc_pickle_root(pickle));
    else
        fuzz_check(status, &error, NULL);
    mc_pickle_free(pickle);
    return 0;
}

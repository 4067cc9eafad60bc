/* The front matter of a model card. */
#include "fuzz.h"

#include "model/card_metadata.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    mc_card_metadata metadata = {0};
    fuzz_put("folder/README.md", data, size);
    const mc_status status = mc_card_metadata_read("folder", &metadata, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK)
        fuzz_require(metadata.license.count <= size, "no more values than bytes");
    mc_card_metadata_free(&metadata);
}

#include "recipe/blocks.h"

#include "model/parts.h"

#include <string.h>

bool mc_block_name_of(const char *name, mc_block_name *out)
{
    const mc_part part = mc_part_of(NULL, name);
    if (part.block < 0)
        return false;
    *out = (mc_block_name){.stack = part.stack_length,
                           .block = part.block,
                           .rest = name + part.stack_length + part.number_length};
    return true;
}

bool mc_is_before_blocks(const char *name)
{
    switch (mc_part_of(NULL, name).role) {
    case MC_PART_INPUT_EMBEDDING:
    case MC_PART_POSITION_EMBEDDING:
    case MC_PART_TYPE_EMBEDDING:
    case MC_PART_PATCH_EMBEDDING:
    case MC_PART_BUFFER:
        return true;
    case MC_PART_NORM: /* that of the embeddings */
        return strstr(name, "embed") != NULL;
    default:
        return false;
    }
}

int64_t mc_block_count(const mc_state_dict *dict, const char *stack, size_t length)
{
    int64_t count = 0;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        mc_block_name found;
        if (mc_block_name_of(name, &found) && found.stack == length &&
            memcmp(name, stack, length) == 0 && found.block >= count)
            count = found.block + 1;
    }
    return count;
}

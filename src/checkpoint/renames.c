#include "checkpoint/renames.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

#include <string.h>

/* An ending of old names, the last part of it, and what replaces that part. */
static const struct {
    const char *old, *last, *new;
} renamed[] = {
    {"LayerNorm.gamma", "gamma", "weight"},
    {"LayerNorm.beta", "beta", "bias"},
};

/* *out is the new name, or stays NULL if the name is not an old one or the new one is taken. */
static mc_status new_name(const mc_state_dict *dict, const char *name, char **out, mc_error *error)
{
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
        if (!mc_ends_with(name, renamed[i].old))
            continue;
        const size_t kept = strlen(name) - strlen(renamed[i].last);
        char *const changed = mc_format("%.*s%s", (int)kept, name, renamed[i].new);
        if (!changed)
            return mc_fail_memory(error);
        if (mc_state_dict_find(dict, changed))
            mc_free(changed);
        else
            *out = changed;
    }
    return MC_OK;
}

static mc_status copy_renamed(const mc_state_dict *from, mc_state_dict *to, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(from); i++) {
        const char *const name = mc_state_dict_name(from, i);
        char *changed = NULL;
        MC_TRY(new_name(from, name, &changed, error));
        const mc_status status = mc_state_dict_set(to, changed ? changed : name,
                                                   mc_state_dict_source(from, i), error);
        mc_free(changed);
        MC_TRY(status);
    }
    return MC_OK;
}

mc_status mc_rename_old(mc_state_dict **dict, mc_error *error)
{
    mc_state_dict *changed = NULL;
    MC_TRY(mc_state_dict_new(&changed, error));
    const mc_status status = copy_renamed(*dict, changed, error);
    if (status != MC_OK) {
        mc_state_dict_free(changed);
        return status;
    }
    mc_state_dict_free(*dict);
    *dict = changed;
    return MC_OK;
}

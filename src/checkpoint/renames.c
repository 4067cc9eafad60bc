#include "checkpoint/renames.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* Where in a name a text is replaced. BEHIND: inside, but not at its beginning. */
typedef enum place { START, INSIDE, BEHIND, END } place;

/*
 * Applied in this order, each at most once, to a name with a dot before it. Rules may be short and
 * general: they only pair tensors of equal shapes whose own names the other model lacks, and both
 * names go through all of them.
 */
static const struct {
    place place;
    const char *from, *to;
} rules[] = {
    /* wrappers around a part of a model; a wrapper around all of it is a prefix */
    {BEHIND, "._orig_mod.", "."},
    {BEHIND, "._fsdp_wrapped_module.", "."},
    {BEHIND, "._checkpoint_wrapped_module.", "."},
    /* models of several inputs: transformers 4.52 moved their parts into "model." */
    {START, ".language_model.lm_head.", ".lm_head."},
    {START, ".model.language_model.model.", ".model."},
    {START, ".language_model.model.", ".model."},
    {START, ".model.language_model.", ".model."},
    {START, ".language_model.", ".model."},
    {START, ".model.visual.", ".visual."},
    {START, ".model.vision_tower.", ".vision_tower."},
    {START, ".model.vision_model.", ".vision_model."},
    {START, ".model.audio_tower.", ".audio_tower."},
    {START, ".model.multi_modal_projector.", ".multi_modal_projector."},
    {START, ".model.connector.", ".connector."},
    {START, ".model.image_newline", ".image_newline"},
    /* experts: Mixtral's names, and those that most others have */
    {INSIDE, ".block_sparse_moe.", ".mlp."},
    {INSIDE, ".feed_forward.", ".mlp."},
    {INSIDE, ".w1.", ".gate_proj."},
    {INSIDE, ".w3.", ".up_proj."},
    {INSIDE, ".w2.", ".down_proj."},
    {END, ".input_linear.weight", ".experts.gate_up_proj"},
    {END, ".output_linear.weight", ".experts.down_proj"},
    {END, ".router.layer.weight", ".gate.weight"},
    {END, ".router.weight", ".gate.weight"},
    /* vision transformers, and detectors: names since transformers 5 */
    {INSIDE, ".encoder.layer.", ".layers."},
    {INSIDE, ".attention.attention.", ".attention."},
    {INSIDE, ".query.", ".q_proj."},
    {INSIDE, ".key.", ".k_proj."},
    {INSIDE, ".value.", ".v_proj."},
    {INSIDE, ".attention.output.dense.", ".attention.o_proj."},
    {INSIDE, ".intermediate.dense.", ".fc1."},
    {INSIDE, ".output.dense.", ".fc2."},
    {INSIDE, ".mlp.fc", ".fc"},
    {INSIDE, ".out_proj.", ".o_proj."},
    {INSIDE, ".conv_encoder.", "."},
    {INSIDE, ".weights_out.", ".down_proj."},
    /* biases of heads that predict a token, which lie beside the decoder or in it */
    {END, ".predictions.decoder.bias", ".predictions.bias"},
    {END, ".lm_head.decoder.bias", ".lm_head.bias"},
    /* weight and spectral normalisation, before and since torch 2.1 */
    {END, ".parametrizations.weight.original0", ".weight_g"},
    {END, ".parametrizations.weight.original1", ".weight_v"},
    {END, ".parametrizations.weight.original", ".weight_orig"},
    {END, ".parametrizations.weight.0._u", ".weight_u"},
    {END, ".parametrizations.weight.0._v", ".weight_v"},
    /* norms of models converted from TensorFlow */
    {END, ".gamma", ".weight"},
    {END, ".beta", ".bias"},
    /* T5, BART: shared embeddings, which are saved under either name */
    {END, ".encoder.embed_tokens.weight", ".shared.weight"},
};

/* Where a rule applies to a name; NULL: it does not. */
static const char *find(place where, const char *name, const char *from)
{
    const size_t length = strlen(from);
    if (where == INSIDE)
        return strstr(name, from);
    if (where == BEHIND)
        return strstr(name + 1, from);
    if (where == START)
        return strncmp(name, from, length) == 0 ? name : NULL;
    return mc_ends_with(name, from) ? name + strlen(name) - length : NULL;
}

char *mc_canonical_name(const char *name)
{
    /* The leading dot lets a rule match whole parts of a name at its beginning too. */
    char *current = mc_format(".%s", name);
    for (size_t i = 0; current && i < sizeof rules / sizeof *rules; i++) {
        const char *const at = find(rules[i].place, current, rules[i].from);
        if (!at)
            continue;
        char *const changed = mc_format("%.*s%s%s", (int)(at - current), current, rules[i].to,
                                        at + strlen(rules[i].from));
        mc_free(current);
        current = changed;
    }
    return current;
}

/* ---- names that are replaced ---- */

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
        /* If a model has both names, they are two tensors. */
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

mc_status mc_rename_old(const mc_state_dict *dict, mc_state_dict **out, mc_error *error)
{
    mc_state_dict *changed = NULL;
    MC_TRY(mc_state_dict_new(&changed, error));
    const mc_status status = copy_renamed(dict, changed, error);
    if (status == MC_OK)
        *out = changed;
    else
        mc_state_dict_free(changed);
    return status;
}

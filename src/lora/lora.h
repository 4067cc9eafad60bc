/* Open adapters, and the modules that several of them have. */
#ifndef MC_LORA_LORA_H
#define MC_LORA_LORA_H

#include <mergecraft/lora.h>

#include "model/adapter.h"

struct mc_lora {
    char *name;
    char *repository, *commit; /* on the Hub; NULL: it is not from there */
    mc_adapter adapter;
};

/* One module in one adapter. */
typedef struct mc_member {
    size_t adapter; /* index among the adapters that are merged */
    const mc_adapter_module *module;
    int64_t rank; /* of one expert */
    double scale;
} mc_member;

/* One module in all adapters that have it. */
typedef struct mc_lora_module {
    /* For messages; borrowed. Of a file without a configuration, what its names begin with. */
    const char *path;
    /* What identifies the module, as in mc_adapter_module; `place` is its path there. */
    mc_component component;
    const char *place;
    int outer;
    bool embedding;
    int64_t rows, columns, experts; /* of the update B·A of one expert */
    mc_member *members;             /* in the order of the adapters */
    size_t count, capacity;
    int64_t most_rank, sum_rank; /* of one expert, over the members */
} mc_lora_module;

typedef struct mc_lora_modules {
    mc_lora_module *items; /* in the order in which adapters have them, the first adapter's first */
    size_t count, capacity;
} mc_lora_modules;

/*
 * Matches the modules of adapters, which must follow one naming convention. Zero-initialise *out;
 * free it also after a failure.
 *
 * Errors: MC_MISMATCH     shapes or conventions differ
 *         MC_UNSUPPORTED  DoRA
 */
mc_status mc_lora_modules_match(const mc_lora *const *adapters, size_t count, mc_lora_modules *out,
                                mc_error *error);
void mc_lora_modules_free(mc_lora_modules *modules);

/*
 * Reads the factors of one expert: b [rows, rank], a [rank, columns], without the scale. `scratch`
 * has room for the larger of the stored factors.
 */
mc_status mc_member_read(const mc_lora_module *module, const mc_member *member, int64_t expert,
                         double *b, double *a, double *scratch, mc_error *error);
int64_t mc_member_scratch(const mc_member *member);

#endif

/*
 * The plan of an adapter: one row per module, tensors that are saved whole, and the configuration.
 * Merging and extraction fill rows and say how a row is computed; what runs and prints plans reads
 * only this.
 */
#ifndef MC_LORA_PLAN_H
#define MC_LORA_PLAN_H

#include <mergecraft/lora.h>

#include "base/file.h"
#include "base/json.h"
#include "lora/pairs.h"

#include <pthread.h>

/* The energy of a row: known once the row is computed. */
typedef struct mc_energy {
    double total, kept; /* sums of squared values: of the update, and of what the factors keep */
    bool known;
} mc_energy;

typedef struct mc_lora_row {
    char *path;
    /* Names of A, B and alpha (or NULL) in files without a configuration; all NULL: PEFT's. */
    char *names[3];
    const char *parameter; /* of target_parameters; borrowed while the plan is made, else NULL */
    int outer; /* PEFT's wrappers around the one that has these factors: ".base_layer" each */
    bool embedding;
    bool plain_rank; /* of an expert: PEFT takes the configured rank, and no pattern */
    int64_t rows, columns, rank, experts;
    /* Dimensions behind [rank] of A, and behind [rows, rank] of B: of convolutions. */
    int a_rank, b_rank;
    int64_t a_rest[MC_MAX_RANK], b_rest[MC_MAX_RANK];
    mc_dtype dtype;
    mc_energy energy; /* guarded by the plan's lock during a run */
} mc_lora_row;

/*
 * Computes a row: a [rank · experts, columns] and b [rows, rank · experts] as PEFT stacks experts.
 * Both are zero before. Sets energy->total and kept.
 */
typedef mc_status mc_lora_compute(void *user, size_t row, double *a, double *b, mc_energy *energy,
                                  mc_error *error);

/* The bytes that computing a row takes under `how`, beside the factors of the row. */
typedef int64_t mc_lora_work(const void *user, size_t row, const mc_lora_rank *how);

struct mc_lora_plan {
    mc_lora_row *rows;
    size_t count, capacity;
    mc_state_dict *whole; /* tensors that are saved whole, under their names in the base model */
    mc_state_dict *dict;  /* all tensors of the result, under their names in the file */
    mc_pairs *pairs;
    mc_report *report;
    json_t *config; /* adapter_config.json; NULL: the result is a single file without one */
    char *config_text;
    json_t *summary;      /* what mc_lora_plan_json begins with: method, parameters, inputs */
    json_t *inputs;       /* with the sizes of their files, for mergecraft.json */
    char *title;          /* how it was made: a sentence for the model card */
    uint64_t fingerprint; /* of inputs and settings; 0: never resume */
    pthread_mutex_t lock;
    mc_lora_compute *compute;
    mc_lora_work *work;
    mc_lora_rank how; /* as the caller gave it */
    bool strict;      /* warnings are errors */
    void *user;
    void (*free_user)(void *user);
    mc_status (*check)(void *user, mc_error *error); /* MC_CHANGED if an input was modified */
    /* The files and folders that the result must not replace. */
    char **guarded;
    size_t guarded_count, guarded_capacity;
};

/* Makes a plan without rows. */
mc_status mc_lora_plan_new(mc_lora_plan **out, mc_error *error);

/* Appends a row, zero-initialised but for a copy of the path. It is valid until the next one. */
mc_status mc_lora_plan_add(mc_lora_plan *plan, const char *path, mc_lora_row **out,
                           mc_error *error);

mc_status mc_lora_plan_guard(mc_lora_plan *plan, const char *path, mc_error *error);

/*
 * Completes the plan once it has all rows: ranks and alphas of the configuration, and the tensors.
 * `plan->config` holds everything else before.
 */
mc_status mc_lora_plan_finish(mc_lora_plan *plan, mc_error *error);

/* MC_USAGE if a module needs more than `memory` bytes; 0: no bound. */
mc_status mc_lora_check_memory(const char *path, int64_t needed, int64_t memory, mc_error *error);

/* How many of at most `threads` computations that take `most` bytes each fit into `memory`. */
int mc_lora_threads(int threads, int64_t most, int64_t memory);

/* Files with their sizes, for `inputs`; NULL: no memory. */
json_t *mc_lora_files_json(const char *name, const char *repository, const char *commit,
                           mc_file *const *files, size_t count);

/* The share of energy that is kept; NAN if it is not known. */
double mc_energy_share(const mc_energy *energy);

/* Checks that the settings fit together, and that LAPACK is installed. */
mc_status mc_lora_rank_check(const mc_lora_rank *rank, mc_error *error);

/* The energy that is kept per transformer block; NULL: no memory. */
json_t *mc_lora_blocks_json(const mc_lora_plan *plan);

#endif

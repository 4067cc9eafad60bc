/*
 * How several processes would share a merge: shares METHOD MODEL... BASE. Opens the models, plans,
 * and prints a table for 1 to 512 processes: the time to plan, bytes per process, and balance. Only
 * headers are read, so the models may be sparse files (make_cluster.py).
 */
#include <mergecraft/mergecraft.h>

#include "base/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { MODELS = 16, PROCESSES = 512 };

static int fail(const mc_error *error)
{
    char line[sizeof *error];
    fprintf(stderr, "shares: %s\n", mc_error_message(error, line, sizeof line));
    return 1;
}

static int print_shares(const mc_plan *plan, int processes, mc_error *error)
{
    static mc_plan_share shares[PROCESSES];
    const double start = mc_seconds();
    if (mc_plan_shares(plan, processes, shares, error) != MC_OK)
        return 1;
    const double seconds = mc_seconds() - start;
    double most = 0, all = 0;
    for (int i = 0; i < processes; i++) {
        all += shares[i].cost;
        most = shares[i].cost > most ? shares[i].cost : most;
    }
    printf("| %d | %.1f | %.1f | %.3f | %.3f |\n", processes, (double)shares[0].bytes_read / 1e9,
           (double)shares[0].bytes_written / 1e9, most * processes / all, seconds);
    return 0;
}

int main(int argc, char **argv)
{
    mc_error error = MC_ERROR_NONE;
    mc_model *models[MODELS] = {NULL};
    const int count = argc - 2;
    mc_plan *plan = NULL;
    struct rusage usage;
    if (count < 2 || count > MODELS) {
        fprintf(stderr, "usage: shares METHOD MODEL... BASE\n");
        return 2;
    }
    const double start = mc_seconds();
    for (int i = 0; i < count; i++)
        if (mc_model_open(argv[i + 2], &models[i], &error) != MC_OK)
            return fail(&error);
    const double opened = mc_seconds();
    const mc_plan_input input = {.method = mc_method_find(argv[1]),
                                 .models = (const mc_model *const *)models,
                                 .model_count = (size_t)count - 1,
                                 .base = models[count - 1]};
    if (!input.method)
        mc_fail(&error, MC_USAGE, "expected the name of a method, found '%s'", argv[1]);
    if (!input.method || mc_plan_new(&input, &plan, &error) != MC_OK)
        return fail(&error);
    const double planned = mc_seconds();
    int64_t read, written, memory;
    mc_plan_bytes(plan, NULL, &read, &written, &memory);
    getrusage(RUSAGE_SELF, &usage);
    printf("%zu tensors, reads %.1f TB, writes %.1f TB; opened in %.2f s, planned in %.2f s, "
           "%ld MB resident\n\n",
           mc_plan_count(plan), (double)read / 1e12, (double)written / 1e12, opened - start,
           planned - opened, usage.ru_maxrss / 1024);
    printf(
        "| processes | reads each (GB) | writes each (GB) | largest / mean | seconds to share |\n"
        "|---|---|---|---|---|\n");
    for (int processes = 1; processes <= PROCESSES; processes *= 2)
        if (print_shares(plan, processes, &error) != 0)
            return fail(&error);
    mc_plan_free(plan);
    for (int i = 0; i < count; i++)
        mc_model_close(models[i]);
    return 0;
}

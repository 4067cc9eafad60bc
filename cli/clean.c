/* mergecraft clean: removes what an interrupted merge left behind. */
#include "output.h"
#include "subcommands.h"

#include <mergecraft/merge.h>
#include <mergecraft/text.h>

#include <stdlib.h>

static const option options[] = {
    COMMON_OPTIONS("The object has cleaned: per argument, the folder that was removed or null, its "
                   "files and bytes."),
    {NULL}};

static void print_removed(const char *target, const mc_clean_result *result)
{
    char bytes[16];
    char *const shown = visible_text(*result->path ? result->path : target);
    if (*result->path)
        printf("%s: removed, %zu file%s, %s\n", shown, result->files,
               plural((int64_t)result->files), mc_format_bytes(result->bytes, bytes, sizeof bytes));
    else
        printf("%s: nothing to remove\n", shown);
    free(shown);
}

static json_t *json_removed(const char *target, const mc_clean_result *result)
{
    return json_pack("{s:o, s:o, s:I, s:I}", "target", json_text(target), "removed",
                     *result->path ? json_text(result->path) : json_null(), "files",
                     (json_int_t)result->files, "bytes", (json_int_t)result->bytes);
}

static mc_status clean(const void *chosen, const text_list *operands, mc_error *error)
{
    const common_options *const common = chosen;
    if (operands->count == 0)
        return mc_fail(error, MC_USAGE, "expected the output folder of a merge, found none");
    json_t *const cleaned = common->json ? json_array() : NULL;
    mc_status status = MC_OK;
    for (size_t i = 0; i < operands->count && status == MC_OK; i++) {
        mc_clean_result result;
        status = mc_clean(operands->items[i], &result, error);
        if (status == MC_OK && cleaned)
            json_array_append_new(cleaned, json_removed(operands->items[i], &result));
        else if (status == MC_OK && !common->quiet)
            print_removed(operands->items[i], &result);
    }
    /* "O" adds a reference; the list's own is released below in either case. */
    if (status == MC_OK && cleaned)
        print_json(json_pack("{s:O}", "cleaned", cleaned));
    json_decref(cleaned);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    common_options settings = {0};
    return run_subcommand(self, arguments, &settings, clean);
}

const subcommand subcommand_clean = {
    .name = "clean",
    .arguments = "DIR... [options]",
    .help = "Remove what an interrupted merge left behind.",
    .text = "An interrupted merge into DIR leaves its files in the hidden folder\n"
            ".DIR.merging, so that the same command resumes it. This removes that folder\n"
            "without asking.\n",
    .example = "  mergecraft clean merged\n",
    .options = options,
    .run = run};

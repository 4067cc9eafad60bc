/* mergecraft download: downloads models and data sets into the Hugging Face cache. */
#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "subcommands.h"

#include <mergecraft/hub.h>
#include <mergecraft/text.h>

#include <stdlib.h>
#include <string.h>

typedef struct download_settings {
    common_options common;
    text_list datasets;
    const char *split;
} download_settings;

#define AT(field_) offsetof(download_settings, field_)
static const option options[] = {
    {"dataset", '\0', OPTION_TEXTS, AT(datasets), "TASK", "examples of a GLUE task"},
    {"split", '\0', OPTION_TEXT, AT(split), "NAME", "split of these examples", "validation"},
    COMMON_OPTIONS("The object has downloads: per repository, name, kind, commit, folder, bytes, "
                   "bytes_received "
                   "and files."),
    {NULL}};

/* ---- data sets ------------------------------------------------------------------------------- */

/* *out: the file of a task's split in nyu-mll/glue. The caller frees it. */
static mc_status find_examples(const char *name, const char *split, const char **out,
                               mc_error *error)
{
    const mc_glue_task *task = NULL;
    const char *found = NULL;
    mc_status status = find_task(name, &task, error);
    if (status == MC_OK)
        status = find_split(task, split, &found, error);
    if (status == MC_OK)
        /* On the Hub each split of GLUE is one file of this name. */
        *out = format_text("%s/%s-00000-of-00001.parquet", task->name, found);
    return status;
}

/* ---- results --------------------------------------------------------------------------------- */

static int64_t bytes_of(const mc_hub_snapshot *snapshot)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < snapshot->file_count; i++)
        bytes += snapshot->sizes[i];
    return bytes;
}

static json_t *json_files(const mc_hub_snapshot *snapshot)
{
    json_t *const files = json_array();
    for (size_t i = 0; i < snapshot->file_count; i++)
        json_array_append_new(files, json_pack("{s:o, s:I}", "path", json_text(snapshot->files[i]),
                                               "bytes", (json_int_t)snapshot->sizes[i]));
    return files;
}

static void print_snapshots_json(const mc_hub_spec *specs, const mc_hub_snapshot *snapshots,
                                 size_t count)
{
    json_t *const list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            list,
            json_pack("{s:o, s:s, s:s, s:o, s:I, s:I, s:o}", "name", json_text(snapshots[i].name),
                      "kind", specs[i].dataset ? "dataset" : "model", "commit", snapshots[i].commit,
                      "folder", json_text(snapshots[i].folder), "bytes",
                      (json_int_t)bytes_of(&snapshots[i]), "bytes_received",
                      (json_int_t)snapshots[i].bytes_received, "files", json_files(&snapshots[i])));
    print_json(json_pack("{s:o}", "downloads", list));
}

static void print_snapshots(const mc_hub_snapshot *snapshots, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char bytes[16], received[16];
        const mc_hub_snapshot *const one = &snapshots[i];
        char *const folder = visible_text(one->folder);
        printf("%s: %zu file%s, %s (%s received)\n  %s\n", one->name, one->file_count,
               plural((int64_t)one->file_count),
               mc_format_bytes(bytes_of(one), bytes, sizeof bytes),
               mc_format_bytes(one->bytes_received, received, sizeof received), folder);
        free(folder);
    }
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static mc_status fetch(const download_settings *settings, const mc_hub_spec *specs, size_t count,
                       mc_error *error)
{
    fetch_display display = fetch_begin(&settings->common);
    const mc_hub_options hub = fetch_options(&display);
    mc_hub_snapshot *const snapshots = allocate(count * sizeof *snapshots);
    const mc_status status = mc_hub_download(specs, count, &hub, snapshots, error);
    fetch_end(&display);
    if (status == MC_OK) {
        if (settings->common.json)
            print_snapshots_json(specs, snapshots, count);
        else if (!settings->common.quiet)
            print_snapshots(snapshots, count);
        mc_hub_snapshots_free(snapshots, count);
    }
    free(snapshots);
    return status;
}

static mc_status download(const void *chosen, const text_list *operands, mc_error *error)
{
    const download_settings *const settings = chosen;
    const size_t data = settings->datasets.count, count = operands->count + data;
    if (count == 0)
        return mc_fail(error, MC_USAGE, "expected the name of a model on the Hub, found none");
    mc_hub_spec *const specs = allocate(count * sizeof *specs);
    const char **const paths = allocate(count * sizeof *paths);
    size_t made = 0;
    mc_status status = MC_OK;
    for (size_t i = 0; i < operands->count; i++)
        specs[i] = (mc_hub_spec){.name = operands->items[i]};
    while (made < data && status == MC_OK) {
        status = find_examples(settings->datasets.items[made], settings->split, &paths[made],
                               error);
        if (status != MC_OK)
            break;
        specs[operands->count + made] = (mc_hub_spec){
            .name = "nyu-mll/glue", .dataset = true, .files = &paths[made], .file_count = 1};
        made++;
    }
    if (status == MC_OK)
        status = fetch(settings, specs, count, error);
    /* specs point to paths, so paths are freed after the download. */
    while (made > 0)
        free((char *)(uintptr_t)paths[--made]);
    free(paths);
    free(specs);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    download_settings settings = {0};
    return run_subcommand(self, arguments, &settings, download);
}

const subcommand subcommand_download = {
    .name = "download",
    .arguments = "NAME... [options]",
    .help = "Download models and data sets from the Hugging Face Hub.",
    .text = "NAME is ORG/NAME or ORG/NAME@REVISION; a revision is a branch, a tag or a\n"
            "commit. Downloads use the standard Hugging Face cache. Only the files that a\n"
            "merge needs are downloaded. An interrupted download resumes when you run the\n"
            "same command again.\n",
    .example = "  mergecraft download google-bert/bert-base-uncased --dataset rte\n",
    .options = options,
    .run = run};

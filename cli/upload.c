/* mergecraft upload: sends a model folder to the Hub. */
#include "fetch.h"
#include "output.h"
#include "subcommands.h"

#include <mergecraft/hub.h>
#include <mergecraft/text.h>

#include <stdlib.h>
#include <string.h>

typedef struct upload_settings {
    common_options common;
    const char *branch, *message;
    bool private_repository, dry_run;
} upload_settings;

#define AT(field_) offsetof(upload_settings, field_)
static const option options[] = {
    {"branch", '\0', OPTION_TEXT, AT(branch), "NAME", "branch to commit to", "main",
     .details = "It is created if it does not exist. ORG/NAME@BRANCH means the same."},
    {"message", 'm', OPTION_TEXT, AT(message), "TEXT", "message of the commit",
     "Upload with mergecraft"},
    {"private", '\0', OPTION_FLAG, AT(private_repository), NULL, "create the repository as private",
     .details = "An error if the repository exists and is public."},
    {"dry-run", '\0', OPTION_FLAG, AT(dry_run), NULL, "list what would be sent, and change nothing",
     .details = "The server is asked which files it has."},
    COMMON_OPTIONS("The object has repository, branch, commit, url, created, committed, bytes_sent "
                   "and files, a list of objects with path, bytes, large and state: sent, "
                   "unchanged or ignored."),
    {NULL}};

/* ---- results --------------------------------------------------------------------------------- */

static const char *state_of(const mc_hub_upload_file *file)
{
    return file->ignored ? "ignored" : file->unchanged ? "unchanged" : "sent";
}

static json_t *json_files(const mc_hub_upload_result *result)
{
    json_t *const files = json_array();
    for (size_t i = 0; i < result->file_count; i++) {
        const mc_hub_upload_file *const file = &result->files[i];
        json_array_append_new(files,
                              json_pack("{s:o, s:I, s:b, s:s}", "path", json_text(file->path),
                                        "bytes", (json_int_t)file->bytes, "large", (int)file->large,
                                        "state", state_of(file)));
    }
    return files;
}

static void print_result_json(const upload_settings *settings, const mc_hub_upload_result *result)
{
    print_json(json_pack("{s:o, s:o, s:o, s:o, s:b, s:b, s:I, s:I, s:o}", "repository",
                         json_text(result->name), "branch", json_text(result->branch), "commit",
                         json_text(result->commit), "url", json_text(result->url), "dry_run",
                         (int)settings->dry_run, "created", (int)result->created, "committed",
                         (json_int_t)result->committed, "bytes_sent",
                         (json_int_t)result->bytes_sent, "files", json_files(result)));
}

static void print_files(const mc_hub_upload_result *result)
{
    table rows = {.columns = 3, .right = 1 << 1, .indent = 2};
    for (size_t i = 0; i < result->file_count; i++) {
        char bytes[16];
        const mc_hub_upload_file *const file = &result->files[i];
        char *const path = visible_text(file->path);
        table_add(&rows, "%s", path);
        table_add(&rows, "%s", mc_format_bytes(file->bytes, bytes, sizeof bytes));
        table_add(&rows, "%s",
                  file->ignored     ? "ignored by .gitignore"
                  : file->unchanged ? "unchanged"
                  : file->large     ? "to send, large"
                                    : "to send");
        free(path);
    }
    table_finish(&rows, stdout);
}

static void print_result(const upload_settings *settings, const mc_hub_upload_result *result)
{
    char bytes[16];
    if (settings->dry_run) {
        printf("%s@%s%s:\n", result->name, result->branch,
               result->created ? ", a new repository" : "");
        print_files(result);
    } else if (result->committed == 0) {
        printf("%s@%s: nothing changed, commit %s\n", result->name, result->branch, result->commit);
    } else {
        printf("%s@%s: %zu file%s, %s sent to the large file storage\n  %s\n", result->name,
               result->branch, result->committed, plural((int64_t)result->committed),
               mc_format_bytes(result->bytes_sent, bytes, sizeof bytes),
               result->url ? result->url : result->commit);
    }
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static mc_status upload_to(const upload_settings *settings, const char *folder, const char *name,
                           mc_error *error)
{
    fetch_display display = fetch_begin(&settings->common);
    const mc_hub_options hub = fetch_options(&display);
    const mc_hub_upload_options how = {.message = settings->message,
                                       .private_repository = settings->private_repository,
                                       .dry_run = settings->dry_run};
    mc_hub_upload_result result;
    const mc_status status = mc_hub_upload(folder, name, &how, &hub, &result, error);
    /* Before anything is printed: a bar may still be drawn. */
    fetch_end(&display);
    if (status != MC_OK)
        return status;
    if (settings->common.json)
        print_result_json(settings, &result);
    else if (!settings->common.quiet)
        print_result(settings, &result);
    mc_hub_upload_result_free(&result);
    return MC_OK;
}

static mc_status upload(const void *chosen, const text_list *operands, mc_error *error)
{
    const upload_settings *const settings = chosen;
    if (operands->count != 2)
        return mc_fail(error, MC_USAGE,
                       "expected a folder and the name of a repository, found %zu "
                       "argument%s",
                       operands->count, plural((int64_t)operands->count));
    const char *const name = operands->items[1];
    /* ORG/NAME@BRANCH names a branch too. */
    if (settings->branch && strchr(name, '@'))
        return mc_fail(error, MC_USAGE, "--branch: expected a name without '@', found '%s'", name);
    char *const full = settings->branch ? format_text("%s@%s", name, settings->branch)
                                        : format_text("%s", name);
    const mc_status status = upload_to(settings, operands->items[0], full, error);
    free(full);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    upload_settings settings = {0};
    return run_subcommand(self, arguments, &settings, upload);
}

const subcommand subcommand_upload = {
    .name = "upload",
    .arguments = "DIR ORG/NAME [options]",
    .help = "Upload a model folder to the Hub.",
    .text = "Commits the files of DIR to the repository and creates it if it does not exist.\n"
            "Needs a token with write access (HF_TOKEN). Files that the repository has are\n"
            "not sent again; after an interruption, run the same command again.\n",
    .example = "  HF_TOKEN=... mergecraft upload examples/models/rte-1 my-name/rte --dry-run\n",
    .options = options,
    .run = run};

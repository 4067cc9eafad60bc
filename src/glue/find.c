#include "glue/find.h"

#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* MOST_PARTS: five digits, as names on the Hub have them. */
enum { MOST_NAMES = 5, MOST_PARTS = 99999 };

void mc_glue_files_free(mc_glue_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        mc_free(files->paths[i]);
    mc_free(files->paths);
    *files = (mc_glue_files){0};
}

mc_status mc_glue_files_add(mc_glue_files *files, char *path, mc_error *error)
{
    if (!path || !MC_GROW(files->paths, files->count, files->capacity)) {
        mc_free(path);
        return mc_fail_memory(error);
    }
    files->paths[files->count++] = path;
    return MC_OK;
}

/* Lists the names of a split's file without suffix, as on the Hub and in GLUE's archives. */
static void list_stems(const mc_glue_task *task, const char *split, const char *out[MOST_NAMES])
{
    static const char *const names[][2] = {
        {"validation", "dev"},
        {"validation_matched", "dev_matched"},
        {"validation_mismatched", "dev_mismatched"},
    };
    size_t count = 0;
    memset(out, 0, MOST_NAMES * sizeof *out);
    out[count++] = split;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(split, names[i][0]) == 0)
            out[count++] = names[i][1];
    if (strcmp(task->name, "ax") == 0)
        out[count++] = "diagnostic";
}

static bool is_file(const char *path)
{
    struct stat status;
    return mc_system->stat(path, &status) == 0 && !S_ISDIR(status.st_mode);
}

static char *path_of_part(const char *folder, const char *stem, unsigned part, unsigned count)
{
    return mc_format("%s/%s-%05u-of-%05u.parquet", folder, stem, part, count);
}

/* The number of parts in a name such as "STEM-00000-of-00003.parquet"; 0 for other names. */
static unsigned parts_in_name(const char *name, const char *stem)
{
    const size_t length = strlen(stem);
    unsigned part = 0, count = 0;
    int end = 0;
    /* %n is reached only if all of the text before it matched. */
    if (strncmp(name, stem, length) != 0 ||
        sscanf(name + length, "-%5u-of-%5u.parquet%n", &part, &count, &end) != 2 || end == 0 ||
        name[length + (size_t)end] != '\0')
        return 0;
    return count;
}

/* Sets *parts to 0 if the folder has no parts of this name or does not exist. */
static mc_status count_parts(const char *folder, const char *stem, unsigned *parts, mc_error *error)
{
    *parts = 0;
    DIR *const listing = opendir(folder);
    if (!listing && (errno == ENOENT || errno == ENOTDIR))
        return MC_OK;
    if (!listing)
        return mc_fail_errno(error, folder, "cannot list the folder");
    for (const struct dirent *one; *parts == 0 && (one = readdir(listing));)
        *parts = parts_in_name(one->d_name, stem);
    closedir(listing);
    return MC_OK;
}

static mc_status add_parts(const char *folder, const char *stem, mc_glue_files *out,
                           mc_error *error)
{
    unsigned count = 0;
    MC_TRY(count_parts(folder, stem, &count, error));
    /* Every part must exist: a score of some of the examples would look like one of all. */
    for (unsigned part = 0; part < count; part++) {
        char *const path = path_of_part(folder, stem, part, count);
        MC_TRY(mc_glue_files_add(out, path, error));
        if (!is_file(path))
            return mc_fail_at(error, MC_NOT_FOUND, path, NULL, -1,
                              "expected this file, which is one of %u parts", count);
    }
    return MC_OK;
}

static mc_status add_single(const char *folder, const char *stem, mc_glue_files *out,
                            mc_error *error)
{
    static const char *const endings[] = {"parquet", "tsv", "jsonl", "csv"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char *const path = mc_format("%s/%s.%s", folder, stem, endings[i]);
        if (!path)
            return mc_fail_memory(error);
        if (is_file(path))
            return mc_glue_files_add(out, path, error);
        mc_free(path);
    }
    return MC_OK;
}

static mc_status search_folder(const mc_glue_task *task, const char *folder, const char *split,
                               mc_glue_files *out, mc_error *error)
{
    const char *stems[MOST_NAMES];
    list_stems(task, split, stems);
    for (size_t i = 0; out->count == 0 && stems[i]; i++) {
        MC_TRY(add_parts(folder, stems[i], out, error));
        if (out->count == 0)
            MC_TRY(add_single(folder, stems[i], out, error));
    }
    return MC_OK;
}

/* Searches the folder and its subfolders: the task's name, mnli for its halves, GLUE's name. */
static mc_status search_folders(const mc_glue_task *task, const char *folder, const char *split,
                                mc_glue_files *out, mc_error *error)
{
    /* The Hub has both halves of MNLI in one folder. */
    const char *const whole = strncmp(task->name, "mnli_", 5) == 0 ? "mnli" : task->name;
    const char *const names[] = {"", task->name, whole, task->folder};
    for (size_t i = 0; out->count == 0 && i < sizeof names / sizeof *names; i++) {
        char *const path = mc_format("%s%s%s", folder, names[i][0] ? "/" : "", names[i]);
        if (!path)
            return mc_fail_memory(error);
        const mc_status status = search_folder(task, path, split, out, error);
        mc_free(path);
        MC_TRY(status);
    }
    return MC_OK;
}

/* "validation" of mnli_matched is "validation_matched" of mnli. */
static const char *split_of_whole(const mc_glue_task *task, const char *split)
{
    const mc_glue_task *const whole = mc_glue_task_find("mnli");
    char name[64];
    if (strncmp(task->name, "mnli_", 5) != 0)
        return NULL;
    snprintf(name, sizeof name, "%s_%s", split, task->name + 5);
    return mc_glue_split_find(whole, name);
}

mc_status mc_glue_find(const mc_glue_task *task, const char *folder, const char *split,
                       mc_glue_files *out, mc_error *error)
{
    const char *const other = split_of_whole(task, split);
    const char *stems[MOST_NAMES];
    /* The longer name first: in a folder of mnli, "validation" alone is ambiguous. */
    if (other)
        MC_TRY(search_folders(task, folder, other, out, error));
    if (out->count == 0)
        MC_TRY(search_folders(task, folder, split, out, error));
    if (out->count > 0)
        return MC_OK;
    list_stems(task, other ? other : split, stems);
    return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                      "no '%s' of %s in this folder: expected %s.parquet, .tsv, .jsonl or .csv, or "
                      "parts as the Hub has them, here or in %s/ or %s/ (GLUE calls it %s.tsv)",
                      split, task->name, stems[0], task->name, task->folder,
                      stems[1] ? stems[1] : stems[0]);
}

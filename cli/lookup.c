#include "lookup.h"

#include "fetch.h"
#include "output.h"
#include "signals.h"

#include <mergecraft/text.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- files ----------------------------------------------------------------------------------- */

static bool exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

/* Hidden files are not suggested; ".NAME.merging" of an interrupted merge would be near to NAME. */
static int is_listed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/*
 * The name in a folder that is nearest to `word`; NULL if none is. The caller frees it.
 *
 * mc_suggest decides how near is near enough. Entries are sorted, so that the result does not
 * depend on the file system.
 */
static char *nearest_entry(const char *folder, const char *word)
{
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, is_listed, alphasort);
    if (count < 0)
        return NULL;
    const char **const names = allocate((size_t)count * sizeof *names);
    for (int i = 0; i < count; i++)
        names[i] = entries[i]->d_name;
    const char *const near = mc_suggest(word, names, (size_t)count);
    char *const copy = near ? format_text("%s", near) : NULL;
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    free(names);
    return copy;
}

/*
 * Replaces the first part of the path that does not exist by the nearest name in its folder.
 * Returns NULL if there is none, or if the result does not exist either. The caller frees it.
 */
static char *nearest_path(const char *path)
{
    size_t begin = 0, end = 0;
    for (;;) {
        begin = end + strspn(path + end, "/");
        end = begin + strcspn(path + begin, "/");
        if (begin == end)
            return NULL; /* all of it exists */
        char *const known = format_text("%.*s", (int)end, path);
        const bool found = exists(known);
        free(known);
        if (!found)
            break;
    }
    char *const folder = begin ? format_text("%.*s", (int)begin, path) : format_text(".");
    char *const word = format_text("%.*s", (int)(end - begin), path + begin);
    char *const entry = nearest_entry(folder, word);
    char *nearest = entry ? format_text("%.*s%s%s", (int)begin, path, entry, path + end) : NULL;
    free(folder);
    free(word);
    free(entry);
    /* Only one part is corrected: with the rest missing, too, the guess would be wild. */
    if (nearest && exists(nearest))
        return nearest;
    free(nearest);
    return NULL;
}

/* Adds the nearest path to an error about one that does not exist. */
static void suggest_path(const char *path, mc_error *error)
{
    char *const near = exists(path) ? NULL : nearest_path(path);
    const size_t length = strlen(error->text);
    if (near)
        snprintf(error->text + length, sizeof error->text - length, "; did you mean '%s'?", near);
    free(near);
}

static bool has_parent(const char *path)
{
    char *const folder = format_text("%.*s", (int)strcspn(path, "/"), path);
    const bool found = exists(folder);
    free(folder);
    return found;
}

/*
 * Takes ORG/NAME for a mistyped path if the folder ORG exists here or a similar path does: a
 * request to the Hub would take seconds and reveal the name of a local file to the server.
 */
static mc_status check_name(const char *name, mc_error *error)
{
    if (!*name)
        return mc_fail(error, MC_USAGE, "expected a model, found ''");
    /* ORG/NAME@REVISION is not a likely path; it asks for the Hub explicitly. */
    if (exists(name) || !mc_hub_is_name(name) || strchr(name, '@'))
        return MC_OK;
    char *const near = nearest_path(name);
    if (!near && !has_parent(name))
        return MC_OK;
    mc_fail(error, MC_NOT_FOUND, "no such file or folder%s%s%s (%s@main is the one on the Hub)",
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", name);
    snprintf(error->file, sizeof error->file, "%s", name);
    free(near);
    return MC_NOT_FOUND;
}

/* A name that was not found on the Hub may have been meant as a path. */
static void explain_name(const char *name, mc_error *error)
{
    if (!mc_hub_is_name(name) && strcmp(error->file, name) == 0) {
        suggest_path(name, error);
    } else if (mc_hub_is_name(name) && strncmp(error->file, name, strlen(name)) == 0) {
        char *const text = format_text("no such file or folder here, and on the Hub: %s",
                                       error->text);
        snprintf(error->text, sizeof error->text, "%s", text);
        free(text);
    }
}

mc_status open_models(const char *const *names, size_t count, const common_options *common,
                      bool headers_only, mc_model **out, mc_error *error)
{
    /* All names are checked before the first model is opened. */
    for (size_t i = 0; i < count; i++) {
        const mc_status status = check_name(names[i], error);
        if (status != MC_OK)
            return status;
    }
    fetch_display display = fetch_begin(common);
    const mc_hub_options hub = fetch_options(&display);
    const mc_status status = mc_models_open(names, count, &hub, headers_only, out, error);
    fetch_end(&display);
    /* The error names one of the models; explain_name changes it for that one only. */
    for (size_t i = 0; (status == MC_NOT_FOUND || status == MC_IO) && i < count; i++)
        explain_name(names[i], error);
    return status;
}

mc_status open_model(const char *name, const common_options *common, mc_model **out,
                     mc_error *error)
{
    return open_models(&name, 1, common, false, out, error);
}

/* ---- methods --------------------------------------------------------------------------------- */

char *method_name(const mc_method *method)
{
    if (!method->family || strcmp(method->family, "mergecraft") == 0)
        return format_text("%s", method->name);
    return format_text("%s:%s", method->family, method->name);
}

static mc_status unknown_method(const char *text, mc_error *error)
{
    const size_t count = mc_method_count();
    char **const names = allocate(count * sizeof *names);
    for (size_t i = 0; i < count; i++) {
        const mc_method *const method = mc_method_at(i);
        /* Compared in the form that the user typed: with a family, or without. */
        names[i] = strchr(text, ':')
                       ? format_text("%s:%s", method->family ? method->family : "mergecraft",
                                     method->name)
                       : method_name(method);
    }
    const char *const near = mc_suggest(text, (const char *const *)names, count);
    if (near)
        mc_fail(error, MC_USAGE, "unknown method '%s'; did you mean '%s'?", text, near);
    else
        mc_fail(error, MC_USAGE, "unknown method '%s'; mergecraft methods lists what there is",
                text);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return MC_USAGE;
}

static bool ends_with(const char *text, size_t length, const char *ending)
{
    const size_t size = strlen(ending);
    return length >= size && memcmp(text + length - size, ending, size) == 0;
}

static bool is_plugin_file(const char *text, size_t length)
{
    return ends_with(text, length, ".c") || ends_with(text, length, ".so");
}

/*
 * Returns the length of the file's name in "./methods.so:median"; of the whole text if it names no
 * method.
 */
static size_t file_length(const char *text)
{
    /* The last one, and only if the whole text is not a file: a path may have a colon. */
    const char *const colon = strrchr(text, ':');
    const size_t length = colon ? (size_t)(colon - text) : strlen(text);
    return colon && !exists(text) && is_plugin_file(text, length) ? length : strlen(text);
}

static mc_status no_such_method(const mc_plugin *plugin, const char *file, const char *name,
                                mc_error *error)
{
    const size_t count = mc_plugin_method_count(plugin);
    const char **const names = allocate(count * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = mc_plugin_method(plugin, i)->name;
    const char *const near = mc_suggest(name, names, count);
    if (near)
        mc_fail(error, MC_USAGE, "%s has no method '%s'; did you mean '%s'?", file, name, near);
    else
        mc_fail(error, MC_USAGE, "%s has no method '%s'", file, name);
    free(names);
    return MC_USAGE;
}

/* `name` is NULL when the user named the file only. */
static mc_status choose_from_plugin(const char *file, const char *name, method_choice *choice,
                                    mc_error *error)
{
    const size_t count = mc_plugin_method_count(choice->plugin);
    if (!name) {
        /* With several methods the caller decides: one to list all, another to ask for a name. */
        choice->method = count == 1 ? mc_plugin_method(choice->plugin, 0) : NULL;
        return MC_OK;
    }
    for (size_t i = 0; i < count; i++)
        if (strcmp(mc_plugin_method(choice->plugin, i)->name, name) == 0)
            choice->method = mc_plugin_method(choice->plugin, i);
    return choice->method ? MC_OK : no_such_method(choice->plugin, file, name, error);
}

static mc_status find_in_file(const char *text, method_choice *choice, mc_error *error)
{
    const size_t length = file_length(text);
    /* Without a folder in its name a shared object would be looked for in the system's folders. */
    char *const file = format_text("%s%.*s", strchr(text, '/') ? "" : "./", (int)length, text);
    const char *const name = text[length] ? text + length + 1 : NULL;
    mc_status status;
    if (!is_plugin_file(file, strlen(file))) {
        status = mc_fail(error, MC_USAGE,
                         "expected a method before the models, found '%s', which is neither a name "
                         "nor a .c or .so file",
                         text);
    } else if (!exists(file)) {
        status = mc_fail(error, MC_NOT_FOUND, "no such file");
        snprintf(error->file, sizeof error->file, "%s", file);
        suggest_path(file, error);
    } else {
        status = mc_plugin_open(file, catch_signals(), &choice->plugin, error);
        if (status == MC_OK)
            status = choose_from_plugin(file, name, choice, error);
    }
    free(file);
    return status;
}

mc_status find_method(const char *text, method_choice *choice, mc_error *error)
{
    /* No built-in name has a slash or such an ending. */
    if (strchr(text, '/') || is_plugin_file(text, file_length(text)))
        return find_in_file(text, choice, error);
    choice->method = mc_method_find(text);
    return choice->method ? MC_OK : unknown_method(text, error);
}

void close_method(method_choice *choice)
{
    mc_plugin_close(choice->plugin);
    *choice = (method_choice){0};
}

/* ---- evaluation ------------------------------------------------------------------------------ */

mc_status find_task(const char *name, const mc_glue_task **task, mc_error *error)
{
    *task = mc_glue_task_find(name);
    if (*task)
        return MC_OK;
    const size_t count = mc_glue_task_count();
    const char **const names = allocate(count * sizeof *names);
    char *list = format_text("%s", "");
    for (size_t i = 0; i < count; i++) {
        names[i] = mc_glue_task_at(i)->name;
        char *const longer = format_text("%s%s%s", list, i ? ", " : "", names[i]);
        free(list);
        list = longer;
    }
    const char *const near = mc_suggest(name, names, count);
    if (near)
        mc_fail(error, MC_USAGE, "unknown task '%s'; did you mean '%s'?", name, near);
    else
        mc_fail(error, MC_USAGE, "unknown task '%s': expected one of %s", name, list);
    free(list);
    free(names);
    return MC_USAGE;
}

mc_status find_split(const mc_glue_task *task, const char *name, const char **split,
                     mc_error *error)
{
    *split = mc_glue_split_find(task, name);
    if (*split)
        return MC_OK;
    char *list = format_text("%s", task->splits[0]);
    for (size_t i = 1; task->splits[i]; i++) {
        char *const longer = format_text("%s, %s", list, task->splits[i]);
        free(list);
        list = longer;
    }
    mc_fail(error, MC_USAGE, "--split: expected one of %s, found '%s'", list, name);
    free(list);
    return MC_USAGE;
}

mc_status parse_precision(const char *name, const char *text, mc_precision *precision,
                          mc_error *error)
{
    static const char *const names[] = {
        [MC_PRECISION_F32] = "f32", [MC_PRECISION_BF16] = "bf16", [MC_PRECISION_INT8] = "int8"};
    *precision = MC_PRECISION_F32;
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], text) == 0) {
            *precision = (mc_precision)i;
            return MC_OK;
        }
    return text ? mc_fail(error, MC_USAGE, "%s: expected f32, bf16 or int8, found '%s'", name, text)
                : MC_OK;
}

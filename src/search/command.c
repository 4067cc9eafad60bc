#include "search/command.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* What is kept of the output: its end, which has the last line. */
enum { KEPT = 4096 };

typedef struct output {
    char text[2 * KEPT + 1];
    size_t length;
} output;

mc_status mc_command_check(const char *command, mc_error *error)
{
    if (strstr(command, "{}"))
        return MC_OK;
    return mc_fail(error, MC_USAGE,
                   "expected {} in the command, for the folder of the model, found '%s'", command);
}

/* ---- the command line ------------------------------------------------------------------------ */

/* 'PATH' for a shell: a quotation mark in it is closed, escaped and opened again. */
static void add_quoted(mc_text *text, const char *path)
{
    mc_text_add(text, "'");
    for (const char *c = path; *c; c++)
        mc_text_append(text, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : 1);
    mc_text_add(text, "'");
}

static char *command_line(const char *command, const char *folder)
{
    mc_text text = {0};
    for (const char *at; (at = strstr(command, "{}")) != NULL; command = at + 2) {
        mc_text_append(&text, command, (size_t)(at - command));
        add_quoted(&text, folder);
    }
    mc_text_add(&text, "%s", command);
    if (!text.failed)
        return text.data;
    mc_text_free(&text);
    return NULL;
}

static bool is_own(const char *variable)
{
    static const char *const names[] = {"MERGECRAFT_TRIAL=", "MERGECRAFT_PARAMETERS="};
    return strncmp(variable, names[0], strlen(names[0])) == 0 ||
           strncmp(variable, names[1], strlen(names[1])) == 0;
}

/*
 * The environment with two more variables, which are borrowed. Inside the command of another
 * search, they replace those of that search: of two with one name, getenv finds the first.
 */
static char **environment(char *trial, char *parameters)
{
    size_t count = 0, kept = 0;
    while (environ && environ[count])
        count++;
    char **const all = mc_alloc_zero(count + 3, sizeof *all);
    for (size_t i = 0; all && i < count; i++)
        if (!is_own(environ[i]))
            all[kept++] = environ[i];
    if (all) {
        all[kept] = trial;
        all[kept + 1] = parameters;
    }
    return all;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Reads what is there; false at the end. Of long output the end is kept. */
static bool read_some(int from, output *out)
{
    struct pollfd wait = {.fd = from, .events = POLLIN};
    if (poll(&wait, 1, 50) <= 0)
        return true;
    if (out->length + KEPT > 2 * KEPT) {
        memmove(out->text, out->text + out->length - KEPT, KEPT);
        out->length = KEPT;
    }
    const ssize_t got = read(from, out->text + out->length, KEPT);
    out->length += got > 0 ? (size_t)got : 0;
    return got > 0 || (got < 0 && errno == EINTR);
}

/*
 * Its own process group, so that everything that it started can be killed. Signals that this
 * process ignores, as Python does SIGPIPE, would be ignored there, too.
 */
static int start(char *line, char **variables, int to, pid_t *child)
{
    char shell[] = "sh", option[] = "-c";
    char *const arguments[] = {shell, option, line, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, to, 1);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    const int problem = posix_spawn(child, "/bin/sh", &actions, &attributes, arguments, variables);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return problem;
}

static bool is_cancelled(const volatile int *cancel)
{
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED);
}

/* Whether the shell has ended; waits a while for it. */
static bool has_ended(pid_t child, int *result)
{
    static const struct timespec pause = {.tv_nsec = 1000 * 1000};
    const pid_t ended = waitpid(child, result, WNOHANG);
    if (ended != 0)
        return ended > 0 || errno != EINTR;
    nanosleep(&pause, NULL);
    return false;
}

/*
 * Waits until the output has ended and the shell, too:
 *
 *     read ─▶ end of output ─▶ wait ─▶ status
 *       └───▶ cancelled, or too late ─▶ kill the group ─▶ wait
 *
 * A process in the background that keeps the output open counts against the limit.
 */
static mc_status wait_for(pid_t child, int from, double limit, const volatile int *cancel,
                          output *out, int *result, mc_error *error)
{
    const double begin = mc_seconds();
    mc_status status = MC_OK;
    bool more = true, ended = false;
    while (!ended && status == MC_OK) {
        if (is_cancelled(cancel))
            status = mc_fail(error, MC_INTERRUPTED, "interrupted");
        else if (limit > 0 && mc_seconds() - begin > limit)
            status = mc_fail(error, MC_FORMAT, "the command took longer than %g seconds", limit);
        else if (more)
            more = read_some(from, out);
        else
            ended = has_ended(child, result);
    }
    if (status != MC_OK)
        kill(-child, SIGKILL);
    while (!ended && waitpid(child, result, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static mc_status run(const mc_search_input *input, char *line, char **variables,
                     const volatile int *cancel, output *out, mc_error *error)
{
    int ends[2], result = 0;
    pid_t child = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return mc_fail_errno(error, NULL, "cannot run the command");
    errno = start(line, variables, ends[1], &child);
    mc_status status = errno == 0 ? MC_OK : mc_fail_errno(error, NULL, "cannot run the command");
    close(ends[1]);
    if (status == MC_OK)
        status = wait_for(child, ends[0], input->command_seconds, cancel, out, &result, error);
    close(ends[0]);
    if (status == MC_OK && WIFSIGNALED(result))
        return mc_fail(error, MC_FORMAT, "the command was ended by signal %d", WTERMSIG(result));
    if (status == MC_OK && WEXITSTATUS(result) != 0)
        return mc_fail(error, MC_FORMAT, "the command failed with exit status %d",
                       WEXITSTATUS(result));
    return status;
}

/* The last line that is not blank. */
static mc_status parse_score(output *out, double *score, mc_error *error)
{
    out->text[out->length] = '\0';
    char *end = out->text + out->length;
    while (end > out->text && strchr(" \t\r\n", end[-1]))
        *--end = '\0';
    char *const line_feed = strrchr(out->text, '\n');
    const char *line = line_feed ? line_feed + 1 : out->text;
    line += strspn(line, " \t");
    if (mc_parse_number(line, score) && isfinite(*score))
        return MC_OK;
    return mc_fail(error, MC_FORMAT,
                   "expected a number as the last line of the command's output, found '%.80s'",
                   line);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static mc_status make_folder(const mc_search_input *input, char **out, mc_error *error)
{
    const char *const variable = getenv("TMPDIR");
    const char *const parent = input->command_folder   ? input->command_folder
                               : variable && *variable ? variable
                                                       : "/tmp";
    char *const path = mc_format("%s/mergecraft-search-XXXXXX", parent);
    if (!path)
        return mc_fail_memory(error);
    if (!mkdtemp(path)) {
        const mc_status status = mc_fail_errno(error, parent, "cannot create a temporary folder");
        mc_free(path);
        return status;
    }
    *out = path;
    return MC_OK;
}

/* Removes a folder and what is in it, as far as possible: it lies among temporary files. */
static void remove_all(const char *path)
{
    DIR *const entries = mc_list_folder(path);
    for (const char *name; entries && (name = mc_next_entry(entries)) != NULL;) {
        char *const one = mc_format("%s/%s", path, name);
        struct stat status;
        if (one && lstat(one, &status) == 0 && S_ISDIR(status.st_mode))
            remove_all(one);
        else if (one)
            unlink(one);
        mc_free(one);
    }
    if (entries)
        closedir(entries);
    rmdir(path);
}

static mc_status score_folder(const mc_search_input *input, const mc_search_options *options,
                              const char *folder, size_t trial, const char *parameters,
                              double *score, mc_error *error)
{
    output out = {.length = 0};
    char *const line = command_line(input->command, folder);
    char *const number = mc_format("MERGECRAFT_TRIAL=%zu", trial);
    char *const values = mc_format("MERGECRAFT_PARAMETERS=%s", parameters);
    char **const variables = number && values ? environment(number, values) : NULL;
    mc_status status = line && variables ? run(input, line, variables, options->cancel, &out, error)
                                         : mc_fail_memory(error);
    if (status == MC_OK)
        status = parse_score(&out, score, error);
    mc_free(variables);
    mc_free(values);
    mc_free(number);
    mc_free(line);
    return status;
}

mc_status mc_command_score(const mc_search_input *input, const mc_search_options *options,
                           const mc_plan *plan, size_t trial, const char *parameters, double *score,
                           mc_error *error)
{
    char *parent = NULL;
    const mc_run_options how = {.threads = options->threads,
                                .memory = options->memory,
                                .cancel = options->cancel,
                                .no_sync = true};
    MC_TRY(make_folder(input, &parent, error));
    char *const folder = mc_format("%s/model", parent);
    mc_status status = folder ? mc_plan_run(plan, folder, &how, NULL, error)
                              : mc_fail_memory(error);
    if (status == MC_OK)
        status = score_folder(input, options, folder, trial, parameters, score, error);
    remove_all(parent);
    mc_free(folder);
    mc_free(parent);
    return status;
}

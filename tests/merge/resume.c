/*
 * What a run leaves behind: all or nothing, whatever goes wrong, and after a stop as much as the
 * next run needs.
 */
#include "merge/fixtures.h"

#include "base/hash.h"
#include "base/system.h"
#include "merge/folder.h"
#include "merge/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h> /* RENAME_EXCHANGE */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { STEP = 64 << 10, TILE = 128 << 10, THREADS = 2 };

/* Of the calls that fail in turn, every so many-th part more is skipped: sanitizers are slow. */
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum { SKIPPED = 3 };
#else
enum { SKIPPED = 12 };
#endif

/* ---- a system that fails --------------------------------------------------------------------- */

typedef enum call {
    OPEN,
    CLOSE,
    FSTAT,
    STAT,
    PREAD,
    PWRITE,
    FSYNC,
    MKDIR,
    UNLINK,
    RENAME,
    LIST,
    NEXT,
    WRITE_BACK,
    READ_AHEAD,
    LOCK,
    STATVFS,
    CALLS
} call;

/* What happens at a call; shared with a child. */
typedef struct plan {
    long seen[CALLS];
    call at;
    long nth; /* from 1 on; 0: never */
    int error;
    bool kill, brief; /* brief: short and interrupted all the time */
    int cancel;
    int64_t tensor_bytes; /* written in pieces that can only be tensors */
    void (*act)(void);
} plan;

static plan *trouble;

static bool hit(call which)
{
    const long seen = __atomic_add_fetch(&trouble->seen[which], 1, __ATOMIC_SEQ_CST);
    if (trouble->at != which || seen != trouble->nth)
        return false;
    if (trouble->kill)
        kill(getpid(), SIGKILL);
    if (trouble->act)
        trouble->act();
    errno = trouble->error;
    return trouble->error != 0;
}

static int bad_open(int folder, const char *path, int flags, mode_t mode)
{
    return hit(OPEN) ? -1 : mc_system_real.open(folder, path, flags, mode);
}

/* What fails to close is closed, as on Linux. */
static int bad_close(int fd)
{
    const int result = mc_system_real.close(fd);
    return hit(CLOSE) ? -1 : result;
}

static int bad_stat(const char *path, struct stat *out)
{
    return hit(STAT) ? -1 : mc_system_real.stat(path, out);
}

static int bad_unlink(int folder, const char *path, int flags)
{
    return hit(UNLINK) ? -1 : mc_system_real.unlink(folder, path, flags);
}

static DIR *bad_list(int fd)
{
    return hit(LIST) ? NULL : mc_system_real.list(fd);
}

static struct dirent *bad_next(DIR *entries)
{
    return hit(NEXT) ? NULL : mc_system_real.next(entries);
}

static int bad_write_back(int fd, off_t offset, off_t size)
{
    return hit(WRITE_BACK) ? -1 : mc_system_real.write_back(fd, offset, size);
}

static int bad_read_ahead(int fd, off_t offset, off_t size)
{
    return hit(READ_AHEAD) ? -1 : mc_system_real.read_ahead(fd, offset, size);
}

static int bad_fstat(int fd, struct stat *out)
{
    return hit(FSTAT) ? -1 : mc_system_real.fstat(fd, out);
}

/* Every third call is interrupted, the others do less than they should. */
static bool interrupted(call which, size_t *size)
{
    if (!trouble->brief)
        return false;
    *size = *size > 5 ? *size / 2 + 1 : *size;
    errno = EINTR;
    return __atomic_load_n(&trouble->seen[which], __ATOMIC_SEQ_CST) % 3 == 0;
}

static ssize_t bad_pread(int fd, void *out, size_t size, off_t offset)
{
    if (hit(PREAD) || interrupted(PREAD, &size))
        return -1;
    return mc_system_real.pread(fd, out, size, offset);
}

static ssize_t bad_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (hit(PWRITE) || interrupted(PWRITE, &size))
        return -1;
    const ssize_t put = mc_system_real.pwrite(fd, bytes, size, offset);
    if (put >= 8192)
        trouble->tensor_bytes += put;
    return put;
}

static int bad_fsync(int fd)
{
    return hit(FSYNC) ? -1 : mc_system_real.fsync(fd);
}

static int bad_mkdir(const char *path, mode_t mode)
{
    return hit(MKDIR) ? -1 : mc_system_real.mkdir(path, mode);
}

static int bad_rename(const char *from, const char *to, unsigned flags)
{
    return hit(RENAME) ? -1 : mc_system_real.rename(from, to, flags);
}

static int bad_statvfs(const char *path, struct statvfs *out)
{
    const int result = mc_system_real.statvfs(path, out);
    if (hit(STATVFS))
        out->f_bavail = 1;
    return result;
}

static int bad_lock(int fd)
{
    return hit(LOCK) ? -1 : mc_system_real.lock(fd);
}

static mc_system_calls bad_calls;

static void set_trouble(plan what)
{
    *trouble = what;
    mc_system = &bad_calls;
}

static void no_trouble(void)
{
    mc_system = &mc_system_real;
}

/* ---- the merge ------------------------------------------------------------------------------- */

typedef struct place {
    char *folder; /* with models a, b and base in it */
    char *reference;
    mc_model *a, *b, *base;
    int64_t bytes;
} place;

static place here;

static mc_plan *new_plan(mc_model *a, mc_model *b, mc_model *base, const char *setting)
{
    mc_plan *made = NULL;
    const mc_model *const models[] = {a, b};
    const mc_plan_input input = {.method = mc_method_find("task"),
                                 .models = models,
                                 .model_count = 2,
                                 .base = base,
                                 .params = &setting,
                                 .param_count = 1};
    assert_done(mc_plan_new(&input, &made, &error));
    return made;
}

static mc_plan *usual_plan(void)
{
    return new_plan(here.a, here.b, here.base, "scale=0.5");
}

static bool unsynced = true; /* waiting for the disk takes most of the time */
static int64_t memory;       /* 0: the default */

static mc_status run(const mc_plan *what, const char *folder, mc_run_result *result,
                     mc_error *error)
{
    const mc_run_options options = {.threads = THREADS,
                                    .memory = memory,
                                    .shard_size = 1 << 20,
                                    .no_sync = unsynced,
                                    .cancel = &trouble->cancel};
    return mc_plan_run(what, folder, &options, result, error);
}

static mc_status run_over(const mc_plan *what, const char *folder, mc_error *error)
{
    const mc_run_options options = {
        .threads = THREADS, .shard_size = 1 << 20, .no_sync = unsynced, .overwrite = true};
    return mc_plan_run(what, folder, &options, NULL, error);
}

static mc_state_dict *make_model(uint64_t seed)
{
    mc_state_dict *const dict = dict_new();
    char name[16];
    for (uint64_t i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "layer.%d", (int)i);
        dict_add(dict, name, i % 3 ? MC_F32 : MC_F16, SHAPE(23, 2003), seed + 8 * i);
    }
    return dict;
}

static int set_up(void **state)
{
    (void)state;
    bad_calls = mc_system_real;
    bad_calls.open = bad_open;
    bad_calls.close = bad_close;
    bad_calls.stat = bad_stat;
    bad_calls.unlink = bad_unlink;
    bad_calls.list = bad_list;
    bad_calls.next = bad_next;
    bad_calls.write_back = bad_write_back;
    bad_calls.read_ahead = bad_read_ahead;
    bad_calls.fstat = bad_fstat;
    bad_calls.pread = bad_pread;
    bad_calls.pwrite = bad_pwrite;
    bad_calls.fsync = bad_fsync;
    bad_calls.mkdir = bad_mkdir;
    bad_calls.rename = bad_rename;
    bad_calls.statvfs = bad_statvfs;
    bad_calls.lock = bad_lock;
    trouble = mmap(NULL, sizeof *trouble, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                   0);
    assert_true(trouble != MAP_FAILED);
    mc_journal_step = STEP;
    here.folder = temporary_folder();
    const char *const names[] = {"a", "b", "base"};
    for (uint64_t i = 0; i < 3; i++) {
        save_model(here.folder, names[i], make_model(i));
        char *const path = path_of(here.folder, names[i]);
        write_text(path, "config.json", "{\"model_type\": \"bert\"}");
        write_text(path, "tokenizer.json", "{}");
        free(path);
    }
    here.a = open_model(here.folder, "a");
    here.b = open_model(here.folder, "b");
    here.base = open_model(here.folder, "base");
    /* Targets have one name, which the model card tells, in parents of their own. */
    here.reference = path_of(here.folder, "reference/out");
    mc_run_result result;
    mc_plan *const what = usual_plan();
    assert_done(run(what, here.reference, &result, &error));
    here.bytes = result.bytes_written;
    mc_plan_free(what);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mc_model_close(here.a);
    mc_model_close(here.b);
    mc_model_close(here.base);
    remove_temporary(here.folder);
    free(here.reference);
    return 0;
}

/* A new parent folder for targets; the target in it is "out". */
static char *new_parent(void)
{
    static int number;
    char name[32];
    snprintf(name, sizeof name, "parent-%d", number++);
    char *const path = path_of(here.folder, name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

static void assert_complete(const char *parent)
{
    char *const target = path_of(parent, "out");
    assert_int_equal(count_entries(parent), 1);
    assert_same_folders(here.reference, target);
    free(target);
}

/* ---- stops ----------------------------------------------------------------------------------- */

/*
 * Runs in a child that is killed at its nth write; true if it was, false if it ended before that.
 */
static bool run_killed(const mc_plan *what, const char *target, long nth)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        set_trouble((plan){.at = PWRITE, .nth = nth, .kill = true});
        mc_run_result result;
        _exit(run(what, target, &result, NULL) == MC_OK ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static bool check_killed(const mc_plan *what, long nth)
{
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    const bool killed = run_killed(what, target, nth);
    const int64_t done = trouble->tensor_bytes;
    if (killed) {
        mc_run_result result;
        assert_false(exists(parent, "out"));
        assert_done(run(what, target, &result, &error));
        assert_int_equal(result.bytes_written + result.bytes_resumed, here.bytes);
        /* Since the last record, and the tiles that another thread had not yet handed over. */
        assert_true(done - result.bytes_resumed <= STEP + 2 * TILE);
        assert_true(done < 2 * (STEP + TILE) || result.bytes_resumed > 0);
    }
    assert_complete(parent);
    free(target);
    free(parent);
    return killed;
}

static void test_killed(void **state)
{
    (void)state;
    mc_plan *const what = usual_plan();
    long nth = 1, times = 0;
    for (; check_killed(what, nth); nth += 1 + nth / 4)
        times++;
    assert_true(times > 10);
    mc_plan_free(what);
}

/* Killed again and again, and always a little further. */
static void test_killed_often(void **state)
{
    (void)state;
    mc_plan *const what = usual_plan();
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    int times = 0;
    while (run_killed(what, target, 13))
        assert_true(++times < 100);
    assert_true(times > 2);
    assert_complete(parent);
    mc_plan_free(what);
    free(target);
    free(parent);
}

/* Somebody emptied the shard and left the journal: nothing of it is believed. */
static void test_tidied(void **state)
{
    (void)state;
    mc_plan *const what = usual_plan();
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    long nth = 16;
    while (run_killed(what, target, nth) && trouble->tensor_bytes < 4 * (STEP + TILE))
        nth += 4;
    char *const shard = path_of(parent, ".out.merging/model-00001-of-00002.safetensors");
    assert_int_equal(truncate(shard, 100), 0);
    mc_run_result result;
    assert_done(run(what, target, &result, &error));
    assert_int_equal(result.bytes_resumed, 0);
    assert_complete(parent);
    mc_plan_free(what);
    free(shard);
    free(target);
    free(parent);
}

/* ---- every method of recipes ----------------------------------------------------------------- */

/* Parameters that make a method do all that it can. */
static const struct {
    const char *name, *params[2];
    size_t models;
    bool base;
} recipe_methods[] = {
    {"arcee_fusion", {0}, 1, true},
    {"breadcrumbs", {"weight=0.5", "density=0.7"}, 2, true},
    {"breadcrumbs_ties", {"weight=0.5", "density=0.7"}, 2, true},
    {"dare_linear", {"weight=0.5", "density=0.4"}, 2, true},
    {"dare_ties", {"weight=0.5", "density=0.4"}, 2, true},
    {"della", {"weight=0.5", "density=0.5"}, 2, true},
    {"della_linear", {"weight=0.5", "density=0.5"}, 2, true},
    {"karcher", {0}, 2, false},
    {"linear", {"weight=0.5"}, 2, false},
    {"model_stock", {"filter_wise=true"}, 2, true},
    {"multislerp", {"weight=0.5"}, 2, true},
    {"nearswap", {"t=0.01"}, 1, true},
    {"nuslerp", {"weight=0.5", "nuslerp_flatten=false"}, 2, true},
    {"passthrough", {"scale=0.5"}, 1, false},
    {"ram", {"epsilon=0.01"}, 2, true},
    {"ramplus_tl", {"epsilon=0.01"}, 2, true},
    {"sce", {"select_topk=0.3"}, 2, true},
    {"slerp", {"t=0.3"}, 1, true},
    {"task_arithmetic", {"weight=0.5"}, 2, true},
    {"ties", {"weight=0.5", "density=0.4"}, 2, true},
};

enum { RECIPE_METHODS = sizeof recipe_methods / sizeof *recipe_methods };

static mc_plan *recipe_plan(size_t i)
{
    char name[64];
    mc_plan *made = NULL;
    const mc_model *const models[] = {here.a, here.b};
    snprintf(name, sizeof name, "mergekit:%s", recipe_methods[i].name);
    size_t params = 0;
    while (params < 2 && recipe_methods[i].params[params])
        params++;
    const mc_plan_input input = {.method = mc_method_find(name),
                                 .models = models,
                                 .model_count = recipe_methods[i].models,
                                 .base = recipe_methods[i].base ? here.base : NULL,
                                 .params = recipe_methods[i].params,
                                 .param_count = params};
    assert_non_null(input.method);
    assert_done(mc_plan_new(&input, &made, &error));
    return made;
}

/*
 * Every method of recipes gives the same bits on one thread in little memory as on several that
 * are killed half-way and resume.
 */
static void test_killed_recipes(void **state)
{
    (void)state;
    for (size_t i = 0; i < RECIPE_METHODS; i++) {
        mc_plan *const what = recipe_plan(i);
        char *const parent = new_parent(), *const target = path_of(parent, "out");
        char *const other = new_parent(), *const expected = path_of(other, "out");
        const mc_run_options options = {
            .threads = 1, .memory = 1 << 20, .shard_size = 1 << 20, .no_sync = true};
        mc_run_result result;
        assert_done(mc_plan_run(what, expected, &options, &result, &error));
        assert_true(run_killed(what, target, 30));
        assert_done(run(what, target, &result, &error));
        assert_true(result.bytes_resumed > 0);
        assert_same_folders(expected, target);
        mc_plan_free(what);
        free(expected);
        free(other);
        free(target);
        free(parent);
    }
}

/* What a killed run left of the small files does not show through shorter ones. */
static void test_killed_late(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    char *const other = new_parent(), *const expected = path_of(other, "out");
    mc_plan *const what = usual_plan();
    long last = 1;
    set_trouble((plan){0});
    mc_run_result result;
    assert_done(run(what, target, &result, &error));
    last = trouble->seen[PWRITE];
    no_trouble();
    assert_int_equal(nftw(target, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    /*
     * The order of records and tiles does not change their number: the last write is one of a small
     * file.
     */
    assert_true(run_killed(what, target, last));
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(here.folder), 0);
    mc_model *const a = open_model(".", "a"), *const b = open_model(".", "b");
    mc_model *const base = open_model(".", "base");
    mc_plan *const brief = new_plan(a, b, base, "scale=0.5");
    assert_done(run(brief, target, &result, &error));
    assert_true(result.bytes_resumed > 0);
    assert_done(run(brief, expected, &result, &error));
    assert_same_folders(expected, target);
    assert_int_equal(chdir(before), 0);
    mc_plan_free(brief);
    mc_plan_free(what);
    mc_model_close(a);
    mc_model_close(b);
    mc_model_close(base);
    free(parent), free(target), free(other), free(expected);
}

/* ---- what is found --------------------------------------------------------------------------- */

enum { FOUND_TENSORS = 6, FOUND_COUNT = 150000 };

/* Models with NaN, infinities and values beyond float16 in some tensors, and their information. */
typedef struct found_models {
    mc_model *models[2], *information[2];
} found_models;

/* Every third tensor is averaged, as nothing is known about it. */
static float information_value(int t, int i, int step)
{
    (void)i;
    (void)step;
    return t % 3 == 1 ? 0 : 1;
}

static float found_value(int t, int i, int step)
{
    return t > 0 && i % step == 0         ? 1e6F
           : t != 2 && i % step == 1      ? NAN
           : t % 2 == 1 && i % step == 11 ? -INFINITY
                                          : 1;
}

static mc_model *make_found(const char *name, float (*value)(int t, int i, int step), int step)
{
    mc_state_dict *const dict = dict_new();
    float *const values = malloc(FOUND_COUNT * sizeof *values);
    char tensor[32];
    assert_non_null(values);
    for (int t = 0; t < FOUND_TENSORS; t++) {
        snprintf(tensor, sizeof tensor, "layer.%d", t);
        for (int i = 0; i < FOUND_COUNT; i++)
            values[i] = value(t, i, step);
        dict_add_bytes(dict, tensor, MC_F32, SHAPE(FOUND_COUNT), values,
                       FOUND_COUNT * sizeof *values);
    }
    free(values);
    save_model(here.folder, name, dict);
    return open_model(here.folder, name);
}

static mc_plan *found_plan(const found_models *f, bool strict)
{
    static const char *const names[] = {"fishers"};
    const mc_model *const models[] = {f->models[0], f->models[1]};
    const mc_model *const information[] = {f->information[0], f->information[1]};
    const mc_model *const *const sides[] = {information};
    const mc_plan_input input = {.method = mc_method_find("fisher"),
                                 .models = models,
                                 .model_count = 2,
                                 .side_names = names,
                                 .sides = sides,
                                 .side_count = 1,
                                 .convert = true,
                                 .dtype = MC_F16,
                                 .strict = strict};
    mc_plan *made = NULL;
    assert_done(mc_plan_new(&input, &made, &error));
    return made;
}

static void assert_same_reports(const mc_plan *expected, const mc_plan *found)
{
    const mc_report *const a = mc_plan_report(expected), *const b = mc_plan_report(found);
    assert_int_equal(mc_report_count(a), mc_report_count(b));
    for (size_t i = 0; i < mc_report_count(a); i++)
        assert_string_equal(mc_report_line(a, i), mc_report_line(b, i));
}

static void assert_same_findings(const mc_run_result *a, const mc_run_result *b)
{
    assert_int_equal(a->overflowed, b->overflowed);
    assert_int_equal(a->overflowed_tensors, b->overflowed_tensors);
    assert_int_equal(a->overflowed_first, b->overflowed_first);
    assert_int_equal(a->averaged_tensors, b->averaged_tensors);
    assert_int_equal(a->averaged_first, b->averaged_first);
    assert_string_equal(a->averaged_reason, b->averaged_reason);
}

/* What a run reports that nothing interrupts. */
typedef struct found_reference {
    mc_plan *plan;
    mc_run_result result;
    mc_error strict; /* how it fails under strict */
} found_reference;

static void make_reference(const found_models *f, found_reference *out)
{
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    out->plan = found_plan(f, true);
    assert_status(MC_MISMATCH, run(out->plan, target, &out->result, &out->strict));
    mc_plan_free(out->plan);
    out->plan = found_plan(f, false);
    assert_done(run(out->plan, target, &out->result, &error));
    assert_int_equal(out->result.overflowed, 5 * FOUND_COUNT / 1000);
    assert_int_equal(out->result.overflowed_tensors, FOUND_TENSORS - 1);
    assert_int_equal(out->result.averaged_tensors, 2);
    assert_int_equal(out->result.averaged_first, 1);
    assert_reported(mc_plan_report(out->plan), "750 NaN and 450 infinite values in 5 tensors");
    free(target);
    free(parent);
}

typedef void hidden_act(const char *journal);

/* Resumes a run that was killed, and compares what it reports; returns the bytes resumed. */
static int64_t check_found(const found_models *f, const found_reference *reference, long nth,
                           int kills, bool strict, hidden_act *act)
{
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    char *const journal = path_of(parent, ".out.merging/journal");
    mc_plan *const what = found_plan(f, strict);
    mc_run_result result = {0};
    mc_error failure = MC_ERROR_NONE;
    bool killed = true;
    for (int i = 0; i < kills && killed; i++)
        killed = run_killed(what, target, nth);
    if (killed && act)
        act(journal);
    const mc_status status = killed ? run(what, target, &result, &failure) : MC_OK;
    if (killed && strict) {
        assert_int_equal(status, MC_MISMATCH);
        assert_string_equal(failure.text, reference->strict.text);
    } else if (killed) {
        assert_int_equal(status, MC_OK);
        assert_same_reports(reference->plan, what);
        assert_same_findings(&reference->result, &result);
    }
    mc_plan_free(what);
    free(journal), free(target), free(parent);
    return killed ? result.bytes_resumed : -1;
}

/* Process 0 was killed when it had journalled what process 1 did, and not yet removed that. */
static void copy_journal(const char *journal)
{
    size_t size = 0;
    char name[4096], *const text = read_text(journal, &size);
    snprintf(name, sizeof name, "%s.1", journal);
    FILE *const file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
    free(text);
}

/* The last record is torn in its middle: what was found before it does not count either. */
static void cut_journal(const char *journal)
{
    size_t size = 0;
    free(read_text(journal, &size));
    assert_int_equal(truncate(journal, (off_t)size - 20), 0);
}

static const char *const *hostile; /* lines, and NULL */

/* Replaces all records by lines with valid hashes. */
static void write_lines(const char *journal)
{
    size_t size = 0;
    char line[256], *const text = read_text(journal, &size);
    FILE *const file = fopen(journal, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, 64, file), 64);
    for (const char *const *each = hostile; *each; each++) {
        snprintf(line, sizeof line, "%s ", *each);
        fprintf(file, "%s%016llx\n", line,
                (unsigned long long)mc_hash_bytes(MC_HASH_START, line, strlen(line)));
    }
    fclose(file);
    free(text);
}

static found_models found_set_up(void)
{
    static const char *const names[] = {"x", "y", "ix", "iy"};
    for (int i = 0; i < 4; i++) {
        char *const path = path_of(here.folder, names[i]);
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(path);
    }
    memory = 1 << 20; /* a tensor has several tiles */
    return (found_models){
        {make_found("x", found_value, 1000), make_found("y", found_value, 2000)},
        {make_found("ix", information_value, 0), make_found("iy", information_value, 0)}};
}

static void found_tear_down(found_models *f, found_reference *reference)
{
    memory = 0;
    mc_plan_free(reference->plan);
    for (int i = 0; i < 2; i++) {
        mc_model_close(f->models[i]);
        mc_model_close(f->information[i]);
    }
}

/*
 * Overflow, averaged tensors, NaN and infinities are reported as by a run that nothing interrupts,
 * each value once.
 */
static void test_killed_findings(void **state)
{
    (void)state;
    found_models f = found_set_up();
    found_reference reference;
    make_reference(&f, &reference);
    int64_t resumed = 0, most = 0;
    for (long nth = 1; resumed >= 0; nth += 1 + nth / 4) {
        resumed = check_found(&f, &reference, nth, 1, false, NULL);
        most = resumed > most ? resumed : most;
    }
    assert_true(most > reference.result.bytes_written / 2);
    assert_true(check_found(&f, &reference, 12, 2, false, NULL) > 0);
    assert_true(check_found(&f, &reference, 24, 1, false, copy_journal) > 0);
    assert_true(check_found(&f, &reference, 24, 1, false, cut_journal) > 0);
    for (long nth = 8; nth < 40; nth += 8)
        (void)check_found(&f, &reference, nth, 1, true, NULL);
    found_tear_down(&f, &reference);
}

/* What no run has written is not believed, and does no harm. */
static void test_hostile_journal(void **state)
{
    (void)state;
    static const char *const lines[][4] = {
        {"found 6 -1 0 0 1 0", "span 0 65536"},
        {"found -1 -1 0 0 1 0", "span 0 65536"},
        {"found 0 -2 0 0 1 0", "span 0 65536"},
        {"found 0 4 1 0 0 0", "span 0 65536"},
        {"found 0 0 -1 0 0 0", "span 0 65536"},
        {"found 0 0 99999999999999999999999 0 0 0 0", "span 0 65536"},
        {"found 0 0 150001 0 0 0", "span 0 65536"},
        {"found 0 0 9223372036854775807 0 0 0", "found 0 0 1 0 0 0", "span 0 65536"},
        {"found 0 0 1 0 0", "span 0 65536"},
        {"reason 0", "span 0 65536"},
        {"found 1 -1 0 0 1 0"},
        {"span -1 65536"},
        {"span 65536 65536"},
        {"span 0 65536 1"},
        {"span 0"},
        {"other 0 65536"},
    };
    found_models f = found_set_up();
    found_reference reference;
    make_reference(&f, &reference);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        hostile = lines[i];
        assert_int_equal(check_found(&f, &reference, 24, 1, false, write_lines), 0);
    }
    found_tear_down(&f, &reference);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void raise_cancel(void)
{
    __atomic_store_n(&trouble->cancel, 1, __ATOMIC_RELAXED);
}

/* A run into `target` that the user stops in its middle. */
static void interrupt(const mc_plan *what, const char *target)
{
    mc_run_result result;
    set_trouble((plan){.at = PWRITE, .nth = 14, .act = raise_cancel});
    assert_status(MC_INTERRUPTED, run(what, target, &result, &error));
    no_trouble();
    *trouble = (plan){0};
}

static void test_interrupted(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_run_result result;
    interrupt(what, target);
    assert_false(exists(parent, "out"));
    assert_true(exists(parent, ".out.merging"));
    assert_done(run(what, target, &result, &error));
    assert_true(result.bytes_resumed > 0 && result.bytes_written > 0);
    assert_complete(parent);
    mc_plan_free(what);
    free(target);
    free(parent);
}

static void test_other_options(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    char *const other = new_parent(), *const expected = path_of(other, "out");
    mc_plan *const what = usual_plan(), *const changed = new_plan(here.a, here.b, here.base,
                                                                  "scale=0.75");
    mc_run_result result;
    interrupt(what, target);
    assert_done(run(changed, target, &result, &error));
    assert_int_equal(result.bytes_resumed, 0);
    assert_done(run(changed, expected, &result, &error));
    assert_same_folders(expected, target);
    mc_plan_free(what);
    mc_plan_free(changed);
    free(parent), free(target), free(other), free(expected);
}

static void test_other_input(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    char *const other = new_parent(), *const expected = path_of(other, "out");
    save_model(parent, "c", make_model(5));
    mc_model *c = open_model(parent, "c");
    mc_plan *what = new_plan(here.a, c, here.base, "scale=0.5");
    mc_run_result result;
    interrupt(what, target);
    mc_plan_free(what);
    mc_model_close(c);
    char *const path = path_of(parent, "c");
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
    save_model(parent, "c", make_model(6));
    c = open_model(parent, "c");
    what = new_plan(here.a, c, here.base, "scale=0.5");
    assert_done(run(what, target, &result, &error));
    assert_int_equal(result.bytes_resumed, 0);
    assert_done(run(what, expected, &result, &error));
    assert_same_folders(expected, target);
    mc_plan_free(what);
    mc_model_close(c);
    free(parent), free(target), free(other), free(expected);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* What could not be removed is there until the next run removes it. */
static bool removes(call which)
{
    return which == UNLINK || which == LIST || which == NEXT || which == OPEN;
}

/*
 * After a run: all is there, or nothing; `target` in `parent`. Remains in the hidden folder go with
 * the next run.
 */
static void check_remains(const mc_plan *what, const char *parent, const char *target, bool done)
{
    if (done) {
        assert_same_folders(here.reference, target);
    } else if (exists(parent, "out")) {
        fail_msg("%s is there after an error", target);
    }
    assert_done(run_over(what, target, &error));
    assert_complete(parent);
}

/*
 * One call fails, once: then there is an error and nothing is left, or it did not matter and all is
 * there.
 */
static bool check_failing(const mc_plan *what, call which, long nth, bool overwrite)
{
    char *const parent = new_parent(), *const target = path_of(parent, "x/y/out");
    char *const inner = path_of(parent, "x/y");
    mc_run_result result;
    mc_error error = MC_ERROR_NONE;
    if (overwrite)
        assert_int_equal(run(what, target, &result, &error), MC_OK);
    set_trouble((plan){.at = which, .nth = nth, .error = EIO});
    const mc_status status = overwrite ? run_over(what, target, &error)
                                       : run(what, target, &result, &error);
    const bool reached = trouble->seen[which] >= nth;
    no_trouble();
    if (reached && removes(which) && exists(parent, "x"))
        check_remains(what, inner, target, overwrite || status == MC_OK);
    else if (status == MC_OK)
        assert_complete(inner);
    else if (overwrite)
        assert_complete(inner); /* the old one */
    else if (count_entries(parent) != 0)
        fail_msg("call %d failed at %ld: something is left behind", which, nth);
    if (status != MC_OK) {
        assert_true(reached);
        assert_true(error.code == status && error.text[0]);
    }
    if (reached && (which == PREAD || which == PWRITE || which == RENAME))
        assert_int_not_equal(status, MC_OK);
    free(parent), free(target), free(inner);
    return reached;
}

static void check_all_failing(bool overwrite)
{
    static const call calls[] = {OPEN,   CLOSE,  FSTAT, STAT, PREAD,      PWRITE,     FSYNC, MKDIR,
                                 UNLINK, RENAME, LIST,  NEXT, WRITE_BACK, READ_AHEAD, LOCK};
    mc_plan *const what = usual_plan();
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        long nth = 1;
        unsynced = calls[i] != FSYNC && calls[i] != WRITE_BACK;
        while (check_failing(what, calls[i], nth, overwrite))
            nth += 1 + nth / SKIPPED;
        /* With --overwrite all folders are there already. */
        assert_true(nth > 1);
    }
    unsynced = true;
    mc_plan_free(what);
}

static void test_failing(void **state)
{
    (void)state;
    check_all_failing(false);
}

static void test_failing_overwrite(void **state)
{
    (void)state;
    check_all_failing(true);
}

/* A lock that fails is an error; a file system without locks is reported. */
static void test_locks(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    const mc_report *const report = mc_plan_report(what);
    mc_run_result result;
    set_trouble((plan){.at = LOCK, .nth = 1, .error = EIO});
    assert_error(MC_IO, "cannot lock", run(what, target, &result, &error));
    assert_int_equal(count_entries(parent), 0);
    set_trouble((plan){.at = LOCK, .nth = 1, .error = EINTR});
    assert_done(run(what, target, &result, &error));
    assert_true(trouble->seen[LOCK] > 1);
    assert_int_equal(mc_report_count(report), 0);
    set_trouble((plan){.at = LOCK, .nth = 1, .error = ENOLCK});
    assert_done(run_over(what, target, &error));
    no_trouble();
    assert_int_equal(mc_report_count(report), 1);
    assert_non_null(strstr(mc_report_line(report, 0), "has no locks"));
    mc_plan_free(what);
    free(target);
    free(parent);
}

static void test_no_space(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_run_result result;
    set_trouble((plan){.at = STATVFS, .nth = 1, .error = ENOSPC});
    assert_error(MC_NO_SPACE, "expected room for", run(what, target, &result, &error));
    assert_int_equal(trouble->tensor_bytes, 0);
    /* A full disk, and a full quota, which statvfs does not tell. */
    for (int full = 0; full < 2; full++) {
        set_trouble((plan){.at = PWRITE, .nth = 20, .error = full ? ENOSPC : EDQUOT});
        assert_error(MC_NO_SPACE, "cannot write byte", run(what, target, &result, &error));
    }
    no_trouble();
    assert_int_equal(count_entries(parent), 0);
    mc_plan_free(what);
    free(target);
    free(parent);
}

static void test_brief_calls(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_run_result result;
    set_trouble((plan){.brief = true});
    assert_done(run(what, target, &result, &error));
    no_trouble();
    assert_complete(parent);
    mc_plan_free(what);
    free(target);
    free(parent);
}

/* ---- inputs that change ---------------------------------------------------------------------- */

static char *victim;

static void shorten(void)
{
    assert_int_equal(truncate(victim, 5000), 0);
}

static void replace(void)
{
    char *const copy = path_of(here.folder, "copy");
    size_t size = 0;
    char *const text = read_text(victim, &size);
    FILE *const file = fopen(copy, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
    assert_int_equal(rename(copy, victim), 0);
    free(text);
    free(copy);
}

static void disappear(void)
{
    assert_int_equal(unlink(victim), 0);
}

static void check_changed(void (*act)(void), long nth)
{
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    char *const inputs = new_parent();
    mc_run_result result;
    save_model(inputs, "c", make_model(5));
    victim = path_of(inputs, "c/model.safetensors");
    mc_model *const c = open_model(inputs, "c");
    mc_plan *const what = new_plan(here.a, c, here.base, "scale=0.5");
    set_trouble((plan){.at = PREAD, .nth = nth, .act = act});
    assert_error(MC_CHANGED, victim, run(what, target, &result, &error));
    no_trouble();
    assert_int_equal(count_entries(parent), 0);
    mc_plan_free(what);
    mc_model_close(c);
    free(victim), free(inputs), free(target), free(parent);
}

static void test_changed(void **state)
{
    (void)state;
    check_changed(shorten, 3);
    check_changed(replace, 3);
    check_changed(disappear, 30);
}

/* The same for a lazy state dict, which no plan stands behind. */
static void test_changed_dict(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_state_dict *dict = NULL, *lazy = NULL, *made = NULL;
    const mc_run_options options = {.threads = THREADS};
    for (int i = 0; i < 2; i++) {
        save_model(parent, "c", make_model(5));
        char *const folder = path_of(parent, "c");
        victim = path_of(parent, "c/model.safetensors");
        assert_done(mc_state_dict_open(folder, &dict, &error));
        assert_done(mc_state_dict_combine_number(MC_MULTIPLY, dict, 2, false, &lazy, &error));
        set_trouble((plan){.at = PREAD, .nth = 3, .act = replace});
        if (i == 0)
            assert_error(MC_CHANGED, victim,
                         mc_state_dict_save(lazy, target, &options, NULL, &error));
        else
            assert_error(MC_CHANGED, victim,
                         mc_state_dict_materialize(lazy, &options, &made, NULL, &error));
        no_trouble();
        assert_int_equal(count_entries(parent), 1);
        mc_state_dict_free(dict);
        mc_state_dict_free(lazy);
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(victim), free(folder);
    }
    free(target);
    free(parent);
}

/* ---- targets --------------------------------------------------------------------------------- */

static void test_busy(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_run_result result;
    mc_folder first;
    assert_done(mc_folder_begin(target, false, true, &first, &error));
    assert_done(mc_folder_write(&first, "half", "x", 1, &error));
    assert_error(MC_BUSY, "another merge is writing", run(what, target, &result, &error));
    assert_true(exists(parent, ".out.merging/half"));
    mc_folder_discard(&first);
    assert_int_equal(count_entries(parent), 0);
    assert_done(run(what, target, &result, &error));
    assert_complete(parent);
    mc_plan_free(what);
    free(target);
    free(parent);
}

static mc_status second_status;

/* Another run begins just when old and new have changed places. */
static int rename_and_begin(const char *from, const char *to, unsigned flags)
{
    mc_folder second;
    const int result = mc_system_real.rename(from, to, flags);
    if (result == 0 && flags == RENAME_EXCHANGE) {
        second_status = mc_folder_begin(to, true, false, &second, NULL);
        if (second_status == MC_OK)
            mc_folder_keep(&second);
    }
    return result;
}

/* What is removed is not taken over: what another run writes into it would be removed too. */
static void test_busy_with_removing(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_system_calls calls = mc_system_real;
    save_model(parent, "out", make_model(9));
    calls.rename = rename_and_begin;
    second_status = MC_OK;
    mc_system = &calls;
    assert_done(run_over(what, target, &error));
    no_trouble();
    assert_int_equal(second_status, MC_BUSY);
    assert_complete(parent);
    mc_plan_free(what);
    free(target);
    free(parent);
}

static void test_existing_target(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_run_result result;
    save_model(parent, "out", make_model(9));
    assert_error(MC_EXISTS, "exists already", run(what, target, &result, &error));
    assert_int_equal(count_entries(target), 1);
    assert_done(run_over(what, target, &error));
    assert_complete(parent);
    mc_plan_free(what);
    free(target);
    free(parent);
}

static void test_other_things(void **state)
{
    (void)state;
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    char *const file = path_of(parent, "file"), *const empty = path_of(parent, "empty");
    mc_plan *const what = usual_plan();
    assert_int_equal(mkdir(target, 0777), 0);
    assert_int_equal(mkdir(empty, 0777), 0);
    write_text(target, "letters.txt", "dear");
    write_text(parent, "file", "x");
    assert_error(MC_EXISTS, "found 'letters.txt'", run_over(what, target, &error));
    assert_error(MC_EXISTS, "found a file", run_over(what, file, &error));
    assert_true(exists(target, "letters.txt") && exists(parent, "file"));
    assert_int_equal(count_entries(parent), 3);
    assert_done(run_over(what, empty, &error));
    mc_plan_free(what);
    free(parent), free(target), free(file), free(empty);
}

static void check_refused(const mc_plan *what, const char *name, const char *part)
{
    char *const target = path_of(here.folder, name);
    const int before = count_entries(here.folder);
    assert_error(MC_USAGE, part, run_over(what, target, &error));
    assert_int_equal(count_entries(here.folder), before);
    free(target);
}

static void test_target_and_inputs(void **state)
{
    (void)state;
    mc_plan *const what = usual_plan();
    check_refused(what, "a", "outside of the models");
    check_refused(what, "a/", "outside of the models");
    char *const part = path_of(here.folder, "a/part");
    assert_int_equal(mkdir(part, 0777), 0);
    check_refused(what, "a/part", "inside of");
    check_refused(what, "b/../a/part", "inside of");
    check_refused(what, ".", "outside of the models");
    char *const link = path_of(here.folder, "link");
    assert_int_equal(symlink("a", link), 0);
    check_refused(what, "link/part", "inside of");
    assert_int_equal(rmdir(part), 0);
    assert_int_equal(unlink(link), 0);
    /* A new folder is no part of the model, and neither is a result in it. */
    char *const inner = path_of(here.folder, "link/merged");
    assert_int_equal(symlink("a", link), 0);
    assert_done(run_over(what, inner, &error));
    assert_done(run_over(what, inner, &error));
    assert_int_equal(unlink(link), 0);
    free(inner);
    free(part);
    free(link);
    mc_plan_free(what);
}

static void test_descriptors(void **state)
{
    (void)state;
    const int before = count_entries("/proc/self/fd");
    char *const parent = new_parent(), *const target = path_of(parent, "out");
    mc_plan *const what = usual_plan();
    mc_run_result result;
    interrupt(what, target);
    assert_int_equal(count_entries("/proc/self/fd"), before);
    assert_done(run(what, target, &result, &error));
    assert_int_equal(count_entries("/proc/self/fd"), before);
    assert_status(MC_EXISTS, run(what, target, &result, &error));
    set_trouble((plan){.at = PWRITE, .nth = 20, .error = EIO});
    assert_status(MC_IO, run_over(what, target, &error));
    no_trouble();
    assert_int_equal(count_entries("/proc/self/fd"), before);
    mc_plan_free(what);
    free(target);
    free(parent);
}

/* ---- two at a time --------------------------------------------------------------------------- */

static void *run_in_thread(void *argument)
{
    char *const target = path_of(argument, "out");
    mc_plan *const what = usual_plan();
    const mc_run_options options = {.threads = THREADS, .shard_size = 1 << 20};
    const mc_status status = mc_plan_run(what, target, &options, NULL, NULL);
    mc_plan_free(what);
    free(target);
    return status == MC_OK ? argument : NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    char *const parents[] = {new_parent(), new_parent()};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_in_thread, parents[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *done = NULL;
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, parents[i]);
        assert_complete(parents[i]);
        free(parents[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_killed_often),
        cmocka_unit_test(test_killed_late),
        cmocka_unit_test(test_killed_recipes),
        cmocka_unit_test(test_tidied),
        cmocka_unit_test(test_killed_findings),
        cmocka_unit_test(test_hostile_journal),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_other_options),
        cmocka_unit_test(test_other_input),
        cmocka_unit_test(test_failing),
        cmocka_unit_test(test_failing_overwrite),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_brief_calls),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_changed_dict),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_busy_with_removing),
        cmocka_unit_test(test_existing_target),
        cmocka_unit_test(test_other_things),
        cmocka_unit_test(test_target_and_inputs),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * The client against a Hub on the loopback interface (server.py). A control file in the repository
 * selects what goes wrong. Pauses between retries are shortened to almost nothing.
 */
#include "hub/retry.h"
#include "hub/session.h"
#include "merge/folder.h"
#include "model/model.h"

#include <mergecraft/merge.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MODEL_BYTES = 100000, LARGE_BYTES = 5000000 };
static const char file_name[] = "model.safetensors";

static char work[64];  /* the temporary folder */
static char *log_path; /* one JSON line per request */
static char endpoint[128];
static int server_input;
static pid_t server;
static int cache_number;
static char noted[1024];

/* ---- files ----------------------------------------------------------------------------------- */

static void write_text(const char *path, const char *text, size_t size)
{
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static char *below(const char *name)
{
    char *const path = mc_format("%s/%s", work, name);
    assert_non_null(path);
    return path;
}

static void write_below(const char *name, const char *text, size_t size)
{
    char *const path = below(name);
    write_text(path, text, size);
    mc_free(path);
}

static void make_below(const char *name)
{
    char *const path = below(name);
    assert_int_equal(mc_cache_make_parents(path, NULL), MC_OK);
    assert_true(mkdir(path, 0777) == 0 || errno == EEXIST);
    mc_free(path);
}

static char *load(const char *path, size_t *size)
{
    char *text = NULL;
    assert_int_equal(mc_file_load(path, INT64_C(1) << 30, &text, size, NULL), MC_OK);
    return text;
}

/* Sets what goes wrong with org/model, and starts an empty cache. */
static void control(const char *json)
{
    char number[32];
    write_below("root/org/model/.hub.json", json, strlen(json));
    snprintf(number, sizeof number, "cache-%d", ++cache_number);
    char *const cache = below(number);
    setenv("HF_HUB_CACHE", cache, 1);
    mc_free(cache);
    write_text(log_path, "", 0);
}

/* The same with the present cache. */
static void control_again(const char *json)
{
    write_below("root/org/model/.hub.json", json, strlen(json));
    write_text(log_path, "", 0);
}

static bool log_has(const char *text)
{
    size_t size = 0;
    char *const log = load(log_path, &size);
    const bool found = strstr(log, text) != NULL;
    mc_free(log);
    return found;
}

static const char *counted;
static int count;

static int count_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    count += strstr(path, counted) != NULL;
    return 0;
}

/* Counts the entries of the cache with this text in their path. */
static int entries(const char *text)
{
    counted = text;
    count = 0;
    (void)nftw(getenv("HF_HUB_CACHE"), count_entry, 16, FTW_PHYS);
    return count;
}

/* ---- downloads ------------------------------------------------------------------------------- */

static void take_note(const char *text, void *user)
{
    (void)user;
    snprintf(noted, sizeof noted, "%s", text);
}

static mc_status download_of(const char *name, const char *path, bool check, mc_error *error)
{
    const char *const files[] = {path};
    const mc_hub_spec spec = {
        .name = name, .files = path ? files : NULL, .file_count = path != NULL};
    const mc_hub_options options = {.note = take_note};
    mc_hub_snapshot snapshot;
    *error = (mc_error)MC_ERROR_NONE;
    noted[0] = '\0';
    const mc_status status = mc_hub_download(&spec, 1, &options, &snapshot, error);
    assert_int_equal(status, error->code);
    assert_null(strstr(error->text, "hf_secret"));
    assert_null(strstr(error->text, "signature"));
    if (status != MC_OK)
        return status;
    size_t expected_size = 0, size = 0;
    char *const original = mc_format("%s/root/org/model/%s", work, file_name);
    char *const found = mc_format("%s/%s", snapshot.folder, file_name);
    char *const a = check ? load(original, &expected_size) : NULL;
    char *const b = check ? load(found, &size) : NULL;
    assert_int_equal(size, expected_size);
    assert_true(!check || memcmp(a, b, size) == 0);
    mc_free(a);
    mc_free(b);
    mc_free(original);
    mc_free(found);
    mc_hub_snapshots_free(&snapshot, 1);
    return MC_OK;
}

static void expect(mc_status expected, const char *text)
{
    mc_error error;
    const mc_status status = download_of("org/model", file_name, true, &error);
    if (status != expected || (text && !strstr(error.text, text)))
        fail_msg("expected %s and '%s', found %s and '%s'", mc_status_text(expected),
                 text ? text : "", mc_status_text(status), error.text);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_plain(void **state)
{
    (void)state;
    control("{}");
    expect(MC_OK, NULL);
    assert_int_equal(entries(".incomplete"), 0);
    assert_int_equal(entries("/refs/main"), 1);
    control_again("{}");
    expect(MC_OK, NULL);
    assert_false(log_has("HEAD")); /* only the listing is requested again */
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        char json[128], range[64];
        const int after = i * (MODEL_BYTES / 500);
        snprintf(json, sizeof json,
                 "{\"faults\": {\"%s\": {\"kind\": \"cut\", \"times\": 1, \"after\": %d}}}",
                 file_name, after);
        control(json);
        expect(MC_OK, NULL);
        snprintf(range, sizeof range, "\"range\": \"bytes=%d-\"", after);
        assert_true(after == 0 || log_has(range));
    }
}

static void test_reset(void **state)
{
    (void)state;
    control(
        "{\"faults\": {\"model.safetensors\": {\"kind\": \"cut\", \"times\": 3, \"after\": 20000, "
        "\"reset\": true}}}");
    expect(MC_OK, NULL);
}

/* Leaves a partial file in the cache. */
static void leave_partial(void)
{
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"cut\", \"after\": 1000}}}");
    expect(MC_IO, "failed: ");
    assert_int_equal(entries(".incomplete"), 1);
    assert_int_equal(entries("/snapshots/"), 0);
}

static void test_across_runs(void **state)
{
    (void)state;
    leave_partial();
    control_again("{}");
    expect(MC_OK, NULL);
    assert_true(log_has("\"range\": \"bytes=7000-\""));
    assert_int_equal(entries(".incomplete"), 0);
}

static char partial_path[512];

static int find_partial(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    if (strstr(path, ".incomplete"))
        snprintf(partial_path, sizeof partial_path, "%s", path);
    return 0;
}

/* Size of the partial file; 0 if there is none. */
static int64_t partial_size(void)
{
    struct stat status;
    partial_path[0] = '\0';
    (void)nftw(getenv("HF_HUB_CACHE"), find_partial, 16, FTW_PHYS);
    return stat(partial_path, &status) == 0 ? status.st_size : 0;
}

static void test_spoiled_partial(void **state)
{
    (void)state;
    leave_partial();
    assert_true(partial_size() > 0);
    write_text(partial_path, "something else", 14);
    control_again("{}");
    expect(MC_OK, NULL);
    assert_int_equal(entries(".incomplete"), 0);
}

static void test_no_ranges(void **state)
{
    (void)state;
    leave_partial();
    control_again("{\"faults\": {\"model.safetensors\": {\"kind\": \"no_range\"}}}");
    expect(MC_OK, NULL);
    leave_partial();
    control_again(
        "{\"faults\": {\"model.safetensors\": {\"kind\": \"unsatisfiable\", \"times\": 1}}}");
    expect(MC_OK, NULL);
}

static void test_wrong_bytes(void **state)
{
    (void)state;
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"wrong\"}}}");
    expect(MC_FORMAT, "checksum mismatch");
    assert_int_equal(entries("/blobs/"), 0);
    assert_int_equal(entries("/snapshots/"), 0);
    assert_int_equal(entries("/refs/"), 0);
    control("{\"faults\": {\"config.json\": {\"kind\": \"wrong\"}}}");
    mc_error error;
    assert_int_equal(download_of("org/model", "config.json", false, &error), MC_FORMAT);
    assert_int_equal(entries("/blobs/"), 0);
}

static void test_encodings(void **state)
{
    static const char *const kinds[] = {"gzip", "chunked", "short"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char json[128];
        snprintf(json, sizeof json,
                 "{\"faults\": {\"model.safetensors\": {\"kind\": \"%s\", \"times\": %d}}}",
                 kinds[i], i == 2 ? 1 : 1000);
        control(json);
        expect(MC_OK, NULL);
    }
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"chunked\", \"no_size\": true}}}");
    expect(MC_FORMAT, "X-Linked-Size");
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"endless\"}}}");
    expect(MC_FORMAT, "found more");
}

static void test_stalled(void **state)
{
    (void)state;
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1", 1);
    /* Twice: on a busy machine even the first bytes may be late. */
    control(
        "{\"faults\": {\"model.safetensors\": {\"kind\": \"stall\", \"times\": 2, \"after\": 5000, "
        "\"seconds\": 60}}}");
    const double begin = mc_seconds();
    expect(MC_OK, NULL);
    assert_true(mc_seconds() - begin >= 1);
    assert_true(log_has("\"range\": \"bytes=5000-\""));
    unsetenv("HF_HUB_DOWNLOAD_TIMEOUT");
}

static void test_busy_server(void **state)
{
    (void)state;
    control(
        "{\"faults\": {\"model.safetensors\": {\"kind\": \"status\", \"code\": 503, \"times\": 2}, "
        "\"api\": {\"kind\": \"status\", \"code\": 500, \"times\": 2}}}");
    expect(MC_OK, NULL);
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"cdn_status\", \"code\": 502, "
            "\"times\": 3}}}");
    expect(MC_OK, NULL);
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"status\", \"code\": 503}}}");
    expect(MC_IO, "503");
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"cdn_status\", \"code\": 403, "
            "\"times\": 1}}}");
    expect(MC_OK, NULL); /* an expired signed address is renewed */
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"status\", \"code\": 429, "
            "\"retry_after\": 100000}}}");
    expect(MC_IO, "429");
    const double begin = mc_seconds();
    control(
        "{\"faults\": {\"model.safetensors\": {\"kind\": \"status\", \"code\": 429, \"times\": 1, "
        "\"retry_after\": 1}}}");
    expect(MC_OK, NULL);
    assert_true(mc_seconds() - begin >= 1);
}

/* Each signed address is valid for a part of the file only. */
static void test_expired(void **state)
{
    static const char json[] = "{\"faults\": {\"model.safetensors\": {\"kind\": \"expire\", "
                               "\"after\": 1100000}}}";
    mc_error error;
    (void)state;
    control("{}");
    char *const large = mc_alloc_zero(LARGE_BYTES, 1);
    make_below("root/org/large");
    write_below("root/org/large/model.safetensors", large, LARGE_BYTES);
    write_below("root/org/large/.hub.json", json, strlen(json));
    mc_free(large);
    if (download_of("org/large", file_name, false, &error) != MC_OK)
        fail_msg("%s", error.text);
    assert_true(log_has("\"range\": \"bytes=4400000-\""));
}

static void test_redirects(void **state)
{
    static const char *const hostile[] = {"file:///etc/passwd", "ftp://127.0.0.1/x",
                                          "http://127.0.0.1@evil.example/x", "http:\\\\\\\\evil/x",
                                          "javascript:1"};
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        char json[256];
        snprintf(json, sizeof json,
                 "{\"faults\": {\"model.safetensors\": {\"kind\": \"location\", \"to\": \"%s\"}}}",
                 hostile[i]);
        control(json);
        expect(MC_IO, "expected a redirect to");
    }
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"location\", \"to\": "
            "\"/org/model/resolve/main/model.safetensors\"}}}");
    expect(MC_IO, "too many redirects");
}

static void test_renamed(void **state)
{
    mc_error error;
    (void)state;
    control("{}");
    make_below("root/org/old");
    write_below("root/org/old/.hub.json", "{\"renamed\": \"org/model\"}", 24);
    setenv("HF_TOKEN", "hf_secret", 1);
    assert_int_equal(download_of("org/old", file_name, true, &error), MC_OK);
    assert_int_equal(entries("/models--org--old/blobs/"), 1);
    unsetenv("HF_TOKEN");
}

static void test_token(void **state)
{
    (void)state;
    size_t size = 0;
    control("{\"private\": \"hf_secret\"}");
    expect(MC_NOT_FOUND, "HF_TOKEN is not set");
    setenv("HF_TOKEN", " hf_secret\n", 1);
    expect(MC_OK, NULL);
    char *const log = load(log_path, &size);
    int home = 0, away = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        const bool sent = strstr(line, "hf_secret") != NULL;
        if (strstr(line, "\"host\": \"127.0.0.1\""))
            home += sent;
        else
            away += sent;
    }
    mc_free(log);
    assert_true(home >= 2);
    assert_int_equal(away, 0);
    setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes", 1);
    control("{\"private\": \"hf_secret\"}");
    expect(MC_NOT_FOUND, NULL);
    unsetenv("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    setenv("HF_TOKEN", "hf_secret\nX-Other: 1", 1);
    expect(MC_USAGE, "printable");
    unsetenv("HF_TOKEN");
    write_below("token", "hf_secret\n", 10);
    char *const path = below("token");
    setenv("HF_TOKEN_PATH", path, 1);
    expect(MC_OK, NULL);
    unsetenv("HF_TOKEN_PATH");
    mc_free(path);
    control("{\"gated\": \"hf_secret\"}");
    expect(MC_NOT_FOUND, "gated");
}

static void test_not_there(void **state)
{
    mc_error error;
    (void)state;
    control("{}");
    assert_int_equal(download_of("org/nothing", NULL, false, &error), MC_NOT_FOUND);
    assert_non_null(strstr(error.text, "private"));
    assert_int_equal(download_of("org/model@v9", NULL, false, &error), MC_NOT_FOUND);
    assert_non_null(strstr(error.text, "no revision 'v9'"));
    assert_int_equal(download_of("org/model", "other.bin", false, &error), MC_NOT_FOUND);
    assert_int_equal(entries("/.no_exist/"), 2); /* the folder of the commit, and the file */
    assert_int_equal(download_of("org/../model", NULL, false, &error), MC_USAGE);
    assert_int_equal(download_of("org/model@../x", NULL, false, &error), MC_USAGE);
    assert_int_equal(download_of("org/model", "../x", false, &error), MC_USAGE);
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"no_commit\"}}}");
    expect(MC_FORMAT, "X-Repo-Commit");
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"etag\", \"value\": \"../../x\"}}}");
    expect(MC_FORMAT, "ETag");
}

static void test_listings(void **state)
{
    mc_error error;
    mc_text json = {0};
    (void)state;
    mc_text_add(&json, "{\"siblings\": [\"../x.model\", \"/x.model\", \"\", \"a/../b.model\"");
    for (int i = 0; i < 10000; i++)
        mc_text_add(&json, ", \"folder/%d.onnx\"", i);
    mc_text_add(&json, "]}");
    control(json.data);
    mc_text_free(&json);
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    assert_int_equal(entries("x.model"), 0);
    control("{\"siblings\": [\"a\\u0000b\"]}");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_FORMAT);
    control("{\"no_siblings\": true, \"page\": 1}");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    assert_true(log_has("cursor=2"));
    control("{\"no_siblings\": true, \"page\": 1, \"link\": \"<http://127.0.0.3/x>; "
            "rel=\\\"next\\\"\"}");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_FORMAT);
    control("{\"commit\": \"../../../../x\"}");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_FORMAT);
}

static void test_offline(void **state)
{
    mc_error error;
    (void)state;
    control("{}");
    setenv("HF_HUB_OFFLINE", "on", 1);
    expect(MC_NOT_FOUND, "HF_HUB_OFFLINE is set");
    unsetenv("HF_HUB_OFFLINE");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    setenv("HF_HUB_OFFLINE", "1", 1);
    control_again("{}");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    assert_int_equal(download_of("org/model", "more.json", false, &error), MC_NOT_FOUND);
    assert_non_null(strstr(error.text, "more.json of org/model"));
    assert_false(log_has("{")); /* no request */
    unsetenv("HF_HUB_OFFLINE");
    setenv("HF_ENDPOINT", "http://127.0.0.1:9", 1);
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    assert_non_null(strstr(noted, "using the files in the cache"));
    assert_int_equal(download_of("org/other", NULL, true, &error), MC_IO);
    setenv("HF_ENDPOINT", endpoint, 1);
}

static void test_commit_needs_no_network(void **state)
{
    mc_error error;
    char name[80];
    mc_hub_snapshot snapshot;
    (void)state;
    control("{}");
    const mc_hub_spec spec = {.name = "org/model"};
    assert_int_equal(mc_hub_download(&spec, 1, NULL, &snapshot, &error), MC_OK);
    snprintf(name, sizeof name, "org/model@%s", snapshot.commit);
    mc_hub_snapshots_free(&snapshot, 1);
    control_again("{}");
    assert_int_equal(download_of(name, NULL, true, &error), MC_OK);
    assert_false(log_has("{"));
}

static void test_read_only(void **state)
{
    mc_error error;
    (void)state;
    control("{}");
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    char *const refs = mc_format("%s/models--org--model/refs", getenv("HF_HUB_CACHE"));
    chmod(refs, 0555);
    chmod(getenv("HF_HUB_CACHE"), 0555);
    assert_int_equal(download_of("org/model", NULL, true, &error), MC_OK);
    chmod(refs, 0777);
    chmod(getenv("HF_HUB_CACHE"), 0777);
    mc_free(refs);
}

static void test_copies(void **state)
{
    (void)state;
    control("{}");
    setenv("HF_HUB_DISABLE_SYMLINKS", "TRUE", 1);
    expect(MC_OK, NULL);
    assert_int_equal(entries("/blobs/"), 0);
    unsetenv("HF_HUB_DISABLE_SYMLINKS");
}

/* Starts a process that downloads slowly, and waits until the file grows. */
static pid_t begin_slowly(int rate)
{
    char json[128];
    snprintf(json, sizeof json,
             "{\"faults\": {\"%s\": {\"kind\": \"slow\", \"rate\": %d, \"times\": 1}}}", file_name,
             rate);
    control(json);
    const pid_t child = fork();
    if (child == 0) {
        mc_error error;
        (void)download_of("org/model", file_name, true, &error);
        _exit(0);
    }
    for (int i = 0; i < 3000 && partial_size() == 0; i++)
        usleep(10000);
    assert_true(partial_size() > 0);
    return child;
}

static void expect_resumed(void)
{
    expect(MC_OK, NULL);
    assert_true(log_has("\"range\": \"bytes="));
    assert_int_equal(entries(".incomplete"), 0);
}

/* A process is killed during its download; a waiting one takes over its partial file. */
static void test_killed(void **state)
{
    (void)state;
    const pid_t child = begin_slowly(20000), killer = fork();
    if (killer == 0) {
        usleep(300000);
        kill(child, SIGKILL);
        _exit(0);
    }
    expect_resumed();
    assert_int_equal(waitpid(killer, NULL, 0), killer);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* The killed process is a zombie, which still has a process id. */
static void test_killed_before(void **state)
{
    (void)state;
    siginfo_t info;
    const pid_t child = begin_slowly(20001);
    kill(child, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    expect_resumed();
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Cancels once there is a partial file. */
static void cancel_soon(const mc_hub_progress *progress, void *user)
{
    for (size_t i = 0; i < progress->file_count; i++)
        if (strcmp(progress->files[i].path, file_name) == 0 && progress->files[i].bytes_done > 0)
            *(volatile int *)user = 1;
}

static void test_cancelled(void **state)
{
    (void)state;
    volatile int cancel = 0;
    mc_hub_snapshot snapshot;
    mc_error error;
    const mc_hub_spec spec = {.name = "org/model"};
    const mc_hub_options options = {
        .cancel = &cancel, .progress = cancel_soon, .user = (void *)(uintptr_t)&cancel};
    control("{\"faults\": {\"model.safetensors\": {\"kind\": \"slow\", \"rate\": 10000, \"times\": "
            "1}}}");
    assert_int_equal(mc_hub_download(&spec, 1, &options, &snapshot, &error), MC_INTERRUPTED);
    expect(MC_OK, NULL);
    assert_true(log_has("\"range\": \"bytes="));
}

/* ---- models ---------------------------------------------------------------------------------- */

static void test_headers_only(void **state)
{
    static const char *const names[] = {"org/rte-1", "org/rte-2", "org/rte-3"};
    mc_model *models[3];
    mc_error error = MC_ERROR_NONE;
    (void)state;
    control("{}");
    assert_int_equal(mc_models_open(names, 3, NULL, true, models, &error), MC_OK);
    assert_false(mc_model_is_complete(models[0]));
    assert_false(mc_model_is_complete(models[1]));
    assert_true(mc_model_is_complete(models[2])); /* a pickle, which has no header */
    const mc_state_dict *const dict = mc_model_state_dict(models[0]);
    assert_int_equal(mc_state_dict_count(dict),
                     mc_state_dict_count(mc_model_state_dict(models[1])));
    float value;
    assert_int_equal(mc_source_read_f32(mc_state_dict_source(dict, 0), 0, 1, &value, &error),
                     MC_NOT_FOUND);
    for (int i = 0; i < 3; i++)
        mc_model_close(models[i]);
    assert_int_equal(mc_models_open(names, 3, NULL, false, models, &error), MC_OK);
    assert_string_equal(mc_model_repository(models[0]), "org/rte-1");
    assert_int_equal(strlen(mc_model_commit(models[0])), 40);
    assert_int_equal(mc_source_read_f32(mc_state_dict_source(mc_model_state_dict(models[0]), 0), 0,
                                        1, &value, &error),
                     MC_OK);
    for (int i = 0; i < 3; i++)
        mc_model_close(models[i]);
}

/* A repository without small files. */
static void test_weights_alone(void **state)
{
    mc_model *model = NULL;
    mc_error error = MC_ERROR_NONE;
    const char *const name = "org/weights";
    (void)state;
    control("{}");
    if (mc_models_open(&name, 1, NULL, true, &model, &error) != MC_OK)
        fail_msg("%s", error.text);
    assert_false(mc_model_is_complete(model));
    assert_true(mc_state_dict_count(mc_model_state_dict(model)) > 0);
    mc_model_close(model);
    /* An impossible header: the error has the Hub's name of the file. */
    const char *const broken = "org/model";
    assert_int_equal(mc_models_open(&broken, 1, NULL, true, &model, &error), MC_UNSUPPORTED);
    assert_string_equal(error.file, "org/model/model.safetensors");
}

static int64_t room; /* free space of every disk, in test_room */

static int small_statvfs(const char *path, struct statvfs *out)
{
    const int result = mc_system_real.statvfs(path, out);
    out->f_frsize = 1;
    out->f_bavail = (fsblkcnt_t)room;
    return result;
}

static mc_status open_two(mc_model *models[2], mc_error *error)
{
    static const char *const names[] = {"org/rte-1", "org/rte-2"};
    return mc_models_open(names, 2, NULL, true, models, error);
}

/* Free space for the result is checked before weights are downloaded. */
static void test_room(void **state)
{
    mc_model *models[2];
    mc_plan *plan = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_run_options replace = {.overwrite = true};
    mc_system_calls small = mc_system_real;
    (void)state;
    control("{}");
    small.statvfs = small_statvfs;
    mc_system = &small;
    room = 1000;
    assert_int_equal(open_two(models, &error), MC_NO_SPACE);
    assert_non_null(strstr(error.text, "for the download, found"));
    room = INT64_MAX;
    assert_int_equal(open_two(models, &error), MC_OK);
    const int64_t missing = models[0]->missing_bytes + models[1]->missing_bytes;
    const mc_plan_input input = {.method = mc_method_find("soup"),
                                 .models = (const mc_model *const *)models,
                                 .model_count = 2};
    assert_int_equal(mc_plan_new(&input, &plan, &error), MC_OK);
    int64_t read, written, memory;
    mc_plan_bytes(plan, NULL, &read, &written, &memory);
    char *const target = below("merged");
    room = missing + written;
    assert_int_equal(mc_plan_check_target(plan, target, NULL, &error), MC_OK);
    room--;
    assert_int_equal(mc_plan_check_target(plan, target, NULL, &error), MC_NO_SPACE);
    assert_string_equal(error.file, target);
    assert_non_null(strstr(error.text, "that have to be downloaded to it, found"));
    assert_int_equal(mc_plan_check_target(plan, work, NULL, &error), MC_EXISTS);
    assert_int_equal(mc_plan_check_target(plan, work, &replace, &error), MC_EXISTS);
    assert_non_null(strstr(error.text, "expected a model and nothing else to replace"));
    mc_system = &mc_system_real;
    mc_free(target);
    mc_plan_free(plan);
    mc_model_close(models[0]);
    mc_model_close(models[1]);
}

/* A partial file needs no further space for its bytes. */
static void test_room_for_the_rest(void **state)
{
    mc_system_calls small = mc_system_real;
    (void)state;
    leave_partial();
    const int64_t rest = MODEL_BYTES - partial_size();
    assert_true(rest < MODEL_BYTES);
    control_again("{}");
    small.statvfs = small_statvfs;
    mc_system = &small;
    room = rest - 1;
    expect(MC_NO_SPACE, "for the download, found");
    room = rest;
    expect(MC_OK, NULL);
    mc_system = &mc_system_real;
}

static bool has_file(const mc_hub_snapshot *snapshot, const char *path)
{
    char *const file = mc_format("%s/%s", snapshot->folder, path);
    bool listed = false;
    for (size_t i = 0; i < snapshot->file_count; i++)
        listed = listed || strcmp(snapshot->files[i], path) == 0;
    const bool exists = access(file, R_OK) == 0;
    mc_free(file);
    assert_int_equal(listed, exists);
    return exists;
}

/* Files that others refer to: folders of modules.json, and code of auto_map. Also offline. */
static void test_referenced(void **state)
{
    static const char modules[] = "[{\"idx\": 0, \"path\": \"\"}, {\"path\": \"1_Pooling\"},"
                                  " {\"path\": \"../x\"}, {\"path\": \"2_Dense\"}]";
    static const char *const wanted[] = {"modules.json", "1_Pooling/config.json",
                                         "2_Dense/model.safetensors", "modeling.py"};
    static const char *const others[] = {"2_Dense/onnx/model.onnx", "scripts/run.py",
                                         "onnx/a.json"};
    static const char config[] = "{\"auto_map\": {\"AutoModel\": \"modeling.M\"}}";
    const mc_hub_spec spec = {.name = "org/modules"};
    mc_hub_snapshot snapshot;
    mc_error error = MC_ERROR_NONE;
    (void)state;
    control("{}");
    make_below("root/org/modules/1_Pooling");
    make_below("root/org/modules/2_Dense/onnx");
    make_below("root/org/modules/scripts");
    make_below("root/org/modules/onnx");
    write_below("root/org/modules/model.safetensors", "x", 1);
    write_below("root/org/modules/config.json", config, strlen(config));
    write_below("root/org/modules/modules.json", modules, strlen(modules));
    write_below("root/org/modules/1_Pooling/config.json", "{}", 2);
    write_below("root/org/modules/2_Dense/model.safetensors", "y", 1);
    write_below("root/org/modules/2_Dense/onnx/model.onnx", "z", 1);
    write_below("root/org/modules/modeling.py", "pass", 4);
    write_below("root/org/modules/scripts/run.py", "pass", 4);
    write_below("root/org/modules/onnx/a.json", "{}", 2);
    for (int offline = 0; offline < 2; offline++) {
        setenv("HF_HUB_OFFLINE", offline ? "1" : "0", 1);
        if (mc_hub_download(&spec, 1, NULL, &snapshot, &error) != MC_OK)
            fail_msg("%s", error.text);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            assert_true(has_file(&snapshot, wanted[i]));
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            assert_false(has_file(&snapshot, others[i]));
        mc_hub_snapshots_free(&snapshot, 1);
    }
    unsetenv("HF_HUB_OFFLINE");
    /* Without auto_map the code is a script like any other. */
    write_below("root/org/modules/config.json", "{}", 2);
    assert_int_equal(mc_hub_download(&spec, 1, NULL, &snapshot, &error), MC_OK);
    assert_false(has_file(&snapshot, "modeling.py"));
    mc_hub_snapshots_free(&snapshot, 1);
}

static void test_dataset(void **state)
{
    char *path = NULL;
    mc_error error = MC_ERROR_NONE;
    (void)state;
    control("{}");
    assert_int_equal(mc_hub_dataset_file("nyu-mll/glue", "rte/validation-00000-of-00001.parquet",
                                         NULL, &path, &error),
                     MC_OK);
    assert_non_null(strstr(path, "/datasets--nyu-mll--glue/snapshots/"));
    assert_int_equal(access(path, R_OK), 0);
    mc_hub_free(path);
    volatile int cancel = 1;
    const mc_hub_options options = {.cancel = &cancel};
    control("{}");
    assert_int_equal(mc_hub_dataset_file("nyu-mll/glue", "rte/validation-00000-of-00001.parquet",
                                         &options, &path, &error),
                     MC_INTERRUPTED);
}

/* ---- the server ------------------------------------------------------------------------------ */

static void link_below(const char *from, const char *name)
{
    char *const path = below(name), *const source = mc_format("%s/%s", MC_SOURCE_DIR, from);
    assert_int_equal(symlink(source, path), 0);
    mc_free(path);
    mc_free(source);
}

static void make_repositories(void)
{
    char content[MODEL_BYTES];
    unsigned number = 1;
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)((number = number * 1103515245 + 12345) >> 16);
    make_below("root");
    make_below("root/org");
    make_below("root/org/model");
    make_below("root/datasets/nyu-mll/glue/rte");
    write_below("root/org/model/model.safetensors", content, sizeof content);
    write_below("root/org/model/config.json", "{}\n", 3);
    write_below("root/org/model/vocab.txt", "[PAD]\n", 6);
    link_below("examples/models/rte-1", "root/org/rte-1");
    make_below("root/org/weights");
    link_below("examples/models/rte-1/model.safetensors", "root/org/weights/model.safetensors");
    link_below("examples/models/rte-2", "root/org/rte-2");
    link_below("examples/models/rte-3", "root/org/rte-3");
    link_below("examples/models/data/validation.parquet",
               "root/datasets/nyu-mll/glue/rte/validation-00000-of-00001.parquet");
}

static int start_server(void **state)
{
    int input[2], output[2];
    (void)state;
    snprintf(work, sizeof work, "/tmp/mergecraft-hub-XXXXXX");
    if (!mkdtemp(work) || pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
        return -1;
    make_repositories();
    log_path = below("log");
    char *const root = below("root"), *const home = below("home");
    setenv("HF_HOME", home, 1);
    server = fork();
    if (server == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        execlp("python3", "python3", MC_SOURCE_DIR "/tests/hub/server.py", "--root", root, "--log",
               log_path, "--until-eof", (char *)NULL);
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    server_input = input[1];
    FILE *const said = fdopen(output[0], "r");
    const bool ready = said && fgets(endpoint, sizeof endpoint, said);
    fclose(said);
    mc_free(root);
    mc_free(home);
    if (!ready)
        return -1;
    endpoint[strcspn(endpoint, "\n")] = '\0';
    setenv("HF_ENDPOINT", endpoint, 1);
    mc_hub_first_pause = .0005;
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    close(server_input);
    waitpid(server, NULL, 0);
    mc_free(log_path);
    return mc_folder_remove(work);
}

int main(void)
{
    static const char *const variables[] = {"HF_HUB_CACHE",
                                            "HF_TOKEN",
                                            "HUGGING_FACE_HUB_TOKEN",
                                            "HF_TOKEN_PATH",
                                            "HF_HUB_OFFLINE",
                                            "TRANSFORMERS_OFFLINE",
                                            "HF_HUB_DISABLE_SYMLINKS",
                                            "HF_HUB_DOWNLOAD_TIMEOUT",
                                            "HF_HUB_ETAG_TIMEOUT",
                                            "HF_HUB_DISABLE_IMPLICIT_TOKEN",
                                            "http_proxy",
                                            "HTTP_PROXY",
                                            "all_proxy",
                                            "ALL_PROXY"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_across_runs),
        cmocka_unit_test(test_spoiled_partial),
        cmocka_unit_test(test_no_ranges),
        cmocka_unit_test(test_wrong_bytes),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_stalled),
        cmocka_unit_test(test_busy_server),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_not_there),
        cmocka_unit_test(test_listings),
        cmocka_unit_test(test_offline),
        cmocka_unit_test(test_commit_needs_no_network),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_killed_before),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_headers_only),
        cmocka_unit_test(test_weights_alone),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_room_for_the_rest),
        cmocka_unit_test(test_referenced),
        cmocka_unit_test(test_dataset),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}

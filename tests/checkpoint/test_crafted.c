/*
 * Hostile files, given to the real command: each is refused with exit status 1 and one line that
 * names the file; nothing is left behind, nothing in the file is executed, and neither time nor
 * memory is out of proportion. The files are those of malformed/ and those that are made here:
 * pickles that would make a file if they were executed, and bombs.
 */
#include "files.h"

#include "base/text.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MALFORMED CHECKPOINTS "/malformed"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* For files of at most a few megabytes. The command itself takes about 5 MB. */
enum { MOST_SECONDS = 20, MOST_ADDRESSES = 512 << 20, MOST_RESIDENT = 160 << 20 };

static char *folder; /* where the command runs */

static int set_up(void **state)
{
    (void)state;
    folder = make_folder();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

/* ---- the command ---- */

typedef struct outcome {
    int status; /* of wait */
    long resident;
    char output[4096], message[4096]; /* the beginnings of both streams */
} outcome;

static void limit(int resource, rlim_t value)
{
    const struct rlimit both = {value, value};
    if (setrlimit(resource, &both) != 0)
        _exit(99);
}

static void run_child(const char *const *words)
{
    if (chdir(folder) != 0 || !freopen("/dev/null", "r", stdin) ||
        !freopen("stdout", "w", stdout) || !freopen("stderr", "w", stderr))
        _exit(99);
    limit(RLIMIT_CPU, MOST_SECONDS);
#ifndef SANITIZED
    limit(RLIMIT_AS, MOST_ADDRESSES);
#endif
    alarm(5 * MOST_SECONDS); /* for what waits and does not work */
    execv(MC_COMMAND, (char *const *)(uintptr_t)words);
    _exit(99);
}

/* Reads a stream's file in the folder and removes it. */
static void take_stream(const char *name, char *out, size_t size)
{
    char *const path = join(folder, name);
    FILE *const file = fopen(path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
    unlink(path);
    free(path);
}

static outcome run(const char *const *words)
{
    outcome result = {0};
    struct rusage usage;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        run_child(words);
    while (wait4(child, &result.status, 0, &usage) < 0)
        assert_int_equal(errno, EINTR);
    result.resident = usage.ru_maxrss * 1024;
    take_stream("stdout", result.output, sizeof result.output);
    take_stream("stderr", result.message, sizeof result.message);
    return result;
}

static size_t entries_in_folder(void)
{
    DIR *const listing = opendir(folder);
    assert_non_null(listing);
    size_t count = 0;
    for (const struct dirent *one; (one = readdir(listing));)
        count += strcmp(one->d_name, ".") != 0 && strcmp(one->d_name, "..") != 0;
    closedir(listing);
    return count;
}

/* One line, without anything that a terminal would obey. */
static bool is_one_line(const char *text)
{
    const size_t length = strlen(text);
    for (size_t i = 0; i + 1 < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
    return length > 0 && text[length - 1] == '\n';
}

static void check_refused(const char *path, const char *const *words, const char *expected)
{
    const size_t before = entries_in_folder();
    const outcome got = run(words);
    const char *wrong = NULL;
    if (!WIFEXITED(got.status) || WEXITSTATUS(got.status) != 1)
        wrong = "exit status 1";
    else if (got.output[0] != '\0')
        wrong = "nothing on stdout";
    else if (!is_one_line(got.message) || strncmp(got.message, "mergecraft: ", 12) != 0)
        wrong = "one line";
    else if (!strstr(got.message, path))
        wrong = "the file's name";
    else if (!strstr(got.message, expected))
        wrong = expected;
    else if (strstr(got.message, "out of memory"))
        wrong = "a refusal before memory runs out";
#ifndef SANITIZED
    else if (got.resident > MOST_RESIDENT)
        wrong = "little memory";
#endif
    else if (entries_in_folder() != before)
        wrong = "nothing left behind";
    if (wrong)
        fail_msg("%s %s: expected %s; found wait status %d, %ld bytes of memory, '%s'", words[1],
                 path, wrong, got.status, got.resident, got.message);
}

/* By each way into the command; what is merged with it is right. */
static void refused(const char *path, const char *expected)
{
    static const char good[] = MALFORMED "/ok_one.safetensors";
    check_refused(path, (const char *const[]){"mergecraft", "inspect", path, NULL}, expected);
    check_refused(path,
                  (const char *const[]){"mergecraft", "merge", "--no-sync", "soup", good, path,
                                        "-o", "out", NULL},
                  expected);
}

/* ---- files that are kept ---- */

static int is_bad(const char *name)
{
    return strncmp(name, "bad_", 4) == 0;
}

static int is_ok(const char *name)
{
    return strncmp(name, "ok_", 3) == 0;
}

static void check_bad(const char *where, const char *name)
{
    char *const path = join(where, name);
    refused(path, "");
    free(path);
}

static void check_ok(const char *where, const char *name)
{
    char *const path = join(where, name);
    const outcome got = run((const char *const[]){"mergecraft", "inspect", "-q", path, NULL});
    if (got.status != 0 || got.message[0] != '\0')
        fail_msg("%s: expected to be read, found wait status %d: %s", name, got.status,
                 got.message);
    free(path);
}

static void test_kept(void **state)
{
    (void)state;
    assert_true(for_each_name(MALFORMED, is_bad, check_bad) >= 150);
    assert_true(for_each_name(MALFORMED, is_ok, check_ok) >= 10);
}

/* ---- files that are made ---- */

/* Adds bytes of a literal. */
#define ADD(text_, literal_) mc_text_append(text_, literal_, sizeof(literal_) - 1)

static void add_repeated(mc_text *text, const char *bytes, size_t size, size_t times)
{
    for (size_t i = 0; i < times; i++)
        mc_text_append(text, bytes, size);
}

/* A number of `width` bytes, little-endian. */
static void add_number(mc_text *text, size_t width, uint64_t number)
{
    for (size_t i = 0; i < width; i++)
        mc_text_append(text, &(char){(char)(number >> 8 * i)}, 1);
}

/* BINUNICODE. */
static void add_text(mc_text *text, const char *value)
{
    ADD(text, "X");
    add_number(text, 4, strlen(value));
    mc_text_append(text, value, strlen(value));
}

/* Writes the file and frees the text; the path. */
static char *save(const char *name, mc_text *text)
{
    char *const path = join(folder, name);
    assert_false(text->failed);
    save_file(path, text->data, text->length);
    mc_text_free(text);
    return path;
}

/*
 * An old torch file whose state dict is made by these instructions, with one storage of two floats
 * called "0".
 */
static char *save_legacy(const char *name, const mc_text *object)
{
    mc_text file = {0};
    ADD(&file, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    ADD(&file, "\x80\x02M\xe9\x03.\x80\x02}.\x80\x02");
    mc_text_append(&file, object->data, object->length);
    ADD(&file, ".\x80\x02]X\x01\0\0\0000a.\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    return save(name, &file);
}

static void refuse_legacy(mc_text *object, const char *expected)
{
    char *const path = save_legacy("hostile.bin", object);
    refused(path, expected);
    unlink(path);
    free(path);
    mc_text_free(object);
}

/*
 * A tensor of two floats. `key` is its storage's, `metadata` an instruction that gives the last
 * argument.
 */
static void add_tensor(mc_text *object, const char *key, const char *metadata)
{
    ADD(object, "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n");
    add_text(object, key);
    ADD(object, "X\3\0\0\0cpuK\2NtQK\0K\2\x85K\1\x85\x89}");
    mc_text_append(object, metadata, strlen(metadata));
    ADD(object, "tR");
}

/* ---- pickles that would run something ---- */

/*
 * Each makes the canary, if Python executes it: the argument is the canary's path with something
 * before and after it.
 */
static const struct {
    const char *module, *member, *before, *after;
} armed[] = {
    {"os", "system", "touch ", ""},
    {"posix", "system", "touch ", ""},
    {"builtins", "eval", "open('", "', 'w')"},
    {"builtins", "exec", "open('", "', 'w')"},
};

/*
 * How a pickle can call a name: %g is GLOBAL with it, %i INST with it, %m and %n its module and
 * member as texts, %a the argument.
 */
static const struct {
    const char *how, *program;
    bool runs; /* whether Python would execute a function this way, and not only a class */
} ways[] = {
    {"REDUCE", "%g(%atR", true},
    {"STACK_GLOBAL", "%m%n\x93(%atR", true},
    {"INST", "(%a%i", true},
    {"OBJ", "(%g%ao", true},
    {"NEWOBJ", "%g(%at\x81", false},
    {"NEWOBJ_EX", "%g(%at}\x92", false},
    {"BUILD", "cargparse\nNamespace\n)R%g(%atRb", true},
    {"a name from the memo",
     "%gq\1"
     "0h\1(%atR",
     true},
    {"a call that is forgotten", "%g(%atR0}", true},
    {"a value of the state dict", "}(\x8c\1x%g(%atRu", true},
    {"a persistent id", "%g(%atRQ", false},
};

static void add_name(mc_text *object, const char *opcode, size_t which)
{
    mc_text_add(object, "%s%s\n%s\n", opcode, armed[which].module, armed[which].member);
}

static void add_way(mc_text *object, size_t way, size_t which, const char *argument)
{
    for (const char *at = ways[way].program; *at; at++) {
        if (*at != '%') {
            mc_text_append(object, at, 1);
            continue;
        }
        switch (*++at) {
        case 'g':
            add_name(object, "c", which);
            break;
        case 'i':
            add_name(object, "i", which);
            break;
        case 'a':
            add_text(object, argument);
            break;
        default:
            add_text(object, *at == 'm' ? armed[which].module : armed[which].member);
        }
    }
}

static char *canary; /* a path in the folder */

static void with_each_way(void (*use)(mc_text *object, size_t way, size_t which))
{
    canary = join(folder, "canary");
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        for (size_t which = 0; which < sizeof armed / sizeof *armed; which++) {
            mc_text object = {0};
            char argument[256];
            snprintf(argument, sizeof argument, "%s%s%s", armed[which].before, canary,
                     armed[which].after);
            add_way(&object, way, which, argument);
            use(&object, way, which);
        }
    }
    free(canary);
}

static void refuse_call(mc_text *object, size_t way, size_t which)
{
    (void)way;
    char expected[128];
    snprintf(expected, sizeof expected, "refused: the pickle refers to '%s.%s'",
             armed[which].module, armed[which].member);
    refuse_legacy(object, expected);
    if (access(canary, F_OK) == 0)
        fail_msg("%s of %s.%s was executed", ways[way].how, armed[which].module,
                 armed[which].member);
}

static void test_calls(void **state)
{
    (void)state;
    with_each_way(refuse_call);
}

/*
 * That the pickles above do run something, where they are executed: Python is not needed for
 * anything else here.
 */
static void execute_call(mc_text *object, size_t way, size_t which)
{
    char command[1024];
    mc_text program = {0};
    ADD(&program, "\x80\4");
    mc_text_append(&program, object->data, object->length);
    ADD(&program, ".");
    mc_text_free(object);
    char *const path = save("armed.pkl", &program);
    snprintf(command, sizeof command,
             "python3 -c 'import pickle; pickle.load(open(\"%s\", \"rb\"))' 2> /dev/null", path);
    const int status = ways[way].runs ? system(command) : 0;
    if (ways[way].runs && access(canary, F_OK) != 0)
        fail_msg("%s of %s.%s is harmless: status %d", ways[way].how, armed[which].module,
                 armed[which].member, status);
    unlink(canary);
    unlink(path);
    free(path);
}

static void test_calls_are_armed(void **state)
{
    (void)state;
    if (system("python3 -c '' 2> /dev/null") != 0)
        skip();
    with_each_way(execute_call);
}

/* ---- pickles that would take too much ---- */

enum { MANY = 20000, LONG = 1000000 };

/* Gives the value on the stack, which is in memo 5, to so many names. */
static void name_often(mc_text *object)
{
    for (size_t i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "%05zu", i);
        add_text(object, name);
        ADD(object, "h\5");
    }
}

/* A text as add_text, of `size` letters. */
static void add_long_text(mc_text *object, size_t size)
{
    ADD(object, "X");
    add_number(object, 4, size);
    add_repeated(object, "k", 1, size);
}

static void test_repeated_values(void **state)
{
    (void)state;
    char *const key = malloc(LONG + 1);
    assert_non_null(key);
    memset(key, 'k', LONG);
    key[LONG] = '\0';
    mc_text keys = {0}, metadata = {0}, prefix = {0}, name = {0};
    ADD(&keys, "}(X\1\0\0\0t");
    add_tensor(&keys, key, "}");
    ADD(&keys, "q\5");
    name_often(&keys);
    ADD(&keys, "u");
    refuse_legacy(&keys, "expected a text of at most 256 bytes as the key of a storage");

    ADD(&metadata, "}(");
    add_repeated(&metadata, "N", 1, 2 * MANY);
    ADD(&metadata, "uq\6"
                   "0}(X\1\0\0\0t");
    add_tensor(&metadata, "0", "h\6");
    ADD(&metadata, "q\5");
    name_often(&metadata);
    ADD(&metadata, "u");
    refuse_legacy(&metadata, "tensor 't': expected at most 32 keys and values of metadata");

    ADD(&prefix, "}(X\1\0\0\0t");
    add_tensor(&prefix, "0", "}");
    ADD(&prefix, "q\5");
    add_long_text(&prefix, LONG);
    ADD(&prefix, "}(");
    name_often(&prefix);
    ADD(&prefix, "uu");
    refuse_legacy(&prefix, "expected at most 67108864 bytes in the names of all tensors");

    ADD(&name, "}(");
    add_long_text(&name, LONG);
    ADD(&name, "q\7");
    add_tensor(&name, "0", "}");
    ADD(&name, "q\5");
    add_repeated(&name, "h\7h\5", 4, MANY);
    ADD(&name, "u");
    refuse_legacy(&name, "expected at most 67108864 bytes in the names of all tensors");
    free(key);
}

static void refuse_repeated(const char *begin, const char *bytes, size_t size, const char *expected)
{
    mc_text object = {0};
    mc_text_append(&object, begin, strlen(begin));
    add_repeated(&object, bytes, size, 2 * LONG / size);
    refuse_legacy(&object, expected);
}

#define REFUSE_REPEATED(begin_, bytes_, expected_)                                                 \
    refuse_repeated(begin_, bytes_, sizeof(bytes_) - 1, expected_)

/* What is left is no state dict with the storage that the file has. */
static void test_long_pickles(void **state)
{
    (void)state;
    static const char other[] = "expected the key of each storage once in the list of keys";
    REFUSE_REPEATED("", "(", "takes a value from an empty stack"); /* marks */
    REFUSE_REPEATED("N", "2", "too many on its stack");            /* copies */
    REFUSE_REPEATED("", "ccollections\nOrderedDict\n)R", "too many on its stack");
    REFUSE_REPEATED("]", "\x94", other);                       /* memo */
    REFUSE_REPEATED("}", "\x95\xff\xff\xff\0\0\0\0\0", other); /* frames */
    REFUSE_REPEATED("N", "\x85", other);                       /* tuples in tuples */
    REFUSE_REPEATED("N", "(0", other);                         /* marks, taken away */
    REFUSE_REPEATED("N", "q\1", other);                        /* one memo index */
    REFUSE_REPEATED("]q\1", "h\1a", other);                    /* a list of itself */
}

/* Two times the dict before, and so on: whoever walks all ways through it never ends. */
static void test_doubled(void **state)
{
    (void)state;
    mc_text object = {0};
    ADD(&object, "}X\5\0\0\0model}X\1\0\0\0t");
    add_tensor(&object, "0", "}");
    ADD(&object, "sq\1");
    for (int i = 0; i < 60; i++)
        ADD(&object, "0}(X\1\0\0\0xh\1X\1\0\0\0yh\1uq\1");
    ADD(&object, "s");
    refuse_legacy(&object, "without tensors"); /* the tensor lies deeper than names go */
    ADD(&object, "}(X\1\0\0\0a");
    add_tensor(&object, "0", "}");
    ADD(&object, "X\1\0\0\0m}X\1\0\0\0t");
    add_tensor(&object, "0", "}");
    ADD(&object, "sq\1");
    for (int i = 0; i < 14; i++)
        ADD(&object, "0}(X\1\0\0\0xh\1X\1\0\0\0yh\1uq\1");
    ADD(&object, "u");
    char *const path = save_legacy("doubled.bin", &object);
    const outcome got = run((const char *const[]){"mergecraft", "inspect", path, NULL});
    if (got.status != 0 || !strstr(got.output, "tensors       1\n"))
        fail_msg("expected one tensor, as both are the same storage, found %s%s", got.output,
                 got.message);
    unlink(path);
    free(path);
    mc_text_free(&object);
}

/* ---- files that are mostly holes ---- */

static void refuse_sparse(const char *begin, size_t begin_size, off_t size, const char *end,
                          size_t end_size, const char *expected)
{
    char *const path = join(folder, "sparse");
    save_file(path, begin, begin_size);
    const int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(pwrite(fd, end, end_size, size), end_size);
    assert_int_equal(close(fd), 0);
    refused(path, expected);
    unlink(path);
    free(path);
}

#define REFUSE_SPARSE(begin_, size_, end_, expected_)                                              \
    refuse_sparse(begin_, sizeof(begin_) - 1, size_, end_, sizeof(end_) - 1, expected_)

static void test_sparse(void **state)
{
    (void)state;
    /* A header of 100,000,000 bytes, the most that is read. */
    REFUSE_SPARSE("\0\xe1\xf5\5\0\0\0\0{", 101000000, "", "not valid JSON");
    /* A zip directory of 64 MB, and one byte more. */
    REFUSE_SPARSE("PK\3\4", 70000000, "PK\5\6\0\0\0\0\1\0\1\0\0\0\0\4\0\0\0\0\0\0",
                  "expected another entry in the zip directory");
    REFUSE_SPARSE("PK\3\4", 70000000, "PK\5\6\0\0\0\0\1\0\1\0\1\0\0\4\0\0\0\0\0\0",
                  "expected a zip directory of at most 67108864 bytes");
    /* A pickle that goes on for the 64 MB that are looked at. */
    REFUSE_SPARSE("\x80\2X\0\0\0\x7f", 500000000, "", "the pickle ends early");
}

/* ---- JSON ---- */

static void make_model_folder(const char *weights)
{
    char *const path = join(folder, "model");
    assert_int_equal(mkdir(path, 0777), 0);
    if (weights) {
        char *const to = join(path, "model.safetensors");
        assert_int_equal(symlink(weights, to), 0);
        free(to);
    }
    free(path);
}

static void remove_model_folder(void)
{
    char *const path = join(folder, "model");
    remove_folder(path); /* frees it */
}

static void refuse_in_folder(const char *name, mc_text *text, const char *expected)
{
    char *const model = join(folder, "model"), *const path = join(model, name);
    save_file(path, text->data, text->length);
    mc_text_free(text);
    refused(model, expected);
    unlink(path);
    free(path);
    free(model);
}

static const struct {
    const char *begin, *repeated;
    size_t times;
    const char *expected;
} texts[] = {
    {"{\"a\":", "[", 100000, "not valid JSON"},
    {"", "{\"a\":", 100000, "not valid JSON"},
    {"{\"a\":[", "[],", 600000, "not valid JSON"},
    {"{\"a\":[", "1,", 900000, "not valid JSON"},
    {"{\"a\":\"", "\xff", 1, "not valid JSON"},
    {"{\"a\":\"\xed\xa0\x80\"", "}", 1, "not valid JSON"},
    {"{\"a\":\"\\ud800\"", "}", 1, "not valid JSON"},
    {"{\"a\":", "9", 1000000, "not valid JSON"}, /* longer than Python reads */
    {"{\"a\":1,\"a\":2", "", 0, "not valid JSON"},
    {"{\"a\\u0000b\":1", "}", 1, "not valid JSON"},
    {"[", "]", 1, "expected a"},
    {"", "null", 1, ""},
    {"", "", 0, ""},
};

static void test_json(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "model.safetensors.index.json"};
    for (size_t name = 0; name < 2; name++) {
        make_model_folder(name == 0 ? MALFORMED "/ok_one.safetensors" : NULL);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            mc_text text = {0};
            mc_text_add(&text, "%s", texts[i].begin);
            add_repeated(&text, texts[i].repeated, strlen(texts[i].repeated), texts[i].times);
            refuse_in_folder(names[name], &text, texts[i].expected);
        }
        remove_model_folder();
    }
}

/* ---- what a shard can be instead of a file ---- */

static void refuse_shard(const char *expected)
{
    mc_text index = {0};
    mc_text_add(&index, "{\"weight_map\": {\"x\": \"shard\"}}");
    refuse_in_folder("model.safetensors.index.json", &index, expected);
    char *const path = join(folder, "model/shard");
    if (unlink(path) != 0)
        rmdir(path);
    free(path);
}

static void test_shards(void **state)
{
    (void)state;
    make_model_folder(NULL);
    char *const shard = join(folder, "model/shard");
    assert_int_equal(mkdir(shard, 0777), 0);
    refuse_shard("model/shard: expected a regular file, found a folder");
    assert_int_equal(mkfifo(shard, 0666), 0);
    refuse_shard("model/shard: expected a regular file, found something else");
    assert_int_equal(symlink("/dev/zero", shard), 0);
    refuse_shard("model/shard: expected a regular file, found something else");
    assert_int_equal(symlink("shard", shard), 0);
    refuse_shard("model/shard: cannot open it");
    assert_int_equal(symlink("nowhere", shard), 0);
    refuse_shard("model/shard: cannot open it");
    assert_int_equal(symlink("model.safetensors.index.json", shard), 0);
    refuse_shard("model/shard: expected a safetensors or torch file");
    free(shard);
    remove_model_folder();
}

/* ---- names that are no names ---- */

static void refuse_header(const char *header, const char *expected)
{
    mc_text file = {0};
    add_number(&file, 8, strlen(header));
    mc_text_add(&file, "%s", header);
    add_number(&file, 8, 0);
    char *const path = save("hostile.safetensors", &file);
    refused(path, expected);
    unlink(path);
    free(path);
}

/* An error stays one line, whatever the names in it are, and says nothing to the terminal. */
static void test_names(void **state)
{
    (void)state;
    mc_text object = {0};
    refuse_header(
        "{\"a\\nb\\u001b[31m\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}",
        "tensor 'a\\x0ab\\x1b[31m'");
    refuse_header("{\"x\":{\"dtype\":\"F\\n\\u0007\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                  "unknown dtype 'F\\x0a\\x07'");
    ADD(&object, "cos\n\x1b]0;title\x07\n)R");
    refuse_legacy(&object, "'os.\\x1b]0;title\\x07'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls_are_armed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_repeated_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_pickles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_doubled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sparse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

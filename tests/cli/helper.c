/*
 * What the scripts of this folder need beside the shell:
 *
 *     helper model FILE NAME:ROWSxCOLUMNS:VALUE...  a safetensors file of F32 tensors: element i is
 *                                                   VALUE + i; a NAME that ends in * is COLUMNS
 *                                                   tensors of ROWS elements, NAME0, NAME1 …
 *     helper values FILE NAME                       prints the elements of an F32 tensor of a
 *                                                   safetensors file on one line
 *     helper json [PATH]                            checks that standard input is one JSON object
 *                                                   on one line; prints what is at PATH ("a.b.0"),
 *                                                   or its keys
 *     helper terminal COLUMNS COMMAND...            runs the command on a terminal of its own and
 *                                                   prints what it shows
 */
#include <jansson.h>

#include <errno.h>
#include <pty.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop(const char *what)
{
    fprintf(stderr, "helper: %s\n", what);
    exit(99);
}

/* ---- models ---------------------------------------------------------------------------------- */

typedef struct tensor {
    char name[200];
    long rows, columns;
    double value;
    int split; /* into `columns` tensors */
} tensor;

static tensor parse_tensor(const char *text)
{
    tensor t = {0};
    const char *const colon = strchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof t.name ||
        sscanf(colon, ":%ldx%ld:%lf", &t.rows, &t.columns, &t.value) != 3)
        stop("expected NAME:ROWSxCOLUMNS:VALUE");
    memcpy(t.name, text, (size_t)(colon - text));
    t.split = t.name[0] && t.name[strlen(t.name) - 1] == '*';
    if (t.split)
        t.name[strlen(t.name) - 1] = '\0';
    return t;
}

static void describe(json_t *header, const char *name, json_t *shape, long *offset, long count)
{
    json_object_set_new(header, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape,
                                  "data_offsets", (json_int_t)*offset,
                                  (json_int_t)(*offset + 4 * count)));
    *offset += 4 * count;
}

static void add_to_header(json_t *header, const tensor *t, long *offset)
{
    if (!t->split) {
        describe(header, t->name, json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->columns),
                 offset, t->rows * t->columns);
        return;
    }
    for (long i = 0; i < t->columns; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s%ld", t->name, i);
        describe(header, name, json_pack("[I]", (json_int_t)t->rows), offset, t->rows);
    }
}

static int make_model(const char *path, char **texts)
{
    json_t *const header = json_object();
    long offset = 0;
    for (char **text = texts; *text; text++) {
        const tensor t = parse_tensor(*text);
        add_to_header(header, &t, &offset);
    }
    char *const json = json_dumps(header, JSON_COMPACT);
    const uint64_t length = strlen(json);
    FILE *const file = fopen(path, "wb");
    if (!file || fwrite(&length, sizeof length, 1, file) != 1 || fputs(json, file) < 0)
        stop("cannot write the header");
    for (char **text = texts; *text; text++) {
        const tensor t = parse_tensor(*text);
        for (long i = 0; i < t.rows * t.columns; i++) {
            const float value = (float)(t.value + (double)i);
            fwrite(&value, sizeof value, 1, file);
        }
    }
    free(json);
    json_decref(header);
    return fclose(file) == 0 ? 0 : 99;
}

static int print_values(const char *path, const char *name)
{
    uint64_t length = 0;
    FILE *const file = fopen(path, "rb");
    if (!file || fread(&length, sizeof length, 1, file) != 1 || length > 1 << 20)
        stop("cannot read the header");
    char *const text = calloc(1, length + 1);
    if (fread(text, 1, length, file) != length)
        stop("the header is cut off");
    json_t *const header = json_loads(text, 0, NULL);
    json_t *const offsets = json_object_get(json_object_get(header, name), "data_offsets");
    const long begin = (long)json_integer_value(json_array_get(offsets, 0));
    const long end = (long)json_integer_value(json_array_get(offsets, 1));
    float value;
    if (!offsets || fseek(file, (long)length + 8 + begin, SEEK_SET) != 0)
        stop("no such tensor");
    for (long i = begin; i < end && fread(&value, sizeof value, 1, file) == 1; i += 4)
        printf("%s%g", i > begin ? " " : "", (double)value);
    putchar('\n');
    fclose(file);
    free(text);
    json_decref(header);
    return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *follow(json_t *value, char *path)
{
    char *rest = NULL;
    for (char *part = strtok_r(path, ".", &rest); part; part = strtok_r(NULL, ".", &rest))
        value = json_is_array(value) ? json_array_get(value, (size_t)atol(part))
                                     : json_object_get(value, part);
    return value;
}

static int check_json(char *path)
{
    static char text[1 << 20];
    json_error_t error;
    const size_t length = fread(text, 1, sizeof text - 1, stdin);
    const char *const newline = memchr(text, '\n', length);
    if (!newline || newline != text + length - 1)
        stop("expected one line");
    json_t *const object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object))
        stop(object ? "expected an object" : error.text);
    const char *key;
    json_t *value;
    if (!path) {
        json_object_foreach(object, key, value) printf("%s ", key);
        putchar('\n');
    } else if (!(value = follow(object, path))) {
        stop("nothing is at the path");
    } else {
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        putchar('\n');
    }
    json_decref(object);
    return 0;
}

/* ---- terminal -------------------------------------------------------------------------------- */

static int run_on_terminal(int columns, char **command)
{
    const struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    int terminal, status = 0;
    const pid_t child = forkpty(&terminal, NULL, NULL, &size);
    if (child < 0)
        stop("cannot open a terminal");
    if (child == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    char bytes[4096];
    ssize_t count;
    while ((count = read(terminal, bytes, sizeof bytes)) > 0 || (count < 0 && errno == EINTR))
        fwrite(bytes, 1, count > 0 ? (size_t)count : 0, stdout);
    if (waitpid(child, &status, 0) != child)
        return 99;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    const char *const what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "model") == 0 && argc > 3)
        return make_model(argv[2], argv + 3);
    if (strcmp(what, "values") == 0 && argc == 4)
        return print_values(argv[2], argv[3]);
    if (strcmp(what, "json") == 0 && argc <= 3)
        return check_json(argv[2]);
    if (strcmp(what, "terminal") == 0 && argc > 3)
        return run_on_terminal(atoi(argv[2]), argv + 3);
    stop("expected model, values, json or terminal, with arguments");
}

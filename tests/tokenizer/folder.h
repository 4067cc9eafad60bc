/* A temporary folder with the files of a tokenizer. */
#ifndef MC_TESTS_TOKENIZER_FOLDER_H
#define MC_TESTS_TOKENIZER_FOLDER_H

#include <mergecraft/tokenizer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

/* A name and a text each; the list ends with a NULL name. */
typedef struct folder_file {
    const char *name, *text;
} folder_file;

static inline char *folder_path(const char *folder, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static inline void folder_put(const char *folder, const char *name, const char *text)
{
    FILE *const file = fopen(folder_path(folder, name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* Opens a tokenizer of these files. */
static inline mc_status folder_open(const folder_file *files, mc_tokenizer **out, mc_error *error)
{
    char folder[] = "/tmp/mergecraft-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (const folder_file *file = files; file->name; file++)
        folder_put(folder, file->name, file->text);
    const mc_status status = mc_tokenizer_open(folder, out, error);
    for (const folder_file *file = files; file->name; file++)
        unlink(folder_path(folder, file->name));
    rmdir(folder);
    return status;
}

/* Checks that a text has these ids, "2 5 3", and types if they are not NULL. */
static inline void check_ids(const mc_tokenizer *tokenizer, const char *text, const char *pair,
                             size_t most, const char *ids, const char *types)
{
    mc_encoding encoding = {0};
    char found[2][512] = {"", ""};
    assert_int_equal(mc_tokenizer_encode(tokenizer, text, strlen(text), pair,
                                         pair ? strlen(pair) : 0, most, &encoding, NULL),
                     MC_OK);
    for (size_t i = 0; i < encoding.count; i++) {
        const char *const blank = i ? " " : "";
        snprintf(found[0] + strlen(found[0]), 16, "%s%d", blank, encoding.ids[i]);
        snprintf(found[1] + strlen(found[1]), 16, "%s%d", blank, encoding.types[i]);
    }
    assert_string_equal(found[0], ids);
    if (types)
        assert_string_equal(found[1], types);
    mc_encoding_free(&encoding);
}

#endif

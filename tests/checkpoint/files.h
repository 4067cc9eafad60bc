/* What the tests of the readers share: lists of files, whole files, temporary files. */
#ifndef MC_TESTS_CHECKPOINT_FILES_H
#define MC_TESTS_CHECKPOINT_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "model/parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINTS MC_TEST_DATA "/checkpoints"

/* The message of an error, in static memory. */
static inline const char *message_of(const mc_error *error)
{
    static char text[4096];
    return mc_error_message(error, text, sizeof text);
}

static inline char *join(const char *folder, const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

static inline char *load_file(const char *path, size_t *size)
{
    FILE *const file = fopen(path, "rb");
    assert_non_null(file);
    struct stat status;
    assert_int_equal(fstat(fileno(file), &status), 0);
    *size = (size_t)status.st_size;
    char *const bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static inline void save_file(const char *path, const void *bytes, size_t size)
{
    /* A new file: ext4 writes one that was cut to nothing to the disk as soon as it is closed. */
    (void)unlink(path);
    FILE *const file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A new temporary folder; remove_folder takes it away with the plain files in it. */
static inline char *make_folder(void)
{
    char *const folder = strdup("/tmp/mergecraft-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static inline void remove_folder(char *folder)
{
    DIR *const listing = opendir(folder);
    assert_non_null(listing);
    for (const struct dirent *one; (one = readdir(listing));)
        unlinkat(dirfd(listing), one->d_name, 0);
    closedir(listing);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

/* Which of several tied tensors a model keeps. */
static inline bool is_input_embedding(const char *name)
{
    return mc_part_of(NULL, name).role == MC_PART_INPUT_EMBEDDING;
}

/*
 * Opens it with memory failing at each allocation in turn, fewer than `limit`; how it ended when
 * none failed.
 */
static inline mc_status open_as_memory_fails(const char *path, long limit)
{
    mc_status status = MC_NO_MEMORY;
    for (long allowed = 0; status == MC_NO_MEMORY; allowed++) {
        mc_checkpoint checkpoint = {0};
        mc_error error = MC_ERROR_NONE;
        mc_memory_fail_after(allowed);
        status = mc_checkpoint_open(path, NULL, &checkpoint, &error);
        mc_memory_fail_after(-1);
        assert_int_equal(error.code, status);
        mc_checkpoint_close(&checkpoint);
        assert_true(allowed < limit);
    }
    return status;
}

/* Calls visit for each name in the folder that matches; returns how many there were. */
static inline size_t for_each_name(const char *folder, int (*matches)(const char *name),
                                   void (*visit)(const char *folder, const char *name))
{
    struct dirent **names = NULL;
    const int count = scandir(folder, &names, NULL, alphasort);
    assert_true(count >= 0);
    size_t visited = 0;
    for (int i = 0; i < count; i++) {
        if (matches(names[i]->d_name)) {
            visit(folder, names[i]->d_name);
            visited++;
        }
        free(names[i]);
    }
    free(names);
    return visited;
}

static inline int has_ending(const char *name, const char *ending)
{
    const size_t length = strlen(name), end = strlen(ending);
    return length >= end && strcmp(name + length - end, ending) == 0;
}

#endif

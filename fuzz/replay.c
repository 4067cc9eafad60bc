/*
 * Runs a fuzz target over all files in the folders that are named, each also with memory failing at
 * every allocation in turn; fails if there is no file, or where the target would.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_FAILURES = 300 };

static void run_file(const char *path)
{
    FILE *const file = fopen(path, "rb");
    fuzz_require(file != NULL, path);
    fseek(file, 0, SEEK_END);
    const size_t size = (size_t)ftell(file);
    rewind(file);
    /* No byte more than there is, so that the sanitizer sees a read behind the end. */
    uint8_t *const data = malloc(size ? size : 1);
    fuzz_require(fread(data, 1, size, file) == size, path);
    fclose(file);
    const long count = fuzz_run(data, size, -1);
    for (long allowed = 0; allowed < count && allowed < MOST_FAILURES; allowed++)
        fuzz_run(data, size, allowed);
    free(data);
}

static int run_folder(const char *folder)
{
    DIR *const listing = opendir(folder);
    fuzz_require(listing != NULL, folder);
    int count = 0;
    for (const struct dirent *one; (one = readdir(listing));) {
        char path[4096];
        if (one->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, one->d_name);
        run_file(path);
        count++;
    }
    closedir(listing);
    return count;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const int count = run_folder(argv[i]);
        printf("%s: %d inputs\n", argv[i], count);
        if (count == 0)
            return 1;
    }
    return argc < 2;
}

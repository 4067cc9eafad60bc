/* A model's config.json: its architecture and labels. The weights beside it are right. */
#include "fuzz.h"

#include <mergecraft/model.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/mergecraft-fuzz-XXXXXX";
static int folder_fd = -1;

static void put(const char *name, const void *data, size_t size)
{
    const int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file can be written");
    close(fd);
}

static void remove_folder(void)
{
    unlinkat(folder_fd, "config.json", 0);
    unlinkat(folder_fd, "model.safetensors", 0);
    rmdir(folder);
}

static void make_folder(void)
{
    static const char weights[] =
        "\x38\0\0\0\0\0\0\0"
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  "
        "\0\0\0";
    fuzz_require(mkdtemp(folder) != NULL, "a folder can be made");
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
    put("model.safetensors", weights, sizeof weights);
    atexit(remove_folder);
}

static void look_at(const mc_model *model)
{
    const char *const architecture = mc_model_architecture(model);
    size_t length = architecture ? strlen(architecture) : 0;
    for (size_t i = 0; i < mc_model_label_count(model); i++)
        length += strlen(mc_model_label(model, i));
    fuzz_require(length <= strlen(mc_model_config(model)) * 2, "texts are those of the file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (folder_fd < 0)
        make_folder();
    put("config.json", data, size);
    mc_model *model = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_status status = mc_model_open(folder, &model, &error);
    if (status == MC_OK)
        look_at(model);
    else
        fuzz_require(error.code == status && strstr(error.file, "config.json"),
                     "what is wrong is the configuration");
    mc_model_close(model);
    return 0;
}

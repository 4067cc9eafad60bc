/* A LoRA adapter's adapter_config.json. The weights beside it are right, and so is the base. */
#include "fuzz.h"

#include "lora/lora.h"
#include "model/adapter.h"

#include <math.h>
#include <string.h>

/* q: A [2, 1], B [1, 2]; e: factors of two experts, or of rank 2. All values are zero. */
static const char weights[] =
    "\x68\1\0\0\0\0\0\0"
    "{\"base_model.model.m.q.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":"
    "[0,8]},\"base_model.model.m.q.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],"
    "\"data_offsets\":[8,16]},\"base_model.model.m.e.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":"
    "[2,1],\"data_offsets\":[16,24]},\"base_model.model.m.e.lora_B.weight\":{\"dtype\":\"F32\","
    "\"shape\":[1,2],\"data_offsets\":[24,32]}}  "
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

static const float numbers[2] = {1, 2};

/* A base with m.q.weight [1, 1], and the experts m.e.down_proj [2, 1, 1]. */
static void apply(const mc_adapter *adapter)
{
    const int64_t matrix[] = {1, 1}, experts[] = {2, 1, 1};
    mc_source *q = NULL, *e = NULL;
    mc_state_dict *dict = NULL;
    mc_error error = MC_ERROR_NONE;
    fuzz_memory_back();
    fuzz_require(mc_source_wrap(MC_F32, 2, matrix, numbers, NULL, NULL, &q, NULL) == MC_OK &&
                     mc_source_wrap(MC_F32, 3, experts, numbers, NULL, NULL, &e, NULL) == MC_OK &&
                     mc_state_dict_new(&dict, NULL) == MC_OK &&
                     mc_state_dict_set(dict, "m.q.weight", q, NULL) == MC_OK &&
                     mc_state_dict_set(dict, "m.e.down_proj", e, NULL) == MC_OK,
                 "there is memory");
    const mc_adapter_base base = {.label = "lora", .name = "base", .dict = dict};
    const mc_status status = mc_adapter_apply(adapter, &base, &error);
    fuzz_check_status(status, &error);
    fuzz_check(status, &error, dict);
    mc_source_unref(q);
    mc_source_unref(e);
    mc_state_dict_free(dict);
}

static void check_scales(const mc_adapter *adapter)
{
    for (size_t i = 0; i < adapter->module_count; i++) {
        double scale = 0;
        int64_t experts = 0;
        mc_error error = MC_ERROR_NONE;
        mc_status status = mc_adapter_experts(adapter, &adapter->modules[i], &experts, &error);
        if (status == MC_OK)
            status = mc_adapter_scale(adapter, &adapter->modules[i], experts, &scale, &error);
        if (status == MC_OK)
            fuzz_require(experts == 1 || experts == 2, "there are as many experts as rows allow");
        else
            fuzz_require(error.text[0] != '\0', "errors have text");
    }
}

/* Two of the same: what they are merged to has as many modules. */
static void merge(const mc_lora *lora)
{
    const mc_lora *const adapters[] = {lora, lora};
    mc_lora_modules modules = {0};
    mc_error error = MC_ERROR_NONE;
    const mc_status status = mc_lora_modules_match(adapters, 2, &modules, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK)
        fuzz_require(modules.count == lora->adapter.module_count, "modules are matched");
    mc_lora_modules_free(&modules);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_lora *lora = NULL;
    mc_error error = MC_ERROR_NONE;
    fuzz_put("lora/adapter_config.json", data, size);
    fuzz_put("lora/adapter_model.safetensors", weights, sizeof weights - 1);
    const mc_status status = mc_lora_open("lora", NULL, &lora, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK) {
        fuzz_require(lora->adapter.module_count == 2, "it has its modules");
        check_scales(&lora->adapter);
        merge(lora);
        apply(&lora->adapter);
    } else if (status != MC_NO_MEMORY) {
        fuzz_require(strncmp(error.file, "lora", 4) == 0, "what is wrong is in the folder");
    }
    mc_lora_close(lora);
}

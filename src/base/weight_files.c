#include "base/weight_files.h"

const char *const mc_weight_files[MC_WEIGHT_FILES] = {
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
};

const char *const mc_adapter_files[MC_ADAPTER_FILES] = {
    "adapter_model.safetensors",
    "adapter_model.bin",
};

#include "base/weight_files.h"

const char *const mc_weight_files[MC_WEIGHT_FILES] = {
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    MC_DIFFUSERS_STEM ".safetensors",
    MC_DIFFUSERS_STEM ".safetensors.index.json",
    MC_DIFFUSERS_STEM ".bin",
    MC_DIFFUSERS_STEM ".bin.index.json",
};

const char *const mc_adapter_files[MC_ADAPTER_FILES] = {
    "adapter_model.safetensors",
    "adapter_model.bin",
};

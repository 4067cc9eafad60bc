/* How adapters are merged: the methods that only adapters have, and those of the library. */
#ifndef MC_LORA_METHODS_H
#define MC_LORA_METHODS_H

#include <mergecraft/lora.h>

#include "lora/combine.h"

/* What the combination is applied to. */
typedef enum mc_lora_space {
    MC_LORA_CAT,     /* factors side by side: exact */
    MC_LORA_FACTORS, /* A and B each for itself */
    MC_LORA_PRODUCT, /* the sum of updates, by way of the factors */
    MC_LORA_UPDATES, /* whole updates B·A */
    MC_LORA_KNOTS,   /* coordinates in the joint left singular basis of all updates */
    MC_LORA_CORE,    /* coordinates in the bases of all A and of all B */
    MC_LORA_METHOD   /* whole updates, by a method of the library */
} mc_lora_space;

typedef struct mc_lora_method {
    mc_method method; /* name, help and parameters; without functions */
    mc_lora_space space;
    mc_combination combination;
} mc_lora_method;

/* The method of that name; NULL if it does not exist. */
const mc_lora_method *mc_lora_method_find(const char *name);

/* The nearest name, for "did you mean"; NULL if none is near. */
const char *mc_lora_method_near(const char *name);

#endif

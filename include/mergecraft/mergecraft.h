/*
 * libmergecraft: merges fine-tuned checkpoints.
 *
 *     error.h, dtype.h   statuses, errors, element types
 *     source.h           tensors that are read piece by piece
 *     state_dict.h       names → tensors, with lazy arithmetic
 *     hub.h              models and data sets of the Hugging Face Hub
 *     model.h            a checkpoint with its configuration
 *     method.h           merge methods, built-in and your own
 *     tile.h, random.h   arithmetic on tiles and random numbers, for methods
 *     merge.h            dict_map, model_merge, plans
 *     compare.h          how models differ
 *     decompress.h       models of single tasks, rebuilt from a merge with emr
 *     report.h           HTML reports on merges and searches
 *     lora.h             LoRA adapters: merged into one, extracted from a fine-tuned model
 *     recipe.h           recipes in YAML, as mergekit reads them
 *     transplant.h       give a model the tokenizer of another one
 *     plugin.h           methods from C files and shared objects
 *     tokenizer.h        text → token ids, as a model reads them
 *     glue.h             GLUE: tasks, data sets, metrics
 *     pipeline.h         classify texts, score a model on GLUE
 *     bench.h            compare merge methods on several tasks
 *     search.h           search for the parameters of the best merge
 *     testing.h          apply a layer method to arrays, to test it
 *     text.h             suggestions for typing errors, sizes for people
 */
#ifndef MERGECRAFT_MERGECRAFT_H
#define MERGECRAFT_MERGECRAFT_H

#include <mergecraft/bench.h>
#include <mergecraft/compare.h>
#include <mergecraft/decompress.h>
#include <mergecraft/dtype.h>
#include <mergecraft/error.h>
#include <mergecraft/glue.h>
#include <mergecraft/hub.h>
#include <mergecraft/lora.h>
#include <mergecraft/merge.h>
#include <mergecraft/method.h>
#include <mergecraft/model.h>
#include <mergecraft/observe.h>
#include <mergecraft/pipeline.h>
#include <mergecraft/plugin.h>
#include <mergecraft/random.h>
#include <mergecraft/recipe.h>
#include <mergecraft/report.h>
#include <mergecraft/search.h>
#include <mergecraft/source.h>
#include <mergecraft/state_dict.h>
#include <mergecraft/testing.h>
#include <mergecraft/text.h>
#include <mergecraft/tile.h>
#include <mergecraft/tokenizer.h>
#include <mergecraft/transplant.h>
#include <mergecraft/version.h>

#endif

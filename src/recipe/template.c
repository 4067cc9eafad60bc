#include "recipe/template.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"

#include <string.h>

#define FILE_LIMIT (INT64_C(16) << 20)

enum { LONGEST_NAME = 256, SHORTEST_TEMPLATE = 20 };

/* ---- templates by name ----------------------------------------------------------------------- */
static const char alpaca[] =
    "{%- for message in messages if message['role'] == 'system' %}"
    "{%- if loop.last %}{{ message['content'] | trim }}{{ '\\n\\n' }}{% endif %}{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}### Instruction:\n{{ message['content'] | trim }}\n\n"
    "{%- elif message['role'] == 'assistant' %}### Response:\n{{ message['content'] | trim }}\n\n"
    "{%- elif message['role'] == 'user_context' %}### Input:\n{{ message['content'] | trim }}\n\n"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}### Response:\n{% endif %}";

static const char chatml[] =
    "{%- for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

static const char exaone[] = "{%- for message in messages %}"
                             "{%- if loop.first and message['role'] != 'system' %}"
                             "{{ '[|system|][|endofturn|]\\n' }}{%- endif %}"
                             "{{ '[|' + message['role'] + '|]' + message['content'] }}"
                             "{%- if message['role'] == 'user' %}{{ '\\n' }}"
                             "{%- else %}{{ '[|endofturn|]\\n' }}{%- endif %}"
                             "{%- endfor %}"
                             "{%- if add_generation_prompt %}{{ '[|assistant|]' }}{%- endif %}";

static const char llama3[] =
    "{%- for message in messages %}"
    "{%- if loop.first %}{{ bos_token }}{%- endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ (message['content'] | trim) + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}";

static const char mistral[] =
    "{%- if messages and messages[0]['role'] == 'system' %}"
    "{%- set opening = messages[0]['content'] + '\\n\\n' %}{%- set turns = messages[1:] %}"
    "{%- else %}{%- set opening = '' %}{%- set turns = messages %}{%- endif %}"
    "{{ bos_token }}"
    "{%- for message in turns %}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('expected user and assistant in turn') }}{%- endif %}"
    "{%- if message['role'] == 'user' %}"
    "{{ ' [INST] ' + (opening if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{%- else %}{{ ' ' + message['content'] + eos_token }}{%- endif %}"
    "{%- endfor %}";

static const struct {
    const char *name, *text;
} templates[] = {{"alpaca", alpaca},
                 {"chatml", chatml},
                 {"exaone", exaone},
                 {"llama3", llama3},
                 {"mistral", mistral}};

enum { TEMPLATES = sizeof templates / sizeof *templates };

static const char *template_of_name(const char *name)
{
    for (size_t i = 0; i < TEMPLATES; i++)
        if (strcmp(templates[i].name, name) == 0)
            return templates[i].text;
    return NULL;
}

/* ---- templates of models --------------------------------------------------------------------- */
static mc_status load(const char *folder, const char *name, char **out, mc_error *error)
{
    size_t size = 0;
    char *const path = mc_format("%s/%s", folder, name);
    mc_error found = MC_ERROR_NONE;
    *out = NULL;
    if (!path)
        return mc_fail_memory(error);
    const mc_status status = mc_file_load(path, FILE_LIMIT, out, &size, &found);
    mc_free(path);
    if (status == MC_OK || status == MC_NOT_FOUND)
        return MC_OK;
    if (error)
        *error = found;
    return status;
}

/* The text in tokenizer_config.json, or the one called "default" of several. */
static const char *template_in(const json_t *config)
{
    const json_t *const value = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *const one = json_array_get(value, i);
        const char *const name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    return json_string_value(value);
}

/* A model's chat template in new memory; NULL if it has none. */
static mc_status template_of_model(const mc_model *model, char **out, mc_error *error)
{
    const char *const folder = mc_model_folder(model);
    char *text = NULL;
    json_t *config = NULL;
    *out = NULL;
    if (!folder)
        return MC_OK;
    MC_TRY(load(folder, "chat_template.jinja", out, error));
    if (*out)
        return MC_OK;
    MC_TRY(load(folder, "tokenizer_config.json", &text, error));
    if (!text)
        return MC_OK;
    mc_status status = mc_json_parse(text, strlen(text), &config, error);
    const char *const found = status == MC_OK ? template_in(config) : NULL;
    if (found && !(*out = mc_strdup(found)))
        status = mc_fail_memory(error);
    json_decref(config);
    mc_free(text);
    return status;
}

static bool same_text(const char *a, const char *b)
{
    static const char blank[] = " \t\r\n";
    a += strspn(a, blank);
    b += strspn(b, blank);
    size_t a_size = strlen(a), b_size = strlen(b);
    while (a_size > 0 && strchr(blank, a[a_size - 1]))
        a_size--;
    while (b_size > 0 && strchr(blank, b[b_size - 1]))
        b_size--;
    return a_size == b_size && memcmp(a, b, a_size) == 0;
}

/* The text that most models have, the first of equally frequent ones; NULL: none has any. */
static const char *most_frequent(char *const *texts, size_t count)
{
    const char *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        size_t frequency = 0;
        for (size_t k = 0; texts[i] && k < count; k++)
            frequency += texts[k] && same_text(texts[i], texts[k]);
        if (frequency > most) {
            most = frequency;
            best = texts[i];
        }
    }
    return best;
}

static mc_status put(mc_outfit *outfit, const char *text, mc_error *error)
{
    mc_outfit_remove(outfit, "chat_template.json");
    return mc_outfit_put(outfit, "chat_template.jinja", text, strlen(text), error);
}

static mc_status choose(const mc_recipe_models *models, mc_outfit *outfit, mc_report *report,
                        mc_error *error)
{
    char **const texts = mc_alloc_zero(models->count, sizeof *texts);
    mc_status status = texts ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < models->count; i++)
        status = template_of_model(models->models[i], &texts[i], error);
    const char *const best = status == MC_OK ? most_frequent(texts, models->count) : NULL;
    if (best)
        status = put(outfit, best, error);
    else if (status == MC_OK)
        status = mc_report_add(report, error, "no model has a chat template to choose");
    for (size_t i = 0; texts && i < models->count; i++)
        mc_free(texts[i]);
    mc_free(texts);
    return status;
}

mc_status mc_recipe_set_template(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const mc_recipe_models *models, mc_outfit *outfit,
                                 mc_report *report, mc_error *error)
{
    const mc_yaml *const option = stage->chat_template;
    const char *const text = option->text;
    const size_t length = strlen(text);
    const bool is_name = length < LONGEST_NAME && !strpbrk(text, "\n{");
    if (strcmp(text, "auto") == 0)
        return choose(models, outfit, report, error);
    if (is_name && template_of_name(text))
        return put(outfit, template_of_name(text), error);
    if (length >= SHORTEST_TEMPLATE && strchr(text, '{'))
        return put(outfit, text, error);
    return mc_yaml_fail(error, MC_FORMAT, schema->file, option->line, option->column,
                        "expected a template, \"auto\", or one of alpaca, chatml, exaone, llama3 "
                        "and mistral, found '%s'",
                        text);
}

#include "merge/chat_template.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "tokenizer/splice.h"

#include <string.h>

enum { LONGEST_NAME = 256, SHORTEST_TEMPLATE = 20 };

/* ---- templates by name ----------------------------------------------------------------------- */
static const char alpaca[] =
    "{%- for message in messages if message['role'] == 'system' %}"
    "{%- if loop.last %}{{ message['content'] | trim + '\\n\\n' }}{%- endif %}{%- endfor %}"
    "{%- set titles = {'user': 'Instruction', 'assistant': 'Response', 'user_context': 'Input'} %}"
    "{%- for message in messages if message['role'] in titles %}"
    "{{ '### ' + titles[message['role']] + ':\\n' + message['content'] | trim }}"
    "{%- if not loop.last or (add_generation_prompt and message['role'] != 'assistant') %}"
    "{{ '\\n\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
    "{{ '### Response:\\n' }}{%- endif %}";

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
/*
 * The template in tokenizer_config.json. It is a string, or a list or an object of named ones, of
 * which "default" is used.
 */
static const char *template_in(const json_t *config)
{
    const json_t *const value = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *const one = json_array_get(value, i);
        const char *const name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    return json_string_value(json_is_object(value) ? json_object_get(value, "default") : value);
}

/* How many templates of other names the configuration has, such as "tool_use". */
static size_t count_other(const json_t *config)
{
    const json_t *const value = json_object_get(config, "chat_template");
    const size_t all = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    return all - (all > 0 && template_in(config));
}

mc_status mc_chat_template_of(const mc_tokenizer_owner *model, char **out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    json_t *config = NULL;
    MC_TRY(mc_tokenizer_text(model, "chat_template.jinja", out, &size, error));
    if (*out)
        return MC_OK;
    MC_TRY(mc_tokenizer_text(model, "tokenizer_config.json", &text, &size, error));
    if (!text)
        return MC_OK;
    mc_status status = mc_in_file(error, "tokenizer_config.json",
                                  mc_json_parse(text, size, &config, error));
    const char *const found = status == MC_OK ? template_in(config) : NULL;
    if (found && !(*out = mc_strdup(found)))
        status = mc_fail_memory(error);
    json_decref(config);
    mc_free(text);
    return status;
}

mc_status mc_chat_template_exists(const mc_tokenizer_owner *model, bool *exists, mc_error *error)
{
    char *text = NULL;
    const mc_status status = mc_chat_template_of(model, &text, error);
    *exists = text != NULL;
    mc_free(text);
    return status;
}

/* Ignores blanks at both ends: editors and JSON writers add line ends. */
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

/*
 * The index of the text that most models have, the first of equally frequent ones; `count` if no
 * model has a text. *equal: the number of other texts that are as frequent.
 */
static size_t most_frequent(char *const *texts, size_t count, size_t *equal)
{
    size_t most = 0, best = count;
    *equal = 0;
    for (size_t i = 0; i < count; i++) {
        size_t frequency = 0;
        for (size_t k = 0; texts[i] && k < count; k++)
            frequency += texts[k] && same_text(texts[i], texts[k]);
        if (frequency > most) {
            most = frequency;
            best = i;
            *equal = 0;
        } else if (frequency > 0 && frequency == most && !same_text(texts[i], texts[best])) {
            /* Several models may have this text: count it once. */
            bool seen = false;
            for (size_t k = 0; k < i; k++)
                seen |= texts[k] && same_text(texts[i], texts[k]);
            *equal += !seen;
        }
    }
    return best;
}

/* Reports a guess or a template that is left out, or fails under strict. */
static mc_status note(bool strict, mc_report *report, mc_error *error, const char *format, ...)
    MC_PRINTF(4, 5);

static mc_status note(bool strict, mc_report *report, mc_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *const text = mc_format_list(format, arguments);
    va_end(arguments);
    const mc_status status = !text    ? mc_fail_memory(error)
                             : strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", text)
                                      : mc_report_add(report, error, "%s", text);
    mc_free(text);
    return status;
}

static mc_status choose(const mc_chat_template_choice *choice, char **out, mc_report *report,
                        mc_error *error)
{
    const mc_tokenizer_owner *const models = choice->models;
    const size_t count = choice->count;
    char **const texts = mc_alloc_zero(count, sizeof *texts);
    size_t equal = 0, best = count;
    mc_status status = texts ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        status = mc_chat_template_of(&models[i], &texts[i], error);
    if (status == MC_OK)
        best = most_frequent(texts, count, &equal);
    if (equal > 0)
        status = note(choice->strict, report, error,
                      "chat template: %zu templates are equally common; that of '%s' is used",
                      equal + 1, models[best].name);
    if (status == MC_OK && best < count && !(*out = mc_strdup(texts[best])))
        status = mc_fail_memory(error);
    for (size_t i = 0; texts && i < count; i++)
        mc_free(texts[i]);
    mc_free(texts);
    return status;
}

/* ---- special tokens of a template ------------------------------------------------------------ */

/* What the checks of a template need. */
typedef struct checker {
    const mc_tokenizer_owner *result;
    const mc_document *vocabulary; /* NULL: it is not listed, and nothing can be checked */
    bool strict;
    mc_report *report;
    mc_error *error;
} checker;

static bool has_token(const mc_document *vocabulary, const char *text, size_t size)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(vocabulary, &count);
    for (size_t i = 0; i < count; i++)
        if (strncmp(tokens[i].text, text, size) == 0 && tokens[i].text[size] == '\0')
            return true;
    return false;
}

static mc_status missing(const checker *c, const char *text, size_t size)
{
    if (c->strict)
        return mc_fail(c->error, MC_MISMATCH,
                       "the chat template needs the special token '%.*s', which the vocabulary "
                       "lacks",
                       (int)size, text);
    return mc_report_add(c->report, c->error,
                         "the chat template needs the special token '%.*s', which the vocabulary "
                         "lacks",
                         (int)size, text);
}

/*
 * The size of a special token at the start of a text, <|word|> or [|word|]; 0 if there is none.
 * Only such tokens are recognised inside a template, as other text may be anything.
 */
static size_t special_size(const char *text)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    const char close = *text == '<' ? '>' : ']';
    if ((*text != '<' && *text != '[') || text[1] != '|')
        return 0;
    const size_t length = strspn(text + 2, word);
    return length > 0 && text[2 + length] == '|' && text[3 + length] == close ? length + 4 : 0;
}

static mc_status check_written(const checker *c, const char *text)
{
    for (const char *at = text; c->vocabulary && *at; at++) {
        const size_t size = special_size(at);
        bool repeated = false;
        for (const char *before = text; size && !repeated && before < at; before++)
            repeated = strncmp(before, at, size) == 0;
        if (size > 0 && !repeated && !has_token(c->vocabulary, at, size))
            MC_TRY(missing(c, at, size));
    }
    return MC_OK;
}

/*
 * Checks the token behind a variable such as bos_token, which the tokenizer's configuration names.
 */
static mc_status check_named(const checker *c, const json_t *config, const char *name)
{
    const json_t *const value = json_object_get(config, name);
    const json_t *const content = json_object_get(value, "content");
    const char *const text = json_string_value(content ? content : value);
    if (!text)
        return missing(c, name, strlen(name));
    return !c->vocabulary || has_token(c->vocabulary, text, strlen(text))
               ? MC_OK
               : missing(c, text, strlen(text));
}

static mc_status load_json(const checker *c, const char *name, json_t **out)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_tokenizer_text(c->result, name, &text, &size, c->error));
    const mc_status status = text ? mc_json_parse(text, size, out, c->error) : MC_OK;
    mc_free(text);
    return mc_in_file(c->error, name, status);
}

static mc_status check_variables(const checker *c, const char *text)
{
    static const char *const names[] = {"bos_token", "eos_token"};
    json_t *config = NULL, *map = NULL;
    mc_status status = load_json(c, "tokenizer_config.json", &config);
    if (status == MC_OK)
        status = load_json(c, "special_tokens_map.json", &map);
    for (int i = 0; status == MC_OK && (config || map) && i < 2; i++)
        if (strstr(text, names[i]))
            status = check_named(c, json_object_get(config, names[i]) ? config : map, names[i]);
    json_decref(config);
    json_decref(map);
    return status;
}

/* ---- setting --------------------------------------------------------------------------------- */

/*
 * Writes the template into the configuration too if that has one. Older versions of transformers
 * read it there, and the two must agree.
 */
static mc_status put_in_config(mc_outfit *outfit, const char *text, size_t *others, mc_error *error)
{
    static const char name[] = "tokenizer_config.json";
    char *config = NULL, *changed = NULL;
    size_t size = 0, changed_size = 0;
    mc_span old;
    json_t *parsed = NULL;
    MC_TRY(mc_outfit_text(outfit, name, &config, &size, error));
    mc_status status = config ? mc_json_parse(config, size, &parsed, error) : MC_OK;
    *others = parsed ? count_other(parsed) : 0;
    if (status == MC_OK && config &&
        mc_splice_find(config, mc_splice_root(config, size), "chat_template", &old)) {
        json_t *const string = json_string(text);
        char *const value = string ? mc_json_write(string, JSON_ENCODE_ANY) : NULL;
        status = value ? mc_splice_set(config, size, mc_splice_root(config, size), "chat_template",
                                       value, &changed, &changed_size, error)
                       : mc_fail_memory(error);
        json_decref(string);
        mc_free(value);
    }
    if (status == MC_OK && changed)
        status = mc_outfit_put(outfit, name, changed, changed_size, error);
    json_decref(parsed);
    mc_free(changed);
    mc_free(config);
    return mc_in_file(error, name, status);
}

static mc_status put(mc_outfit *outfit, const char *text, bool strict, mc_report *report,
                     mc_error *error)
{
    size_t others = 0;
    mc_outfit_remove(outfit, "chat_template.json");
    MC_TRY(mc_outfit_put(outfit, "chat_template.jinja", text, strlen(text), error));
    MC_TRY(put_in_config(outfit, text, &others, error));
    if (others == 0)
        return MC_OK;
    return note(strict, report, error,
                "tokenizer_config.json: %zu named chat template%s left out: the result has one",
                others, others == 1 ? " is" : "s are");
}

static mc_status check(const mc_chat_template_choice *choice, const char *text,
                       const mc_outfit *outfit, mc_report *report, mc_error *error)
{
    const mc_tokenizer_owner result = {choice->donor, outfit, "the result"};
    mc_document *vocabulary = NULL;
    bool own;
    MC_TRY(mc_tokenizer_document(&result, &vocabulary, &own, error));
    const checker c = {&result, vocabulary, choice->complete, report, error};
    mc_status status = check_written(&c, text);
    if (status == MC_OK)
        status = check_variables(&c, text);
    mc_document_free(vocabulary);
    return status;
}

/* The text of a template or of a name; NULL: it is neither. */
static const char *text_of(const char *text)
{
    /* A name is short and has none of the marks of a Jinja template. */
    const bool is_name = strlen(text) < LONGEST_NAME && !strpbrk(text, "\n{");
    const char *const named = is_name ? template_of_name(text) : NULL;
    if (named)
        return named;
    return strlen(text) >= SHORTEST_TEMPLATE && strchr(text, '{') ? text : NULL;
}

mc_status mc_chat_template_set(const mc_chat_template_choice *choice, mc_outfit *outfit,
                               mc_report *report, mc_error *error)
{
    char *chosen = NULL;
    const bool is_auto = strcmp(choice->text, "auto") == 0;
    if (is_auto)
        MC_TRY(choose(choice, &chosen, report, error));
    if (is_auto && !chosen)
        return mc_report_add(report, error, "no model has a chat template to choose");
    const char *const text = chosen ? chosen : text_of(choice->text);
    if (!text)
        return mc_fail(error, MC_USAGE,
                       "expected a template, \"auto\", or one of alpaca, chatml, exaone, llama3 "
                       "and mistral, found '%s'",
                       choice->text);
    mc_status status = put(outfit, text, choice->strict, report, error);
    if (status == MC_OK)
        status = check(choice, text, outfit, report, error);
    mc_free(chosen);
    return status;
}

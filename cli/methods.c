/* mergecraft methods: lists and describes the merge methods. */
#include "lookup.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

typedef struct methods_settings {
    common_options common;
    bool names;
} methods_settings;

static const option options[] = {{"names", '\0', OPTION_FLAG, offsetof(methods_settings, names),
                                  NULL, "print names only, one per line"},
                                 COMMON_OPTIONS("The object has methods, a list of descriptions."),
                                 {NULL}};

/* ---- descriptors as text -------------------------------------------------------- */

static const char *const scope_names[] = {[MC_ELEMENTWISE] = "elementwise",
                                          [MC_ROW] = "row",
                                          [MC_TENSOR] = "tensor",
                                          [MC_MODEL] = "model"};
static const char *const type_names[] = {
    [MC_NUMBER] = "number", [MC_INTEGER] = "integer", [MC_FLAG] = "flag", [MC_CHOICE] = "choice"};

static bool has_range(const mc_param *param)
{
    /* A method without limits leaves both at 0. */
    return param->type != MC_FLAG && param->type != MC_CHOICE &&
           (param->minimum != 0 || param->maximum != 0);
}

static void add_range(table *rows, const mc_param *param)
{
    if (param->type == MC_CHOICE) {
        char *list = format_text("%s", param->choices[0]);
        for (const char *const *choice = param->choices + 1; *choice; choice++) {
            char *const longer = format_text("%s|%s", list, *choice);
            free(list);
            list = longer;
        }
        table_add(rows, "%s", list);
        free(list);
    } else if (has_range(param)) {
        table_add(rows, "%g to %g", param->minimum, param->maximum);
    } else {
        table_add(rows, "%s", param->type == MC_FLAG ? "true|false" : "any");
    }
}

static void add_default(table *rows, const mc_param *param)
{
    if (param->required) {
        table_add(rows, "required");
        return;
    }
    switch (param->type) {
    case MC_NUMBER:
    case MC_INTEGER:
        table_add(rows, "%.15g", param->fallback);
        break;
    case MC_FLAG:
        table_add(rows, "%s", param->fallback != 0 ? "true" : "false");
        break;
    case MC_CHOICE:
        table_add(rows, "%s", param->choices[(size_t)param->fallback]);
        break;
    }
}

static void add_models(table *rows, const mc_method *method)
{
    /* 0 means no limit; a merge has at least one model. */
    const size_t least = method->min_models ? method->min_models : 1;
    table_add(rows, "models");
    if (method->max_models == 0)
        table_add(rows, "%zu or more", least);
    else if (method->max_models == least)
        table_add(rows, "%zu", least);
    else
        table_add(rows, "%zu to %zu", least, method->max_models);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_params(const mc_method *method)
{
    static const char *const titles[] = {"PARAMETER", "TYPE", "RANGE", "DEFAULT", "MEANING"};
    table rows = {.titles = titles, .columns = 5};
    if (!method->params || !method->params->name)
        return;
    for (const mc_param *param = method->params; param->name; param++) {
        table_add(&rows, "%s", param->name);
        table_add(&rows, "%s%s", type_names[param->type], param->per_input ? ", per model" : "");
        add_range(&rows, param);
        add_default(&rows, param);
        table_add(&rows, "%s", param->help ? param->help : "");
    }
    putchar('\n');
    table_finish(&rows, stdout);
}

static void print_method(const mc_method *method)
{
    table rows = {.columns = 2};
    char *const name = method_name(method);
    table_add(&rows, "method");
    table_add(&rows, "%s", name);
    table_add(&rows, "what");
    table_add(&rows, "%s", method->help ? method->help : "");
    table_add(&rows, "scope");
    table_add(&rows, "%s", scope_names[method->scope]);
    add_models(&rows, method);
    table_add(&rows, "base");
    table_add(&rows, "%s",
              method->needs_base   ? "needed: --base MODEL"
              : method->takes_base ? "used if given: --base MODEL"
                                   : "not needed");
    for (const mc_side_input *side = method->sides; side && side->name; side++) {
        table_add(&rows, "side");
        table_add(&rows, "needed: --side %s=MODEL,...%s", side->name,
                  side->optional ? "; it may lack tensors" : "");
    }
    if (method->reproducibility == MC_SAME_ON_MACHINE) {
        table_add(&rows, "bits");
        table_add(&rows, "the same for any number of threads; other CPUs differ by rounding");
    }
    if (method->paper) {
        table_add(&rows, "paper");
        table_add(&rows, "%s", method->paper);
    }
    table_finish(&rows, stdout);
    print_params(method);
    free(name);
}

static void print_list(const mc_method *const *methods, size_t count)
{
    static const char *const titles[] = {"METHOD", "WHAT"};
    table rows = {.titles = titles, .columns = 2};
    for (size_t i = 0; i < count; i++) {
        char *const name = method_name(methods[i]);
        table_add(&rows, "%s", name);
        table_add(&rows, "%s%s", methods[i]->help ? methods[i]->help : "",
                  methods[i]->needs_base ? " (needs --base)" : "");
        free(name);
    }
    table_finish(&rows, stdout);
}

static void print_names(const mc_method *const *methods, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *const name = method_name(methods[i]);
        puts(name);
        free(name);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *json_default(const mc_param *param)
{
    if (param->required)
        return json_null();
    switch (param->type) {
    case MC_NUMBER:
        return json_real(param->fallback);
    case MC_INTEGER:
        return json_integer((json_int_t)param->fallback);
    case MC_FLAG:
        return json_boolean(param->fallback != 0);
    case MC_CHOICE:
        return json_text(param->choices[(size_t)param->fallback]);
    }
    return json_null();
}

static size_t name_count(const char *const *names)
{
    size_t count = 0;
    while (names && names[count])
        count++;
    return count;
}

static json_t *json_param(const mc_param *param)
{
    json_t *const object = json_pack("{s:o, s:s, s:o, s:o, s:b, s:b}", "name",
                                     json_text(param->name), "type", type_names[param->type],
                                     "help", json_text(param->help), "default", json_default(param),
                                     "per_input", param->per_input, "required", param->required);
    if (param->type == MC_CHOICE)
        json_object_set_new(object, "choices",
                            json_texts(param->choices, name_count(param->choices)));
    if (has_range(param)) {
        json_object_set_new(object, "minimum", json_real(param->minimum));
        json_object_set_new(object, "maximum", json_real(param->maximum));
    }
    return object;
}

static json_t *json_sides(const mc_method *method)
{
    json_t *const names = json_array();
    for (const mc_side_input *side = method->sides; side && side->name; side++)
        json_array_append_new(names, json_text(side->name));
    return names;
}

static json_t *json_method(const mc_method *method)
{
    json_t *const params = json_array();
    for (const mc_param *param = method->params; param && param->name; param++)
        json_array_append_new(params, json_param(param));
    char *const name = method_name(method);
    json_t *const object = json_pack(
        "{s:o, s:o, s:o, s:s, s:b, s:b, s:b, s:I, s:o, s:o, s:o}", "name", json_text(name), "help",
        json_text(method->help), "paper", json_text(method->paper), "scope",
        scope_names[method->scope], "needs_base", method->needs_base, "takes_base",
        method->takes_base, "same_bits_everywhere", method->reproducibility == MC_SAME_EVERYWHERE,
        "min_models", (json_int_t)(method->min_models ? method->min_models : 1), "max_models",
        method->max_models ? json_integer((json_int_t)method->max_models) : json_null(), "sides",
        json_sides(method), "parameters", params);
    free(name);
    return object;
}

static void print_methods_json(const mc_method *const *methods, size_t count)
{
    json_t *const array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_method(methods[i]));
    print_json(json_pack("{s:o}", "methods", array));
}

/* ---- the subcommand -------------------------------------------------------------------------- */

static void print_methods(const mc_method *const *methods, size_t count,
                          const methods_settings *settings, bool details)
{
    if (settings->common.json)
        print_methods_json(methods, count);
    else if (settings->names)
        print_names(methods, count);
    else if (details)
        print_method(methods[0]);
    else
        print_list(methods, count);
}

/*
 * The built-in methods, or those of a file.
 *
 * A file may hold several methods; find_method then leaves the choice open.
 */
static void print_all(const mc_plugin *plugin, const methods_settings *settings)
{
    const size_t count = plugin ? mc_plugin_method_count(plugin) : mc_method_count();
    const mc_method **const methods = allocate(count * sizeof *methods);
    for (size_t i = 0; i < count; i++)
        methods[i] = plugin ? mc_plugin_method(plugin, i) : mc_method_at(i);
    print_methods(methods, count, settings, false);
    free(methods);
}

static mc_status list_methods(const methods_settings *settings, const text_list *operands,
                              mc_error *error)
{
    method_choice choice = {0};
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected at most one method, found %zu", operands->count);
    const mc_status status = operands->count ? find_method(operands->items[0], &choice, error)
                                             : MC_OK;
    if (status == MC_OK && choice.method)
        print_methods(&choice.method, 1, settings, true);
    else if (status == MC_OK)
        print_all(choice.plugin, settings);
    close_method(&choice);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    methods_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status) &&
        list_methods(&settings, &operands, &error) != MC_OK)
        status = report_failure(self, &settings.common, &error);
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_methods = {
    .name = "methods",
    .arguments = "[METHOD] [options]",
    .help = "List the merge methods, or describe one.",
    .text = "METHOD is a name, or a .c or .so file that defines methods.\n",
    .example = "  mergecraft methods median\n",
    .options = options,
    .run = run};

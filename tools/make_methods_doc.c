/* Writes docs/methods.md on standard output: what the descriptors of the built-in methods say. */
#include <mergecraft/mergecraft.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char introduction[] =
    "# Methods\n"
    "\n"
    "<!-- Written by `make docs` from the methods themselves: change it there. -->\n"
    "\n"
    "*Task vector*: a fine-tuned model minus the base. *Base*: whether the method needs\n"
    "`--base MODEL`; the base is never one of the models that are merged. Set parameters by\n"
    "`-p NAME=VALUE`. `mergecraft methods NAME` prints what this page describes. Where a method\n"
    "differs from the Python original of the same name, and why:\n"
    "[coming from mergecraft 0.x](coming-from-mergecraft-python.md). Writing a method:\n"
    "[CONTRIBUTING](../CONTRIBUTING.md).\n"
    "\n"
    "Most methods that average models or task vectors have the parameter `weights`, one value per\n"
    "model. The others sum task vectors (`breadcrumbs`, `consensus`), choose values (`median`,\n"
    "`max_magnitude`, `magmax`, `emr`), find the weights themselves (`adamerging`, `metagpt`,\n"
    "`pcb`), or make the models' parts equal or orthogonal (`iso_c`, `iso_cts`, `opcm`, `knots`,\n"
    "`wudi`, `localize_stitch`), which undoes a weight. To weight a model there, first merge it\n"
    "with the base, as in `mergecraft merge task A --base BASE -p scale=.3`.\n"
    "\n"
    "| method | what | base | models |\n"
    "|---|---|---|---|\n";

static const char *base_text(const mc_method *method)
{
    return method->needs_base ? "yes" : "";
}

static void print_models(const mc_method *method)
{
    const size_t least = method->min_models ? method->min_models : 1;
    if (method->max_models == least)
        printf("%zu", least);
    else if (method->max_models)
        printf("%zu to %zu", least, method->max_models);
    else
        printf("%zu or more", least);
}

/* Methods of other families are named with their family. */
static const char *family_of(const mc_method *method)
{
    return strcmp(method->family, "mergecraft") == 0 ? "" : method->family;
}

/* The anchor of a heading has no colon. */
static void print_row(const mc_method *method)
{
    const char *const family = family_of(method), *const colon = *family ? ":" : "";
    printf("| [`%s%s%s`](#%s%s) | %s | %s | ", family, colon, method->name, family, method->name,
           method->help, base_text(method));
    print_models(method);
    puts(" |");
}

static const char *type_text(const mc_param *param)
{
    static const char *const names[][2] = {{"number", "number per model"},
                                           {"integer", "integer per model"},
                                           {"flag", "flag per model"},
                                           {"choice", "choice per model"}};
    return names[param->type][param->per_input];
}

static void print_range(const mc_param *param)
{
    for (size_t i = 0; param->choices && param->choices[i]; i++)
        printf("%s`%s`", i ? ", " : "", param->choices[i]);
    if (param->minimum < param->maximum)
        printf("%g to %g", param->minimum, param->maximum);
}

static void print_default(const mc_param *param)
{
    if (param->required)
        printf("required");
    else if (param->type == MC_CHOICE)
        printf("`%s`", param->choices[(size_t)param->fallback]);
    else if (param->type == MC_FLAG)
        printf("%s", param->fallback != 0 ? "true" : "false");
    else
        printf("%g", param->fallback);
}

static void print_parameters(const mc_method *method)
{
    puts("\n| parameter | what | type | range | default |\n|---|---|---|---|---|");
    for (const mc_param *param = method->params; param->name; param++) {
        printf("| `%s` | %s | %s | ", param->name, param->help, type_text(param));
        print_range(param);
        printf(" | ");
        print_default(param);
        puts(" |");
    }
}

static void print_method(const mc_method *method)
{
    const char *const family = family_of(method);
    printf("\n## %s%s%s\n\n%c%s.%s\n", family, *family ? ":" : "", method->name,
           toupper(method->help[0]), method->help + 1, method->needs_base ? " Needs a base." : "");
    if (method->reproducibility == MC_SAME_ON_MACHINE)
        puts("Uses LAPACK: the same bits on one machine for any number of threads; results on "
             "other\n"
             "CPUs differ by rounding.");
    if (method->paper)
        printf("Source: %s.\n", method->paper);
    if (method->params)
        print_parameters(method);
}

int main(void)
{
    fputs(introduction, stdout);
    for (size_t i = 0; i < mc_method_count(); i++)
        print_row(mc_method_at(i));
    for (size_t i = 0; i < mc_method_count(); i++)
        print_method(mc_method_at(i));
    return fflush(stdout) == 0 ? 0 : 1;
}

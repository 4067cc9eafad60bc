/*
 * Writes docs/methods.md on standard output: the descriptors of the built-in methods, and notes on
 * what the papers leave open.
 */
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
    "`--base MODEL`; the base is never one of the models that are merged. Set parameters with\n"
    "`-p NAME=VALUE`. `mergecraft methods NAME` prints one method.\n"
    "[Coming from mergecraft 0.x](coming-from-mergecraft-python.md) lists where and why methods\n"
    "differ from the Python originals of the same name. [CONTRIBUTING](../CONTRIBUTING.md)\n"
    "describes how to write a method.\n"
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

static const char matrices[] =
    "\n"
    "## Matrices\n"
    "\n"
    "To methods that use LAPACK, a *matrix* is a tensor of rank 2 that is neither an\n"
    "embedding (of tokens, positions or token types) nor an output or classification head.\n"
    "With `--matrices PATTERN` it is any tensor of rank 2 that matches. All other tensors\n"
    "become the base plus the mean of the task vectors (`iso_c`, `iso_cts`, `tsvm`, `wudi`),\n"
    "the base plus their sum, scaled as in matrices (`opcm`), the mean of the models\n"
    "(`cart`), or the base (`knots`). `boost` applies only `alpha` to them, and `svc` leaves\n"
    "them as they are. `regmean` and `regmean++` apply to the tensors that have a Gram matrix\n"
    "instead, and average all others. `tsvm` averages matrices with fewer singular directions\n"
    "than models.\n"
    "\n"
    "*Null directions* belong to singular values that are zero up to rounding. Their singular\n"
    "vectors are arbitrary, so methods drop them where they would count:\n"
    "\n"
    "- `boost`, `iso_c`, `iso_cts`, `opcm`, `tsvm`: values up to ε · max(m, n) · the largest\n"
    "  value of an m × n matrix. ε is 2^-23, for float64 weights 2^-52.\n"
    "- `iso_cts`, `tsvm`: the same for singular vectors of several models side by side, but ε\n"
    "  is 2^-42 for float64 weights, as vectors of one direction differ by more than 2^-52.\n"
    "- `wudi` with `solver=exact`: directions in which task vectors have only rounding errors.\n"
    "- `knots`: values up to 1e-5, as in the authors' code.\n";

/* What a method does where its paper leaves it open. */
static const struct {
    const char *family, *name, *text;
} notes[] = {
    {"mergecraft", "fisher",
     "With `normalize`, each model's information is divided by its norm before the floor\n"
     "applies: `relative` takes the mean of the divided values over the tensor and all models,\n"
     "and `clamp_sum` compares their weighted sum over the models with `floor`. `add` weights\n"
     "by (information + floor) / (norm + floor). `clamp_sum` multiplies an element whose sum\n"
     "is below `floor` by sum / floor, so without information it becomes zero. Divided values\n"
     "are small in large tensors: choose a small `floor` there. An element without information\n"
     "becomes the mean of the models under `relative`, and under `add` if norms are equal."},
    {"mergecraft", "iso_cts",
     "If task vectors of low rank differ in size by orders of magnitude, the directions of the\n"
     "small ones are lost in the rounding of the sum, and the result depends on rounding."},
    {"mergecraft", "pcb",
     "A model that equals the base has no weight. If no score of a model exceeds the quantile,\n"
     "all its elements have the weight 1. The authors' code divides 0 by 0 in both cases."},
    {"mergecraft", "svc",
     "After `iso_c` and `iso_cts`, the singular values are equal. Then singular vectors are\n"
     "not unique, nor is the result: it depends on the LAPACK library and the CPU."},
    {"mergekit", "della",
     "An element is kept with the probability density − epsilon. With the probability\n"
     "2 · epsilon, it is compared with another element of its row, drawn at random, and kept if\n"
     "its magnitude is larger (of equal ones, the later counts as larger). So the probability\n"
     "of being kept rises linearly with the rank in the row, as in the paper. Rows run along\n"
     "the last dimension of a tensor."},
    {"mergekit", "della_linear", "Elements are drawn as in [`mergekit:della`](#mergekitdella)."},
};

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

/*
 * Writes a method's heading without the characters that anchors lack, and returns it: "regmean" for
 * regmean++.
 */
static const char *bare_heading(const mc_method *method, char heading[static 64])
{
    const char *const parts[] = {family_of(method), method->name};
    size_t length = 0;
    for (size_t i = 0; i < 2; i++)
        for (const char *at = parts[i]; *at && length < 63; at++)
            if (*at != '+')
                heading[length++] = *at;
    heading[length] = 0;
    return heading;
}

/* Like GitHub: the second heading that would have the anchor "regmean" has "regmean-1". */
static void print_anchor(const mc_method *method)
{
    char heading[64], other[64];
    size_t before = 0;
    bare_heading(method, heading);
    for (size_t i = 0; mc_method_at(i) != method; i++)
        before += strcmp(bare_heading(mc_method_at(i), other), heading) == 0;
    printf(before ? "%s-%zu" : "%s", heading, before);
}

static void print_row(const mc_method *method)
{
    const char *const family = family_of(method), *const colon = *family ? ":" : "";
    printf("| [`%s%s%s`](#", family, colon, method->name);
    print_anchor(method);
    printf(") | %s | %s | ", method->help, base_text(method));
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

static void print_notes(const mc_method *method)
{
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        if (strcmp(notes[i].family, method->family) == 0 &&
            strcmp(notes[i].name, method->name) == 0)
            printf("\n%s\n", notes[i].text);
}

static void print_method(const mc_method *method)
{
    const char *const family = family_of(method);
    printf("\n## %s%s%s\n\n%c%s.%s\n", family, *family ? ":" : "", method->name,
           toupper(method->help[0]), method->help + 1, method->needs_base ? " Needs a base." : "");
    if (method->reproducibility == MC_SAME_ON_MACHINE)
        puts("Gives the same bits for any number of threads on one machine. Other CPUs round\n"
             "computations with [matrices](#matrices) and encoders differently.");
    if (method->paper)
        printf("Source: %s.\n", method->paper);
    print_notes(method);
    if (method->params)
        print_parameters(method);
}

int main(void)
{
    fputs(introduction, stdout);
    for (size_t i = 0; i < mc_method_count(); i++)
        print_row(mc_method_at(i));
    fputs(matrices, stdout);
    for (size_t i = 0; i < mc_method_count(); i++)
        print_method(mc_method_at(i));
    return fflush(stdout) == 0 ? 0 : 1;
}

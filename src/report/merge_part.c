#include "report/merge_part.h"

#include "report/html.h"
#include "report/trials.h"

#include <mergecraft/text.h>

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- a list of facts ------------------------------------------------------------------------- */

static void begin_fact(mc_text *page, const char *name)
{
    mc_text_add(page, "<div><dt>");
    mc_html_name(page, name);
    mc_text_add(page, "</dt><dd>");
}

static void end_fact(mc_text *page)
{
    mc_text_add(page, "</dd></div>\n");
}

/* A JSON value as a reader expects it: texts without quotes, lists with commas. */
static void add_value(mc_text *page, const json_t *value)
{
    if (json_is_string(value)) {
        mc_html_name(page, json_string_value(value));
    } else if (json_is_integer(value)) {
        mc_text_add(page, "%lld", (long long)json_integer_value(value));
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *const item = json_array_get(value, i);
            mc_text_add(page, "%s", i ? ", " : "");
            if (json_is_string(item))
                mc_html_name(page, json_string_value(item));
            else
                mc_html_number(page, json_number_value(item), 6);
        }
    } else if (json_is_object(value)) {
        char *const text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(6));
        page->failed = page->failed || !text;
        mc_html_name(page, text ? text : "");
        free(text);
    } else if (json_is_real(value)) {
        mc_html_number(page, json_real_value(value), 6);
    } else {
        mc_text_add(page, "%s", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "–");
    }
}

/* Nothing if the member is missing, null, empty, or what a merge does anyway (false). */
static void add_fact(mc_text *page, const json_t *record, const char *member, const char *title)
{
    const json_t *const value = json_object_get(record, member);
    const bool empty = (json_is_array(value) && json_array_size(value) == 0) ||
                       (json_is_object(value) && json_object_size(value) == 0);
    if (!value || json_is_null(value) || json_is_false(value) || empty)
        return;
    begin_fact(page, title);
    add_value(page, value);
    end_fact(page);
}

static void add_members(mc_text *page, json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        begin_fact(page, name);
        add_value(page, value);
        end_fact(page);
    }
}

static void add_file(mc_text *page, const char *title, const char *text)
{
    if (!text)
        return;
    mc_text_add(page, "<details open><summary>%s</summary><pre tabindex=\"0\">", title);
    mc_html_text(page, text);
    mc_text_add(page, "</pre></details>\n");
}

/* ---- models ---------------------------------------------------------------------------------- */

static void add_bytes(mc_text *page, const json_t *files)
{
    char buffer[32];
    double bytes = 0;
    for (size_t i = 0; i < json_array_size(files); i++) {
        const double one = mc_member_number(json_array_get(files, i), "bytes");
        bytes += one > 0 && one < 1e17 ? one : 0;
    }
    mc_text_add(page, "%s",
                mc_format_bytes(bytes < 9e18 ? (int64_t)bytes : INT64_MAX, buffer, sizeof buffer));
}

static void add_model(mc_text *page, const json_t *model, const char *role, const char *side)
{
    const char *const name = text_of(model, "name"), *const commit = text_of(model, "commit");
    mc_text_add(page, "<tr><th scope=\"row\">");
    mc_html_name(page, name ? name : "not known");
    mc_text_add(page, "</th><td>%s", role);
    if (side)
        mc_html_name(page, side);
    mc_text_add(page, "</td><td class=\"code\">");
    if (commit)
        mc_html_name(page, commit);
    mc_text_add(page, "</td><td class=\"n\">");
    add_bytes(page, json_object_get(model, "files"));
    mc_text_add(page, "</td></tr>\n");
}

static void add_sides(mc_text *page, json_t *sides)
{
    const char *side;
    json_t *models;
    json_object_foreach(sides, side, models) for (size_t i = 0; i < json_array_size(models); i++)
        add_model(page, json_array_get(models, i), "side input ", side);
}

static void add_models(mc_text *page, const json_t *record)
{
    const json_t *const models = json_object_get(record, "models");
    const json_t *const base = json_object_get(record, "base");
    mc_text_add(page, "<h3>Models</h3><div class=\"scroll\" role=\"region\" tabindex=\"0\" "
                      "aria-label=\"Models\"><table><thead><tr><th scope=\"col\">model</th>"
                      "<th scope=\"col\">role</th><th scope=\"col\">commit</th>"
                      "<th class=\"n\" scope=\"col\">size</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < json_array_size(models); i++)
        add_model(page, json_array_get(models, i), "merged", NULL);
    if (json_is_object(base))
        add_model(page, base, "base", NULL);
    add_sides(page, json_object_get(record, "sides"));
    mc_text_add(page, "</tbody></table></div>\n");
}

/* ---- the recipe ------------------------------------------------------------------------------ */

void mc_recipe_section(mc_text *page, const json_t *record)
{
    const json_t *const source = json_object_get(record, "source");
    const char *const family = text_of(record, "family");
    mc_text_add(page, "<section id=\"recipe\"><h2>Recipe</h2>\n<dl class=\"facts\">\n");
    add_fact(page, record, "method", "method");
    if (family && strcmp(family, "mergecraft") != 0)
        add_fact(page, record, "family", "family");
    add_members(page, json_object_get(record, "parameters"));
    add_fact(page, record, "then", "then");
    add_fact(page, record, "passthrough", "averaged (passthrough)");
    add_fact(page, record, "exclude", "not merged (exclude)");
    add_fact(page, record, "keep", "excluded tensors are from");
    add_fact(page, record, "matrices", "matrices");
    add_fact(page, record, "tokenizer", "tokenizer");
    add_fact(page, record, "dtype", "dtype of the result");
    add_fact(page, record, "seed", "seed");
    add_fact(page, record, "strict", "strict");
    add_fact(page, source, "file", "file of the method");
    mc_text_add(page, "</dl>\n");
    add_file(page, "Recipe", text_of(record, "recipe"));
    add_file(page, "Text of the method", text_of(source, "text"));
    add_models(page, record);
    mc_text_add(page, "</section>\n");
}

/* A name per line of a list of names, or a model's name. */
static void add_search_models(mc_text *page, const json_t *header)
{
    const json_t *const models = json_object_get(header, "models");
    mc_text_add(page, "<h3>Models</h3><ul>\n");
    for (size_t i = 0; i < json_array_size(models); i++) {
        mc_text_add(page, "<li>");
        add_value(page, json_array_get(models, i));
        mc_text_add(page, "</li>\n");
    }
    if (json_is_string(json_object_get(header, "base"))) {
        mc_text_add(page, "<li>");
        add_value(page, json_object_get(header, "base"));
        mc_text_add(page, " (base)</li>\n");
    }
    mc_text_add(page, "</ul>\n");
}

static void add_space(mc_text *page, const json_t *space)
{
    mc_text_add(page, "<h3>Space</h3><div class=\"scroll\" role=\"region\" tabindex=\"0\" "
                      "aria-label=\"Space\"><table><thead><tr><th scope=\"col\">parameter</th>"
                      "<th scope=\"col\">kind</th><th scope=\"col\">values</th></tr></thead>"
                      "<tbody>\n");
    for (size_t i = 0; i < json_array_size(space); i++) {
        const json_t *const d = json_array_get(space, i);
        const json_t *const choices = json_object_get(d, "choices");
        mc_text_add(page, "<tr><th scope=\"row\">");
        mc_html_name(page, text_of(d, "name") ? text_of(d, "name") : "");
        mc_text_add(page, "</th><td>");
        mc_html_name(page, text_of(d, "kind") ? text_of(d, "kind") : "");
        mc_text_add(page, "%s</td><td>",
                    json_is_true(json_object_get(d, "log")) ? ", logarithmic" : "");
        if (json_is_array(choices)) {
            add_value(page, choices);
        } else {
            mc_html_number(page, mc_member_number(d, "low"), 6);
            mc_text_add(page, " to ");
            mc_html_number(page, mc_member_number(d, "high"), 6);
        }
        mc_text_add(page, "</td></tr>\n");
    }
    mc_text_add(page, "</tbody></table></div>\n");
}

void mc_search_recipe_section(mc_text *page, const json_t *header)
{
    mc_text_add(page, "<section id=\"space\"><h2>What was searched</h2>\n"
                      "<dl class=\"facts\">\n");
    add_fact(page, header, "method", "method");
    add_fact(page, header, "parameters", "fixed parameters");
    add_fact(page, header, "strategy", "strategy");
    add_fact(page, header, "seed", "seed");
    add_fact(page, header, "objective", "objective");
    add_fact(page, header, "command", "objective command");
    add_fact(page, header, "direction", "direction");
    add_fact(page, header, "validate", "share held out");
    add_fact(page, header, "halving", "steps of halving");
    mc_text_add(page, "</dl>\n");
    add_file(page, "Recipe", text_of(header, "recipe"));
    add_space(page, json_object_get(header, "space"));
    add_search_models(page, header);
    mc_text_add(page, "</section>\n");
}

/* ---- what was not merged --------------------------------------------------------------------- */

static void add_names(mc_text *page, const json_t *names, const char *what)
{
    const size_t count = json_array_size(names);
    if (count == 0)
        return;
    mc_text_add(page, "<details><summary>%zu tensor%s %s</summary><ul class=\"names\">\n", count,
                count == 1 ? "" : "s", what);
    for (size_t i = 0; i < count; i++) {
        mc_text_add(page, "<li>");
        add_value(page, json_array_get(names, i));
        mc_text_add(page, "</li>\n");
    }
    mc_text_add(page, "</ul></details>\n");
}

void mc_remarks_section(mc_text *page, const json_t *record)
{
    const json_t *const lines = json_object_get(record, "report");
    const json_t *const averaged = json_object_get(record, "averaged");
    const json_t *const copied = json_object_get(record, "copied");
    const size_t others = json_array_size(averaged) + json_array_size(copied);
    const double tensors = mc_member_number(record, "tensors");
    mc_text_add(page, "<section id=\"remarks\"><h2>What was merged</h2>\n<p>");
    if (tensors >= (double)others && tensors < 1e15) {
        mc_html_count(page, (int64_t)tensors - (int64_t)others);
        mc_text_add(page, " of ");
        mc_html_count(page, (int64_t)tensors);
        mc_text_add(page, " tensors were merged by the method.");
    }
    mc_text_add(page, "%s</p>\n", json_array_size(lines) ? "" : " There were no warnings.");
    add_names(page, averaged, "averaged over the models that have them");
    add_names(page, copied, "copied from one model");
    if (json_array_size(lines) > 0)
        mc_text_add(page, "<h3>Warnings</h3><ul class=\"warnings\">\n");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        mc_text_add(page, "<li>");
        add_value(page, json_array_get(lines, i));
        mc_text_add(page, "</li>\n");
    }
    mc_text_add(page, "%s</section>\n", json_array_size(lines) ? "</ul>\n" : "");
}

/* ---- files ----------------------------------------------------------------------------------- */

void mc_files_section(mc_text *page, const json_t *record)
{
    const json_t *const files = json_object_get(record, "files");
    if (json_array_size(files) == 0)
        return;
    mc_text_add(page, "<section id=\"files\"><h2>Files</h2>\n<div class=\"scroll\" "
                      "role=\"region\" tabindex=\"0\" aria-label=\"Files\"><table><thead><tr>"
                      "<th scope=\"col\">file</th><th class=\"n\" scope=\"col\">bytes</th>"
                      "<th scope=\"col\">XXH64</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *const file = json_array_get(files, i);
        const char *const name = text_of(file, "name"), *const sum = text_of(file, "xxh64");
        mc_text_add(page, "<tr><th scope=\"row\">");
        mc_html_name(page, name ? name : "not known");
        mc_text_add(page, "</th><td class=\"n\">");
        mc_html_count(page, json_integer_value(json_object_get(file, "bytes")));
        mc_text_add(page, "</td><td class=\"code\">");
        if (sum)
            mc_html_name(page, sum);
        mc_text_add(page, "</td></tr>\n");
    }
    mc_text_add(page, "</tbody></table></div></section>\n");
}

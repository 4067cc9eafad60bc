#include "report/heat.h"

#include "base/memory.h"
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Steps of the colour scales in the style sheet: s0 … s8 and w0 … w8, d0 … d10. */
enum { STEPS = 8, DIVERGING_STEPS = 10 };

/* ---- sums per block and role ----------------------------------------------------------------- */

typedef struct cell {
    mc_compared sum;
    void *memory; /* of the sum; NULL: the block has no tensor of the role */
    size_t tensors;
} cell;

/*
 * Cells in rows of columns. The last row has the sums of columns and the last column those of rows:
 * cells[block_count] is the row of totals, and so on.
 */
typedef struct grid {
    const mc_comparison *comparison;
    int *blocks; /* sorted; −1 for what is in no block */
    size_t block_count;
    const char **roles;
    size_t role_count;
    cell *cells;
} grid;

static cell *cell_at(const grid *g, size_t row, size_t column)
{
    return &g->cells[row * (g->role_count + 1) + column];
}

static void free_grid(grid *g)
{
    const size_t count = g->cells ? (g->block_count + 1) * (g->role_count + 1) : 0;
    for (size_t i = 0; i < count; i++)
        mc_free(g->cells[i].memory);
    mc_free(g->cells);
    mc_free(g->blocks);
    mc_free(g->roles);
}

static int compare_ints(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static size_t role_index(const grid *g, const char *role)
{
    size_t i = 0;
    while (i < g->role_count && strcmp(g->roles[i], role) != 0)
        i++;
    return i;
}

/* Roles of tensors inside of blocks, or outside, in the order of the tensors. */
static void find_roles(grid *g, bool inside)
{
    for (size_t i = 0; i < mc_comparison_count(g->comparison); i++) {
        mc_compared one;
        mc_comparison_at(g->comparison, i, &one);
        if ((one.block >= 0) == inside && role_index(g, one.role) == g->role_count)
            g->roles[g->role_count++] = one.role;
    }
}

/* The blocks and roles that occur; roles of blocks first, so that their cells are neighbours. */
static void find_lines(grid *g)
{
    const size_t count = mc_comparison_count(g->comparison);
    find_roles(g, true);
    find_roles(g, false);
    for (size_t i = 0; i < count; i++) {
        mc_compared one;
        mc_comparison_at(g->comparison, i, &one);
        g->blocks[i] = one.block;
    }
    qsort(g->blocks, count, sizeof *g->blocks, compare_ints);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || g->blocks[i] != g->blocks[i - 1])
            g->blocks[g->block_count++] = g->blocks[i];
}

static mc_status add_to(const grid *g, cell *into, const mc_compared *one, mc_error *error)
{
    if (!into->memory)
        into->memory = mc_alloc_zero(1, mc_comparison_sum_size(g->comparison));
    if (!into->memory)
        return mc_fail_memory(error);
    mc_compared_add(&into->sum, into->memory, one);
    into->tensors++;
    return MC_OK;
}

static mc_status fill_cells(const grid *g, mc_error *error)
{
    for (size_t i = 0; i < mc_comparison_count(g->comparison); i++) {
        mc_compared one;
        mc_comparison_at(g->comparison, i, &one);
        const int *const found = bsearch(&one.block, g->blocks, g->block_count, sizeof *found,
                                         compare_ints);
        const size_t row = (size_t)(found - g->blocks), column = role_index(g, one.role);
        MC_TRY(add_to(g, cell_at(g, row, column), &one, error));
        MC_TRY(add_to(g, cell_at(g, row, g->role_count), &one, error));
        MC_TRY(add_to(g, cell_at(g, g->block_count, column), &one, error));
        MC_TRY(add_to(g, cell_at(g, g->block_count, g->role_count), &one, error));
    }
    return MC_OK;
}

static mc_status make_grid(const mc_comparison *comparison, grid *g, mc_error *error)
{
    const size_t count = mc_comparison_count(comparison);
    *g = (grid){.comparison = comparison,
                .blocks = mc_alloc(count * sizeof *g->blocks),
                .roles = mc_alloc(count * sizeof *g->roles)};
    if (!g->blocks || !g->roles)
        return mc_fail_memory(error);
    find_lines(g);
    g->cells = mc_alloc_zero((g->block_count + 1) * (g->role_count + 1), sizeof *g->cells);
    return g->cells ? fill_cells(g, error) : mc_fail_memory(error);
}

/* ---- what is shown --------------------------------------------------------------------------- */

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

static double mean_change(const mc_compared *one)
{
    double sum = 0;
    for (size_t m = 0; m < one->models; m++)
        sum += mc_compared_norm(one, m);
    return 100 * ratio(sum / (double)one->models, one->base_norm);
}

static double conflict(const mc_compared *one)
{
    return 100 * ratio((double)one->conflict, (double)one->elements);
}

typedef struct measure {
    const char *title, *text;
    double (*value)(const mc_compared *one);
    char scale; /* s or w: from 0 to the largest; d: from −1 to 1 */
    int decimals;
    const char *unit;
    bool several; /* needs two task vectors */
} measure;

static const measure measures[] = {
    {"Change", "Norm of the task vector as a share of the norm of the base, mean over the models.",
     mean_change, 's', 2, " %", false},
    {"Cosine", "Cosine between task vectors, mean over all pairs of models. 0: unrelated.",
     mc_compared_mean_cosine, 'd', 2, "", true},
    {"Conflict", "Share of elements that two models change in opposite directions.", conflict, 'w',
     1, " %", true},
};

/* ---- one map --------------------------------------------------------------------------------- */

static double largest_value(const grid *g, const measure *m)
{
    double largest = 0;
    for (size_t row = 0; row < g->block_count; row++)
        for (size_t column = 0; column < g->role_count; column++) {
            const cell *const c = cell_at(g, row, column);
            const double value = c->memory ? m->value(&c->sum) : NAN;
            largest = isfinite(value) && value > largest ? value : largest;
        }
    return largest;
}

static int step_of(const measure *m, double value, double largest)
{
    if (m->scale == 'd')
        return (int)lround((fmin(fmax(value, -1), 1) + 1) / 2 * DIVERGING_STEPS);
    return largest > 0 ? (int)lround(fmin(value / largest, 1) * STEPS) : 0;
}

static void add_place(mc_text *page, const grid *g, size_t row, size_t column)
{
    if (row == g->block_count)
        mc_text_add(page, "all blocks");
    else if (g->blocks[row] < 0)
        mc_text_add(page, "outside of blocks");
    else
        mc_text_add(page, "block %d", g->blocks[row]);
    mc_text_add(page, ", %s", column == g->role_count ? "all roles" : g->roles[column]);
}

/* On hover: the place, the number, and how much lies behind it. */
static void add_tooltip(mc_text *page, const grid *g, const measure *m, size_t row, size_t column)
{
    const cell *const c = cell_at(g, row, column);
    mc_text_add(page, " title=\"");
    add_place(page, g, row, column);
    mc_text_add(page, ": ");
    mc_html_number(page, m->value(&c->sum), 4);
    mc_text_add(page, "%s (%zu tensor%s, ", m->unit, c->tensors, c->tensors == 1 ? "" : "s");
    mc_html_count(page, c->sum.elements);
    mc_text_add(page, " elements)\"");
}

static void add_cell(mc_text *page, const grid *g, const measure *m, size_t row, size_t column,
                     double largest)
{
    const cell *const c = cell_at(g, row, column);
    const double value = c->memory ? m->value(&c->sum) : NAN;
    if (!c->memory) {
        mc_text_add(page, "<td></td>");
        return;
    }
    if (isfinite(value))
        mc_text_add(page, "<td class=\"%c%d\"", m->scale, step_of(m, value, largest));
    else
        mc_text_add(page, "<td");
    add_tooltip(page, g, m, row, column);
    mc_text_add(page, ">");
    mc_html_fixed(page, value, m->decimals);
    mc_text_add(page, "</td>");
}

static void add_row(mc_text *page, const grid *g, const measure *m, size_t row, double largest)
{
    mc_text_add(page, "<tr%s><th scope=\"row\">", row == g->block_count ? " class=\"sum\"" : "");
    if (row == g->block_count)
        mc_text_add(page, "all");
    else if (g->blocks[row] < 0)
        mc_text_add(page, "outside");
    else
        mc_text_add(page, "%d", g->blocks[row]);
    mc_text_add(page, "</th>");
    for (size_t column = 0; column <= g->role_count; column++)
        add_cell(page, g, m, row, column, largest);
    mc_text_add(page, "</tr>\n");
}

static void add_legend(mc_text *page, const measure *m, double largest)
{
    const int steps = m->scale == 'd' ? DIVERGING_STEPS : STEPS;
    mc_text_add(page, "<p class=\"legend\" aria-hidden=\"true\">");
    if (m->scale == 'd')
        mc_text_add(page, "−1 opposite ");
    else
        mc_text_add(page, "0 ");
    for (int i = 0; i <= steps; i++)
        mc_text_add(page, "<i class=\"%c%d\"></i>", m->scale, i);
    mc_text_add(page, " ");
    if (m->scale == 'd')
        mc_text_add(page, "same 1");
    else
        mc_html_fixed(page, largest, m->decimals);
    mc_text_add(page, "%s</p>\n", m->unit);
}

static void add_map(mc_text *page, const grid *g, const measure *m)
{
    const double largest = largest_value(g, m);
    mc_text_add(page, "<figure class=\"map\"><figcaption><h3>%s</h3><p>%s</p>", m->title, m->text);
    add_legend(page, m, largest);
    mc_text_add(page,
                "</figcaption><div class=\"scroll\" role=\"region\" tabindex=\"0\" "
                "aria-label=\"%s by block and role\"><table class=\"heat\"><thead><tr>"
                "<th scope=\"col\">block</th>",
                m->title);
    for (size_t i = 0; i < g->role_count; i++)
        mc_text_add(page, "<th scope=\"col\"><span>%s</span></th>", g->roles[i]);
    mc_text_add(page, "<th scope=\"col\"><span>all</span></th></tr></thead><tbody>\n");
    for (size_t row = 0; row <= g->block_count; row++)
        add_row(page, g, m, row, largest);
    mc_text_add(page, "</tbody></table></div></figure>\n");
}

/* ---- models ---------------------------------------------------------------------------------- */

/* How far each model moved, and the cosines between all pairs. */
static void add_models(mc_text *page, const grid *g)
{
    const mc_compared *const all = &cell_at(g, g->block_count, g->role_count)->sum;
    const size_t models = all->models;
    mc_text_add(page,
                "<figure><figcaption><h3>Models</h3><p>Change and largest difference of each "
                "model%s</p></figcaption><div class=\"scroll\" role=\"region\" "
                "tabindex=\"0\" aria-label=\"Models\"><table class=\"heat wide\"><thead><tr>"
                "<th scope=\"col\">model</th><th scope=\"col\">change</th>"
                "<th scope=\"col\">largest</th>",
                models > 1 ? ", and the cosines between task vectors." : ".");
    for (size_t b = 0; models > 1 && b < models; b++)
        mc_text_add(page, "<th scope=\"col\">%zu</th>", b + 1);
    mc_text_add(page, "</tr></thead><tbody>\n");
    for (size_t a = 0; a < models; a++) {
        mc_text_add(page, "<tr><th scope=\"row\">%zu ", a + 1);
        mc_html_name(page, mc_comparison_model(g->comparison, a));
        mc_text_add(page, "</th><td>");
        mc_html_fixed(page, 100 * ratio(mc_compared_norm(all, a), all->base_norm), 2);
        mc_text_add(page, " %%</td><td>");
        mc_html_number(page, mc_compared_largest(all, a), 3);
        mc_text_add(page, "</td>");
        for (size_t b = 0; models > 1 && b < models; b++) {
            const double cosine = mc_compared_cosine(all, a, b);
            if (isfinite(cosine))
                mc_text_add(page, "<td class=\"d%d\">", step_of(&measures[1], cosine, 1));
            else
                mc_text_add(page, "<td>");
            mc_html_fixed(page, cosine, 3);
            mc_text_add(page, "</td>");
        }
        mc_text_add(page, "</tr>\n");
    }
    mc_text_add(page, "</tbody></table></div></figure>\n");
}

static void add_introduction(mc_text *page, const mc_comparison *comparison)
{
    mc_text_add(page, "<p>A task vector is a model minus %s ",
                mc_comparison_has_base(comparison) ? "the base" : "the first model");
    mc_html_name(page, mc_comparison_model(comparison, mc_comparison_models(comparison)));
    mc_text_add(page, ". ");
    mc_html_count(page, (int64_t)mc_comparison_count(comparison));
    mc_text_add(page, " tensors were compared.</p>\n");
}

static void add_notes(mc_text *page, const mc_report *report)
{
    if (mc_report_count(report) == 0)
        return;
    mc_text_add(page, "<ul>\n");
    for (size_t i = 0; i < mc_report_count(report); i++) {
        mc_text_add(page, "<li>");
        mc_html_name(page, mc_report_line(report, i));
        mc_text_add(page, "</li>\n");
    }
    mc_text_add(page, "</ul>\n");
}

mc_status mc_heat_section(mc_text *page, const mc_comparison *comparison, mc_error *error)
{
    grid g;
    const mc_status status = make_grid(comparison, &g, error);
    if (status == MC_OK) {
        mc_text_add(page, "<section id=\"blocks\"><h2>Blocks and roles</h2>\n");
        add_introduction(page, comparison);
        if (mc_comparison_count(comparison) > 0)
            add_models(page, &g);
        mc_text_add(page, "<div class=\"maps\">\n");
        for (size_t i = 0; i < sizeof measures / sizeof *measures; i++)
            if (!measures[i].several || mc_comparison_models(comparison) > 1)
                add_map(page, &g, &measures[i]);
        mc_text_add(page, "</div>\n");
        add_notes(page, mc_comparison_report(comparison));
        mc_text_add(page, "</section>\n");
    }
    free_grid(&g);
    return status;
}

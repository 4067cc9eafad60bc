#include "glue/labels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- numbers ---- */

/* Whole numbers of few digits, as nearly all labels are: much faster than mc_parse_number. */
static bool plain_number(const char *bytes, size_t size, double *number)
{
    /* Integers of 15 digits are exact in a double. */
    enum { EXACT = 15 };
    const bool negative = size > 1 && *bytes == '-';
    int64_t value = 0;
    for (size_t i = negative; i < size; i++) {
        if (size > EXACT || bytes[i] < '0' || bytes[i] > '9')
            return false;
        value = 10 * value + (bytes[i] - '0');
    }
    *number = (double)(negative ? -value : value);
    return size > 0;
}

double mc_glue_number_in(const char *bytes, size_t size)
{
    char text[64];
    double number = NAN;
    if (plain_number(bytes, size, &number) || size >= sizeof text)
        return number;
    memcpy(text, bytes, size);
    text[size] = '\0';
    /* A NUL inside of the text would end it early. */
    return strlen(text) == size && mc_parse_number(text, &number) ? number : NAN;
}

/* The number that a name begins with, "1 star"; −1 if it begins otherwise. */
static int64_t leading_number(const char *name)
{
    int64_t number = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9' && digits < 9; digits++)
        number = 10 * number + (name[digits] - '0');
    return digits > 0 && !(name[digits] >= '0' && name[digits] <= '9') ? number : -1;
}

static bool names_are_numbers(const mc_glue_task *task)
{
    for (size_t i = 0; i < task->label_count; i++)
        if (leading_number(task->labels[i]) < 0)
            return false;
    return task->label_count > 0;
}

/* The only label that begins with this number; −1 if there is none, or there are several. */
static int label_with_number(const mc_glue_task *task, double number)
{
    int found = -1;
    for (size_t i = 0; i < task->label_count; i++) {
        if ((double)leading_number(task->labels[i]) != number)
            continue;
        if (found >= 0)
            return -1;
        found = (int)i;
    }
    return found;
}

/*
 * Star ratings are the case to get right: a model whose labels are "1 star" to "5 stars" and data
 * with 1 to 5 would be off by one if these were indices, and nothing would show it.
 */
static bool label_from_number(const mc_glue_task *task, double number, double *label)
{
    const bool whole = task->label_count == 0 || number == floor(number);
    if (task->own && names_are_numbers(task) && !isnan(number)) {
        const int found = label_with_number(task, number);
        *label = found >= 0 ? found : NAN;
        return found >= 0 || number == -1;
    }
    *label = number;
    if (whole && isfinite(number) && number >= task->label_minimum && number <= task->label_maximum)
        return true;
    /* Splits on the Hub without labels have −1; data frames have NaN. */
    *label = NAN;
    return number == -1 || isnan(number);
}

/* ---- cells ---- */

/* Returns whether the text is exactly a label's name, which may be a number. */
static bool is_name(const mc_glue_task *task, const char *bytes, size_t size)
{
    for (size_t i = 0; i < task->label_count; i++)
        if (strlen(task->labels[i]) == size && memcmp(task->labels[i], bytes, size) == 0)
            return true;
    return false;
}

static bool label_from_text(const mc_glue_task *task, const char *bytes, size_t size, double *label)
{
    /* MultiNLI has "-" where its annotators did not agree. */
    const bool dash = !task->own && task->label_count == 3 && size == 1 && *bytes == '-';
    *label = NAN;
    if (size == 0 || dash)
        return true;
    const double number = is_name(task, bytes, size) ? NAN : mc_glue_number_in(bytes, size);
    if (!isnan(number))
        return label_from_number(task, number, label);
    const int named = mc_glue_label_number(task, bytes, size);
    *label = named;
    return named >= 0;
}

static bool label_from_integer(const mc_glue_task *task, int64_t number, double *label)
{
    char text[24];
    /* Names may be numbers: the label "10" of a JSON file that has 10. */
    if (!task->own || task->label_count == 0)
        return label_from_number(task, (double)number, label);
    const int size = snprintf(text, sizeof text, "%lld", (long long)number);
    return label_from_text(task, text, (size_t)size, label);
}

bool mc_glue_label_from_cell(const mc_glue_task *task, const mc_cell *cell, double *label)
{
    *label = NAN;
    switch (cell->kind) {
    case MC_CELL_TEXT:
        return label_from_text(task, cell->text.bytes, cell->text.size, label);
    case MC_CELL_INTEGER:
        return label_from_integer(task, cell->integer, label);
    case MC_CELL_REAL:
        return label_from_number(task, cell->real, label);
    case MC_CELL_NULL:
        break;
    }
    return true;
}

/* ---- errors ---- */

void mc_glue_describe_labels(const mc_glue_task *task, char *text, size_t size)
{
    enum { MOST_SHOWN = 8 };
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < task->label_count && i < MOST_SHOWN && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "'%.40s', ", task->labels[i]);
    if (task->label_count > MOST_SHOWN && at < size)
        at += (size_t)snprintf(text + at, size - at, "…, ");
    if (at >= size)
        return;
    if (task->label_count == 0 && task->own)
        snprintf(text + at, size - at, "a finite number");
    else if (task->label_count == 0)
        snprintf(text + at, size - at, "a number from %g to %g", task->label_minimum,
                 task->label_maximum);
    else if (task->own && names_are_numbers(task))
        snprintf(text + at, size - at, "or the number in such a name");
    else
        snprintf(text + at, size - at, "or 0 to %g", task->label_maximum);
}

/* Reports: the bytes are the journal of a search, and then the record of a merge. */
#include "fuzz.h"

#include <mergecraft/report.h>

#include <string.h>

static size_t occurrences(const char *text, const char *wanted)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, wanted)); at += strlen(wanted))
        count++;
    return count;
}

static void make_report(const mc_html_report_input *input, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    char *html = NULL;
    const mc_status status = mc_html_report(input, &html, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK) {
        fuzz_require(strlen(html) < 40000 + 400 * size, "not much more text than bytes");
        fuzz_require(occurrences(html, "<script") <= 1, "no script but the page's own");
        fuzz_require(occurrences(html, "</html>") == 1, "one end");
    }
    mc_html_report_free(html);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    fuzz_put("search.jsonl", data, size);
    fuzz_put("merged/mergecraft.json", data, size);
    make_report(&(mc_html_report_input){.journal = "search.jsonl"}, size);
    make_report(&(mc_html_report_input){.folder = "merged", .note = "not compared"}, size);
}

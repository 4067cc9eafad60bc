/*
 * HTML reports: writes one self-contained page on a merge, a search, or both. The page needs no
 * network, follows the reader's light or dark theme, and can be printed.
 *
 *     const mc_html_report_input input = {.folder = "merged", .journal = "search.jsonl"};
 *     mc_html_report(&input, &html, &error);
 *
 * Thread-safety: all functions may be called from any thread.
 */
#ifndef MERGECRAFT_REPORT_H
#define MERGECRAFT_REPORT_H

#include <mergecraft/compare.h>

MC_BEGIN_DECLS

/* The subject of the report: a folder, a journal, or both. Everything is borrowed for the call. */
typedef struct mc_html_report_input {
    const char *folder;              /* a merged model with its mergecraft.json; NULL: none */
    const char *journal;             /* of a search; NULL: none */
    const mc_comparison *comparison; /* of the models that were merged; NULL: no heat maps */
    const char *note;                /* why there is no comparison; NULL: no note */
    void *reserved[4];               /* must be zero */
} mc_html_report_input;

/*
 * Makes the report: one HTML document in UTF-8, NUL-terminated. The same input gives the same
 * bytes. Names and texts of files are shown as text, whatever they contain. Free *html with
 * mc_html_report_free, which accepts NULL.
 *
 * Errors: MC_USAGE      neither a folder nor a journal
 *         MC_NOT_FOUND  the folder has no mergecraft.json, or the journal does not exist
 *         MC_FORMAT     one of these files is malformed
 */
MC_API mc_status mc_html_report(const mc_html_report_input *input, char **html, mc_error *error);
MC_API void mc_html_report_free(char *html);

MC_END_DECLS

#endif

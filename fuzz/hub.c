/* What a server of the Hub answers: lines of headers, an empty line, a listing. */
#include "fuzz.h"

#include "base/memory.h"
#include "hub/listing.h"
#include "hub/reply.h"
#include "hub/select.h"
#include "hub/url.h"

#include <string.h>

static void check_reply(const mc_reply *reply)
{
    fuzz_require(reply->commit[0] == '\0' || mc_hub_is_commit(reply->commit), "a commit is one");
    fuzz_require(reply->length >= -1 && reply->linked_size >= -1, "sizes are sizes");
    fuzz_require(reply->range_begin >= -1 && reply->range_size >= -1, "ranges are ranges");
    fuzz_require(reply->retry_after >= -1, "nobody waits into the past");
    fuzz_require(strlen(reply->etag) < sizeof reply->etag, "an ETag has an end");
    mc_origin origin;
    char *const url = reply->location ? mc_url_resolve("https://hub/a/b?c", reply->location) : NULL;
    fuzz_require(!url || (mc_url_origin(url, &origin) && origin.tls), "https stays https");
    fuzz_require(!url || !strpbrk(url, "@\\ \t\r\n") || strcspn(url, "@") > strcspn(url + 8, "/?"),
                 "there is no name before the host");
    mc_free(url);
}

static void check_listing(mc_status status, const mc_error *error, const mc_listing *listing)
{
    fuzz_check_status(status, error);
    for (size_t i = 0; status == MC_OK && i < listing->count; i++)
        fuzz_require(mc_hub_path_ok(listing->names[i]) && listing->names[i][0] != '/',
                     "no file leads out of the folder");
}

static mc_status check_path(void *user, const char *path, mc_file_role role, mc_error *error)
{
    (void)user;
    (void)role;
    (void)error;
    fuzz_require(mc_hub_path_ok(path), "no file that is needed leads out of the folder");
    return MC_OK;
}

/* A config.json, a modules.json, an index: which files they name. */
static void select_referenced(const char *text, size_t size)
{
    static const mc_file_role roles[] = {MC_FILE_CONFIG, MC_FILE_MODULES, MC_FILE_INDEX};
    mc_listing listing = {0};
    static const char *const names[] = {"code.py", "1_Pooling/config.json", "a/b/c"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)mc_listing_add(&listing, names[i], NULL);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        mc_error error = MC_ERROR_NONE;
        fuzz_check_status(
            mc_select_referenced(roles[i], text, size, &listing, check_path, NULL, &error), &error);
    }
    mc_listing_free(&listing);
}

static void parse(const char *text, size_t size, bool tree)
{
    mc_listing listing = {0};
    mc_error error = MC_ERROR_NONE;
    const mc_status status = tree ? mc_listing_parse_tree(text, size, &listing, &error)
                                  : mc_listing_parse(text, size, &listing, &error);
    check_listing(status, &error, &listing);
    mc_listing_free(&listing);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *const end = text + size;
    mc_reply reply = {0};
    mc_reply_clear(&reply);
    while (text < end && *text != '\n') {
        const char *const stop = memchr(text, '\n', (size_t)(end - text));
        mc_reply_header(&reply, text, (size_t)((stop ? stop + 1 : end) - text), 1000000000);
        check_reply(&reply);
        text = stop ? stop + 1 : end;
    }
    mc_reply_clear(&reply);
    parse(text, (size_t)(end - text), false);
    parse(text, (size_t)(end - text), true);
    select_referenced(text, (size_t)(end - text));
}

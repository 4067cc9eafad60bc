#include "hub/refusal.h"

#include "hub/url.h"

#include <stdio.h>
#include <string.h>

static void server_of(const mc_request *request, char *out, size_t size)
{
    mc_origin origin = {0};
    if (request->url && mc_url_origin(request->url, &origin))
        snprintf(out, size, "%s:%d", origin.host, origin.port);
    else
        snprintf(out, size, "the server");
}

/*
 * X-Error-Code distinguishes the cases. Without one, a 401 or 404 may mean a missing repository, a
 * private one or a wrong token: the Hub does not reveal which, so that nobody can probe for names.
 */
static void not_found(const mc_repository *repository, const mc_request *request,
                      const char *message, mc_error *error)
{
    const mc_hub_settings *const settings = &repository->transfers->settings;
    const char *const code = request->reply.error_code;
    const bool data = repository->id.kind == MC_HUB_DATASET;
    const char *const what = data ? "data set" : "model";
    if (strcmp(code, "GatedRepo") == 0)
        mc_fail(error, MC_NOT_FOUND,
                "the %s is gated: accept its conditions at %s/%s%s, and log in or set HF_TOKEN%s",
                what, settings->endpoint, data ? "datasets/" : "", repository->id.name, message);
    else if (strcmp(code, "RevisionNotFound") == 0)
        mc_fail(error, MC_NOT_FOUND, "the %s has no revision '%s'%s", what, repository->id.revision,
                message);
    else if (strcmp(code, "EntryNotFound") == 0)
        mc_fail(error, MC_NOT_FOUND, "the %s has no such file at revision '%s'", what,
                repository->id.revision);
    else
        mc_fail(error, MC_NOT_FOUND,
                "no such %s on %s, or it is private, or you are not logged in (%s)%s", what,
                settings->endpoint,
                settings->token ? "the server did not accept the token: see HF_TOKEN"
                                : "HF_TOKEN is not set",
                message);
}

void mc_refusal(const mc_repository *repository, const char *path, const mc_request *request,
                mc_error *error)
{
    char message[320] = "", server[300];
    const mc_reply *const reply = &request->reply;
    server_of(request, server, sizeof server);
    if (reply->error_message[0])
        snprintf(message, sizeof message, "; the server says: %s", reply->error_message);
    if (request->how != MC_HTTP_REPLIED)
        mc_fail(error, MC_IO, "request to %s failed: %s", server, request->problem);
    else if (reply->error_code[0] || (reply->status == 401 || reply->status == 404))
        not_found(repository, request, message, error);
    else if (reply->status == 429)
        mc_fail(error, MC_IO, "%s limits the rate of requests (status 429): try again later%s",
                server, message);
    else if (reply->status / 100 == 5 || reply->status == 408)
        mc_fail(error, MC_IO, "%s failed with status %d: try again later%s", server, reply->status,
                message);
    else
        mc_fail(error, MC_IO, "%s: expected status 200, found %d%s", server, reply->status,
                message);
    /* The name as the user knows it, not the URL. */
    if (error)
        snprintf(error->file, sizeof error->file, "%s%s%s", repository->id.name, path ? "/" : "",
                 path ? path : "");
}

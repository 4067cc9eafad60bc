/* What is done, and said, when a server does not give what was asked for. */
#include "hub/session.h"

#include <stdio.h>
#include <string.h>

static const double longest_pause = 30, longest_wish = 600;

double mc_hub_first_pause = .5;

bool mc_retry_is_worth(const mc_request *request)
{
    const int status = request->reply.status;
    if (request->how == MC_HTTP_REPLIED)
        return status == 408 || status == 429 || status / 100 == 5;
    return request->how == MC_HTTP_BROKEN;
}

double mc_retry_pause(const mc_request *request, int most, int *failures)
{
    const double wish = request->how == MC_HTTP_REPLIED ? request->reply.retry_after : -1;
    double pause = mc_hub_first_pause;
    if (++*failures > most || wish > longest_wish)
        return -1;
    for (int i = 1; i < *failures && pause < longest_pause; i++)
        pause *= 2;
    return wish > pause ? wish : pause;
}

static void server_of(const mc_request *request, char *out, size_t size)
{
    mc_origin origin = {0};
    if (request->url && mc_url_origin(request->url, &origin))
        snprintf(out, size, "%s:%d", origin.host, origin.port);
    else
        snprintf(out, size, "the server");
}

static void not_found(const mc_repository *repository, const mc_request *request, const char *words,
                      mc_error *error)
{
    const mc_hub_settings *const settings = &repository->session->settings;
    const char *const code = request->reply.error_code;
    const bool data = repository->id.kind == MC_HUB_DATASET;
    const char *const what = data ? "data set" : "model";
    if (strcmp(code, "GatedRepo") == 0)
        mc_fail(error, MC_NOT_FOUND,
                "the %s is gated: accept its conditions at %s/%s%s, and log in or set HF_TOKEN%s",
                what, settings->endpoint, data ? "datasets/" : "", repository->id.name, words);
    else if (strcmp(code, "RevisionNotFound") == 0)
        mc_fail(error, MC_NOT_FOUND, "the %s has no revision '%s'%s", what, repository->id.revision,
                words);
    else if (strcmp(code, "EntryNotFound") == 0)
        mc_fail(error, MC_NOT_FOUND, "there is no such file in the %s at revision '%s'", what,
                repository->id.revision);
    else
        mc_fail(error, MC_NOT_FOUND,
                "there is no such %s on %s, or it is private, or you are not logged in (%s)%s",
                what, settings->endpoint,
                settings->token ? "the token was not accepted for it: see HF_TOKEN"
                                : "HF_TOKEN is not set",
                words);
}

void mc_refusal(const mc_repository *repository, const char *path, const mc_request *request,
                mc_error *error)
{
    char words[320] = "", server[300];
    const mc_reply *const reply = &request->reply;
    server_of(request, server, sizeof server);
    if (reply->error_message[0])
        snprintf(words, sizeof words, "; it says: %s", reply->error_message);
    if (request->how != MC_HTTP_REPLIED)
        mc_fail(error, MC_IO, "cannot get it from %s: %s", server, request->problem);
    else if (reply->error_code[0] || (reply->status == 401 || reply->status == 404))
        not_found(repository, request, words, error);
    else if (reply->status == 429)
        mc_fail(error, MC_IO, "%s wants to be asked less often (429): try again later%s", server,
                words);
    else if (reply->status / 100 == 5 || reply->status == 408)
        mc_fail(error, MC_IO, "%s has trouble of its own (%d), try again later%s", server,
                reply->status, words);
    else
        mc_fail(error, MC_IO, "expected the file from %s, found the answer %d%s", server,
                reply->status, words);
    if (error)
        snprintf(error->file, sizeof error->file, "%s%s%s", repository->id.name, path ? "/" : "",
                 path ? path : "");
}

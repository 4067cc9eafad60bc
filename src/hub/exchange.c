#include "hub/exchange.h"

#include "base/json.h"
#include "base/memory.h"
#include "hub/refusal.h"
#include "hub/retry.h"

#include <string.h>

/* Bounds the memory that a server can make the client use. */
#define REPLY_LIMIT ((size_t)64 << 20)

/* After the last byte was sent, a server may take a while, e.g. to assemble a file of 50 GB. */
enum { PATIENCE_SECONDS = 300 };

static const double step_seconds = .1;

typedef struct waiting {
    mc_text body;
    bool done;
} waiting;

static bool on_bytes(mc_request *request, const char *bytes, size_t size)
{
    waiting *const w = request->user;
    mc_text_append(&w->body, bytes, size);
    return !w->body.failed && w->body.length <= REPLY_LIMIT;
}

static void on_done(mc_request *request)
{
    waiting *const w = request->user;
    w->done = true;
}

static mc_status start(const mc_repository *repository, const mc_exchange *exchange, waiting *w,
                       mc_request *request, double pause, mc_error *error)
{
    /* A request can be started again only after it was cleared. */
    mc_request_clear(request);
    mc_text_free(&w->body);
    w->done = false;
    *request = (mc_request){.url = mc_strdup(exchange->url),
                            .method = exchange->method,
                            .headers = exchange->headers,
                            .send = exchange->body,
                            .send_size = exchange->file ? exchange->count : (int64_t)exchange->size,
                            .send_file = exchange->file,
                            .send_begin = exchange->begin,
                            .once = exchange->once,
                            .patience = PATIENCE_SECONDS,
                            .body = on_bytes,
                            .done = on_done,
                            .user = w};
    if (!request->url)
        return mc_fail_memory(error);
    return mc_http_start(repository->transfers->http, request, pause, error);
}

/* Waits for the reply; MC_INTERRUPTED ends the wait. */
static mc_status wait_for(mc_transfers *transfers, const mc_exchange *exchange, const waiting *w,
                          const mc_request *request, mc_error *error)
{
    /*
     * transfers->status is also set by an interruption: the caller's flag is polled in each step.
     */
    while (!w->done && transfers->status == MC_OK) {
        mc_transfers_step(transfers, step_seconds);
        if (exchange->progress)
            exchange->progress(request->sent, exchange->user);
    }
    if (transfers->status != MC_OK && error)
        *error = transfers->error;
    return transfers->status;
}

/* Error pages are HTML: a body that is not JSON is not an error. */
static void take_reply(const mc_request *request, const waiting *w, mc_exchange *exchange)
{
    const mc_reply *const reply = &request->reply;
    exchange->status = reply->status;
    memcpy(exchange->error_code, reply->error_code, sizeof exchange->error_code);
    memcpy(exchange->etag, reply->etag, sizeof exchange->etag);
    if (w->body.length > 0)
        (void)mc_json_parse(w->body.data, w->body.length, &exchange->json, NULL);
}

/*
 * With `once`, only a reply proves that the server did not act on the request. A broken connection
 * proves nothing.
 */
static bool may_retry(const mc_exchange *exchange, const mc_request *request)
{
    return mc_retry_is_worth(request) && !(exchange->once && request->how != MC_HTTP_REPLIED);
}

/* MC_OK for 2xx, or with any_status for any reply that a retry cannot change. */
static mc_status check(const mc_repository *repository, const mc_exchange *exchange,
                       const mc_request *request, bool any_status, mc_error *error)
{
    const bool replied = request->how == MC_HTTP_REPLIED && !mc_retry_is_worth(request);
    if (replied && (any_status || request->reply.status / 100 == 2))
        return MC_OK;
    /* Gated repositories have an error of their own, with the address of their conditions. */
    if (request->how == MC_HTTP_REPLIED && request->reply.status == 403 &&
        strcmp(request->reply.error_code, "GatedRepo") != 0)
        return mc_fail_at(error, MC_IO, repository->id.name, NULL, -1,
                          "the token does not permit this (status 403): it needs write access%s%s",
                          request->reply.error_message[0] ? "; the server says: " : "",
                          request->reply.error_message);
    /* mc_refusal fills an error in any case: its code is the result. */
    mc_error ignored = MC_ERROR_NONE;
    mc_refusal(repository, exchange->path, request, error ? error : &ignored);
    return error ? error->code : ignored.code;
}

static mc_status exchange_with(const mc_repository *repository, mc_exchange *exchange,
                               bool any_status, mc_error *error)
{
    waiting w = {0};
    mc_request request = {0};
    int failures = 0;
    double pause = 0;
    mc_status status;
    do {
        status = start(repository, exchange, &w, &request, pause, error);
        if (status == MC_OK)
            status = wait_for(repository->transfers, exchange, &w, &request, error);
        pause = status == MC_OK && may_retry(exchange, &request)
                    ? mc_retry_pause(&request, MC_MOST_FAILURES, &failures)
                    : -1;
    } while (pause >= 0);
    /* The file that is sent could not be read: the connection broke because of that. */
    if (status == MC_OK && request.send_failed) {
        status = request.send_error.code;
        if (error)
            *error = request.send_error;
    } else if (status == MC_OK) {
        status = check(repository, exchange, &request, any_status, error);
    }
    if (status == MC_OK)
        take_reply(&request, &w, exchange);
    mc_request_clear(&request);
    mc_text_free(&w.body);
    return status;
}

mc_status mc_exchange_send(const mc_repository *repository, mc_exchange *exchange, mc_error *error)
{
    return exchange_with(repository, exchange, true, error);
}

mc_status mc_exchange_expect(const mc_repository *repository, mc_exchange *exchange,
                             mc_error *error)
{
    return exchange_with(repository, exchange, false, error);
}

#include "hub/http.h"

#include "base/library.h"
#include "base/memory.h"
#include "base/system.h"

#include <mergecraft/version.h>

/*
 * libcurl's type checks are macros around the functions' names, which calls through a table cannot
 * use.
 */
#define CURL_DISABLE_TYPECHECK
#define CURL_DISABLE_DEPRECATION
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FUNCTIONS(X)                                                                               \
    X(curl_global_init)                                                                            \
    X(curl_easy_init)                                                                              \
    X(curl_easy_setopt)                                                                            \
    X(curl_easy_getinfo)                                                                           \
    X(curl_easy_strerror)                                                                          \
    X(curl_easy_cleanup)                                                                           \
    X(curl_multi_init)                                                                             \
    X(curl_multi_setopt)                                                                           \
    X(curl_multi_strerror)                                                                         \
    X(curl_multi_add_handle)                                                                       \
    X(curl_multi_remove_handle)                                                                    \
    X(curl_multi_perform)                                                                          \
    X(curl_multi_poll)                                                                             \
    X(curl_multi_info_read)                                                                        \
    X(curl_multi_cleanup)                                                                          \
    X(curl_slist_append)                                                                           \
    X(curl_slist_free_all)

static struct {
#define X(name_) __typeof__(name_) *name_;
    FUNCTIONS(X)
#undef X
} curl;

/* MOST_IGNORED: bytes of an error page after which the request ends. */
enum {
    MOST_REDIRECTS = 10,
    CONNECTIONS_A_HOST = 8,
    RECEIVE_BUFFER = 512 * 1024,
    MOST_IGNORED = 65536
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mc_status loaded;
static mc_error load_error;

/* Under pthread_once: curl_global_init is not thread-safe. */
static void load(void)
{
#ifdef MC_LINK_CURL
#define X(name_) curl.name_ = name_;
    FUNCTIONS(X)
#undef X
#else
    static const char *const files[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};
    const mc_symbol symbols[] = {
#define X(name_) {#name_, (void **)&curl.name_},
        FUNCTIONS(X)
#undef X
            {NULL, NULL},
    };
    loaded = mc_library_load("libcurl, which the Hub needs,", files, symbols, &load_error);
#endif
    if (loaded == MC_OK && curl.curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        loaded = mc_fail(&load_error, MC_UNSUPPORTED, "libcurl cannot be initialised");
}

struct mc_http {
    CURLM *multi;
    const mc_hub_settings *settings;
    mc_origin endpoint;
    struct curl_slist *plain, *trusted; /* headers for any host, and for the endpoint */
    mc_request *requests;               /* running or waiting */
};

/* ---- handles --------------------------------------------------------------------------------- */

/*
 * Makes the two lists of headers. Only the list that is used for the endpoint alone has the token.
 * "Accept:" removes the header that libcurl sends by default.
 */
static bool make_headers(mc_http *http)
{
    const char *const token = http->settings->token;
    http->plain = curl.curl_slist_append(NULL, "Accept:");
    http->trusted = curl.curl_slist_append(NULL, "Accept:");
    char *const line = token ? mc_format("Authorization: Bearer %s", token) : mc_strdup("");
    struct curl_slist *const longer = line && token && http->trusted
                                          ? curl.curl_slist_append(http->trusted, line)
                                          : http->trusted;
    /*
     * Overwritten: the token must not stay in freed memory. volatile keeps the compiler from
     * removing the loop.
     */
    for (volatile char *c = line; c && *c; c++)
        *c = '\0';
    mc_free(line);
    return http->plain && http->trusted && longer && line;
}

mc_status mc_http_new(const mc_hub_settings *settings, mc_http **out, mc_error *error)
{
    pthread_once(&once, load);
    if (loaded != MC_OK) {
        if (error)
            *error = load_error;
        return loaded;
    }
    mc_http *const http = mc_alloc_zero(1, sizeof *http);
    if (!http)
        return mc_fail_memory(error);
    http->settings = settings;
    http->multi = curl.curl_multi_init();
    if (!http->multi || !make_headers(http) ||
        !mc_url_origin(settings->endpoint, &http->endpoint)) {
        mc_http_free(http);
        return mc_fail_memory(error);
    }
    curl.curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)CONNECTIONS_A_HOST);
    *out = http;
    return MC_OK;
}

void mc_http_free(mc_http *http)
{
    if (!http)
        return;
    curl.curl_slist_free_all(http->plain);
    curl.curl_slist_free_all(http->trusted);
    if (http->multi)
        curl.curl_multi_cleanup(http->multi);
    mc_free(http);
}

static void drop_handle(mc_request *request)
{
    if (!request->easy)
        return;
    curl.curl_multi_remove_handle(request->http->multi, request->easy);
    curl.curl_easy_cleanup(request->easy);
    curl.curl_slist_free_all(request->lines);
    request->easy = request->lines = NULL;
}

static void remove_from_list(mc_request *request)
{
    mc_request **at = request->http ? &request->http->requests : NULL;
    while (at && *at && *at != request)
        at = &(*at)->next;
    if (at && *at)
        *at = request->next;
    request->next = NULL;
}

void mc_request_clear(mc_request *request)
{
    if (request->http) {
        remove_from_list(request);
        drop_handle(request);
    }
    mc_reply_clear(&request->reply);
    mc_free(request->url);
    *request = (mc_request){0};
}

/* Takes the list: NULL, and all of it freed, without memory. */
static struct curl_slist *append(struct curl_slist *list, const char *line)
{
    struct curl_slist *const longer = curl.curl_slist_append(list, line);
    if (!longer)
        curl.curl_slist_free_all(list);
    return longer;
}

/* ---- one request ----------------------------------------------------------------------------- */

static size_t on_header(char *line, size_t one, size_t size, void *user)
{
    mc_request *const request = user;
    request->heard = mc_seconds();
    mc_reply_header(&request->reply, line, size * one, (int64_t)time(NULL));
    return size * one;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *user)
{
    mc_request *const request = user;
    request->heard = mc_seconds();
    /* The body of an error is ignored. If it is long, returning 0 ends the request. */
    if (request->reply.status / 100 != 2 || !request->body)
        return (request->ignored += size * one) > MOST_IGNORED ? 0 : size * one;
    request->stopped = !request->body(request, bytes, size * one);
    request->heard = mc_seconds(); /* a slow disk is not a silent server */
    return request->stopped ? 0 : size * one;
}

/* Hands out the next bytes of the body to send. */
static size_t on_send(char *to, size_t one, size_t room, void *user)
{
    mc_request *const request = user;
    const int64_t left = request->send_size - request->sent;
    const size_t size = (int64_t)(one * room) < left ? one * room : (size_t)left;
    request->heard = mc_seconds();
    if (request->send_file && mc_file_read(request->send_file, request->send_begin + request->sent,
                                           to, size, &request->send_error) != MC_OK) {
        request->send_failed = true;
        return CURL_READFUNC_ABORT;
    }
    if (!request->send_file)
        memcpy(to, request->send + request->sent, size);
    request->sent += (int64_t)size;
    return size;
}

/* libcurl sends the body again if a connection that it reused turns out to be closed. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    mc_request *const request = user;
    if (origin != SEEK_SET || offset < 0 || offset > request->send_size)
        return CURL_SEEKFUNC_FAIL;
    request->sent = offset;
    return CURL_SEEKFUNC_OK;
}

static void set_body(CURL *easy, mc_request *request)
{
    request->sent = 0;
    /* UPLOAD takes the body from the callback, and CUSTOMREQUEST replaces the method PUT. */
    curl.curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl.curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    curl.curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->send_size);
    curl.curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
    curl.curl_easy_setopt(easy, CURLOPT_READDATA, request);
    curl.curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl.curl_easy_setopt(easy, CURLOPT_SEEKDATA, request);
    curl.curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)RECEIVE_BUFFER);
}

/* The shared list of headers, or a copy with the request's own; NULL without memory. */
static struct curl_slist *headers_of(const mc_http *http, mc_request *request, bool trusted)
{
    struct curl_slist *const shared = trusted ? http->trusted : http->plain;
    struct curl_slist *list = NULL;
    if (!request->headers && !request->method)
        return shared;
    /* Without "Expect: 100-continue": many servers and proxies do not answer it. */
    list = curl.curl_slist_append(NULL, "Expect:");
    for (const struct curl_slist *line = shared; list && line; line = line->next)
        list = append(list, line->data);
    for (size_t i = 0; list && request->headers && request->headers[i]; i++)
        list = append(list, request->headers[i]);
    request->lines = list;
    return list;
}

static void set_limits(CURL *easy, const mc_http *http, const mc_request *request)
{
    const mc_hub_settings *const settings = http->settings;
    curl.curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, settings->head_timeout);
    curl.curl_easy_setopt(easy, CURLOPT_TIMEOUT, request->timeout);
    curl.curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    /* libcurl must not use signals for its timeouts: they belong to the process. */
    curl.curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Redirects are followed by `follow`, which decides about the token anew. */
    curl.curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl.curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl.curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    /* Asks for plain bytes. Compressed ones from a server that sends them anyway are decoded. */
    curl.curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "identity");
    struct stat status;
    const char *const trust = settings->certificates;
    if (trust && mc_system->stat(trust, &status) == 0 && S_ISDIR(status.st_mode))
        curl.curl_easy_setopt(easy, CURLOPT_CAPATH, trust);
    else if (trust)
        curl.curl_easy_setopt(easy, CURLOPT_CAINFO, trust);
}

static mc_status run(mc_http *http, mc_request *request, mc_error *error)
{
    mc_origin origin;
    char range[64];
    CURL *const easy = curl.curl_easy_init();
    if (!easy)
        return mc_fail_memory(error);
    request->easy = easy;
    request->stopped = false;
    request->ignored = 0;
    request->wake = request->heard = 0;
    request->failure[0] = '\0';
    mc_reply_clear(&request->reply);
    /* Decided per URL, so that after each redirect the token goes to the endpoint only. */
    const bool trusted = mc_url_origin(request->url, &origin) &&
                         mc_origin_same(&origin, &http->endpoint);
    set_limits(easy, http, request);
    curl.curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl.curl_easy_setopt(easy, CURLOPT_USERAGENT, "mergecraft/" MC_VERSION_STRING);
    struct curl_slist *const headers = headers_of(http, request, trusted);
    if (!headers) {
        drop_handle(request);
        return mc_fail_memory(error);
    }
    curl.curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    if (request->method && strcmp(request->method, "GET") != 0)
        set_body(easy, request);
    curl.curl_easy_setopt(easy, CURLOPT_NOBODY, request->head ? 1L : 0L);
    /*
     * A HEAD request waits for a connection that it can share (HTTP/2) instead of opening another.
     */
    curl.curl_easy_setopt(easy, CURLOPT_PIPEWAIT, request->head ? 1L : 0L);
    if (request->end)
        snprintf(range, sizeof range, "%lld-%lld", (long long)request->begin,
                 (long long)request->end - 1);
    else
        snprintf(range, sizeof range, "%lld-", (long long)request->begin);
    if (request->begin || request->end)
        curl.curl_easy_setopt(easy, CURLOPT_RANGE, range);
    /*
     * On a connection of its own, since libcurl repeats a request if a reused connection was
     * closed.
     */
    curl.curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->once ? 1L : 0L);
    curl.curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl.curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->failure);
    curl.curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl.curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl.curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl.curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    const CURLMcode code = curl.curl_multi_add_handle(http->multi, easy);
    if (code != CURLM_OK)
        return mc_fail(error, MC_IO, "libcurl: %s", curl.curl_multi_strerror(code));
    return MC_OK;
}

mc_status mc_http_start(mc_http *http, mc_request *request, double pause, mc_error *error)
{
    request->http = http;
    request->redirects = 0;
    request->next = http->requests;
    http->requests = request;
    if (pause > 0) {
        request->wake = mc_seconds() + pause;
        return MC_OK;
    }
    return run(http, request, error);
}

/* ---- results --------------------------------------------------------------------------------- */

static bool is_redirect(const mc_reply *reply)
{
    return reply->location &&
           (reply->status == 301 || reply->status == 302 || reply->status == 303 ||
            reply->status == 307 || reply->status == 308);
}

static void refuse(mc_request *request, const char *why)
{
    request->how = MC_HTTP_REFUSED;
    snprintf(request->problem, sizeof request->problem, "%s", why);
}

/* Follows a redirect; true if the request runs again. */
static bool follow(mc_http *http, mc_request *request, mc_error *error)
{
    mc_origin origin;
    const mc_reply *const reply = &request->reply;
    char *const url = mc_url_resolve(request->url, reply->location);
    if (!url) {
        refuse(request, "expected a redirect to an http or https address, and not from https to "
                        "http");
        return false;
    }
    /* "Home" is the endpoint, the only origin that gets the token. */
    const bool home = mc_url_origin(url, &origin) && mc_origin_same(&origin, &http->endpoint);
    if (request->stay && (!home || reply->linked_etag[0])) {
        /* The caller asked for the location of a file, not for the file. */
        mc_free(request->reply.location);
        request->reply.location = url;
        return false;
    }
    /* 301, 302 and 303 turn a POST into a GET, which would lose its body. */
    if (request->send_size > 0 && reply->status != 307 && reply->status != 308) {
        mc_free(url);
        refuse(request, "expected a redirect with status 307 or 308");
        return false;
    }
    if (++request->redirects > MOST_REDIRECTS) {
        mc_free(url);
        refuse(request, "too many redirects");
        return false;
    }
    mc_free(request->url);
    request->url = url;
    /* `finish` removed it from the list. */
    request->next = http->requests;
    http->requests = request;
    if (run(http, request, error) == MC_OK)
        return true;
    remove_from_list(request);
    refuse(request, "the redirect cannot be followed");
    return false;
}

/* Failures that a retry would only repeat. */
static bool is_final(CURLcode code)
{
    return code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
           code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_BAD_CONTENT_ENCODING;
}

/*
 * A body that was long enough to be cut off by on_body is a complete reply here: its status counts.
 */
static void set_result(mc_request *request, CURLcode code)
{
    const bool whole = code == CURLE_OK || request->ignored > MOST_IGNORED;
    request->how = request->stopped ? MC_HTTP_STOPPED
                   : whole          ? MC_HTTP_REPLIED
                   : is_final(code) ? MC_HTTP_REFUSED
                                    : MC_HTTP_BROKEN;
    if (request->how == MC_HTTP_BROKEN || request->how == MC_HTTP_REFUSED)
        snprintf(request->problem, sizeof request->problem, "%s",
                 code == CURLE_OPERATION_TIMEDOUT ? "the server did not reply in time"
                 : request->failure[0]            ? request->failure
                                                  : curl.curl_easy_strerror(code));
}

static void finish(mc_http *http, mc_request *request, CURLcode code, mc_error *error)
{
    remove_from_list(request);
    drop_handle(request);
    set_result(request, code);
    /* The body of a redirect may be cut off: only its headers matter. */
    if (is_redirect(&request->reply)) {
        request->how = MC_HTTP_REPLIED;
        if (follow(http, request, error))
            return;
    }
    request->done(request);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Starts requests whose pause is over; lowers *seconds to the end of the next pause. */
static mc_status start_waiting(mc_http *http, double *seconds, mc_error *error)
{
    const double now = mc_seconds();
    for (mc_request *request = http->requests; request; request = request->next) {
        if (request->wake <= 0)
            continue;
        if (request->wake <= now)
            MC_TRY(run(http, request, error));
        else if (request->wake - now < *seconds)
            *seconds = request->wake - now;
    }
    return MC_OK;
}

/*
 * libcurl's own limit (CURLOPT_LOW_SPEED_TIME) reacts seconds late, and includes requests that wait
 * for a connection. Here the time counts from when the request was sent.
 */
static bool is_silent(const mc_http *http, mc_request *request)
{
    double connected = 0;
    if (!request->easy)
        return false;
    if (request->heard <= 0 &&
        curl.curl_easy_getinfo(request->easy, CURLINFO_PRETRANSFER_TIME, &connected) == CURLE_OK &&
        connected > 0)
        request->heard = mc_seconds();
    const long limit = request->patience > http->settings->silence_timeout
                           ? request->patience
                           : http->settings->silence_timeout;
    return request->heard > 0 && mc_seconds() - request->heard >= (double)limit;
}

/* `done` may change the list: the search begins again after each one. */
static void end_silent(mc_http *http, mc_error *error)
{
    for (mc_request *request = http->requests; request;) {
        if (is_silent(http, request)) {
            finish(http, request, CURLE_OPERATION_TIMEDOUT, error);
            request = http->requests;
        } else {
            request = request->next;
        }
    }
}

mc_status mc_http_step(mc_http *http, double seconds, mc_error *error)
{
    int running = 0, left = 0;
    bool finished = false;
    MC_TRY(start_waiting(http, &seconds, error));
    CURLMcode code = curl.curl_multi_perform(http->multi, &running);
    for (CURLMsg *message;
         code == CURLM_OK && (message = curl.curl_multi_info_read(http->multi, &left));) {
        mc_request *request = NULL;
        if (message->msg == CURLMSG_DONE &&
            curl.curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request) == CURLE_OK)
            finish(http, request, message->data.result, error);
        finished = true;
    }
    end_silent(http, error);
    /*
     * After a finished request nothing is waited for: `done` may have started others, which need a
     * step.
     */
    if (code == CURLM_OK && !finished)
        code = curl.curl_multi_poll(http->multi, NULL, 0, (int)(seconds * 1000), NULL);
    if (code != CURLM_OK)
        return mc_fail(error, MC_IO, "libcurl: %s", curl.curl_multi_strerror(code));
    return MC_OK;
}

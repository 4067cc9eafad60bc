#include "hub/settings.h"

#include "base/file.h"
#include "base/memory.h"
#include "hub/url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TOKEN_LIMIT = 4096, DEFAULT_TIMEOUT = 10, MOST_TIMEOUT = 86400 };

/* Returns the value of the first variable that is set and not empty; NULL if none is. */
static const char *first_of(const char *const *names)
{
    for (; *names; names++) {
        const char *const value = getenv(*names);
        if (value && *value)
            return value;
    }
    return NULL;
}
#define FIRST_OF(...) first_of((const char *const[]){__VA_ARGS__, NULL})

static bool is_true(const char *value)
{
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(value, words[i]) == 0)
            return true;
    return false;
}

static mc_status read_timeout(const char *name, long *out, mc_error *error)
{
    const char *const value = FIRST_OF(name);
    char *end = NULL;
    *out = value ? strtol(value, &end, 10) : DEFAULT_TIMEOUT;
    if (value && (*end || *out < 1 || *out > MOST_TIMEOUT))
        return mc_fail(error, MC_USAGE, "%s: expected whole seconds from 1 to %d, found '%s'", name,
                       MOST_TIMEOUT, value);
    return MC_OK;
}

/* ---- folders --------------------------------------------------------------------------------- */

/* Copies a path with "~" expanded. NULL without memory. */
static char *expand(const char *path)
{
    const char *const home = getenv("HOME");
    return path[0] == '~' && (path[1] == '/' || !path[1]) && home
               ? mc_format("%s%s", home, path + 1)
               : mc_strdup(path);
}

/*
 * The folder of cache and token: $HF_HOME or its default. The defaults and their order are those of
 * huggingface_hub: both must find the same cache.
 */
static mc_status find_home(char **out, mc_error *error)
{
    const char *const home = FIRST_OF("HF_HOME"), *const cache = FIRST_OF("XDG_CACHE_HOME");
    const char *const user = FIRST_OF("HOME");
    if (home)
        *out = expand(home);
    else if (cache)
        *out = mc_format("%s/huggingface", cache);
    else if (user)
        *out = mc_format("%s/.cache/huggingface", user);
    else
        return mc_fail(error, MC_USAGE,
                       "expected HF_HOME or HOME in the environment, to find the cache of the "
                       "Hub; found neither");
    return *out ? MC_OK : mc_fail_memory(error);
}

static mc_status find_cache(const char *home, char **out, mc_error *error)
{
    const char *const cache = FIRST_OF("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE");
    *out = cache ? expand(cache) : mc_format("%s/hub", home);
    return *out ? MC_OK : mc_fail_memory(error);
}

/* ---- token ----------------------------------------------------------------------------------- */

/* Checks a token: it must not be able to end its header line. Errors never show it. */
static mc_status take_token(const char *text, const char *from, mc_hub_settings *settings,
                            mc_error *error)
{
    const char *const blanks = " \t\r\n";
    const size_t begin = strspn(text, blanks);
    size_t end = strlen(text);
    while (end > begin && strchr(blanks, text[end - 1]))
        end--;
    if (end == begin)
        return MC_OK;
    for (size_t i = begin; i < end; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return mc_fail(
                error, MC_USAGE,
                "%s: expected a token of printable characters, found another character at "
                "position %zu",
                from, i - begin + 1);
    settings->token = mc_strndup(text + begin, end - begin);
    return settings->token ? MC_OK : mc_fail_memory(error);
}

static mc_status read_token_file(const char *path, mc_hub_settings *settings, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    mc_error problem = MC_ERROR_NONE;
    const mc_status status = mc_file_load(path, TOKEN_LIMIT, &text, &size, &problem);
    if (status == MC_NOT_FOUND || status == MC_IO)
        return MC_OK; /* not logged in, or not readable */
    if (status != MC_OK) {
        if (error)
            *error = problem;
        return status;
    }
    const mc_status taken = take_token(text, path, settings, error);
    mc_free(text);
    return taken;
}

static mc_status read_token(const char *home, mc_hub_settings *settings, mc_error *error)
{
    if (is_true(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
        return MC_OK;
    const char *const given = FIRST_OF("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN");
    if (given)
        return take_token(given, "HF_TOKEN", settings, error);
    const char *const file = FIRST_OF("HF_TOKEN_PATH");
    char *const path = file ? expand(file) : mc_format("%s/token", home);
    const mc_status status = path ? read_token_file(path, settings, error) : mc_fail_memory(error);
    mc_free(path);
    return status;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* The origin decides who gets the token: an endpoint without one is rejected here. */
static mc_status read_endpoint(mc_hub_settings *settings, mc_error *error)
{
    const char *const given = FIRST_OF("HF_ENDPOINT");
    const char *const endpoint = given ? given : "https://huggingface.co";
    mc_origin origin;
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/')
        length--;
    settings->endpoint = mc_strndup(endpoint, length);
    if (!settings->endpoint)
        return mc_fail_memory(error);
    if (!mc_url_origin(settings->endpoint, &origin) || strpbrk(endpoint, "?#"))
        return mc_fail(error, MC_USAGE,
                       "HF_ENDPOINT: expected a URL such as https://huggingface.co, without user "
                       "name or password");
    return MC_OK;
}

static mc_status read_all(const char *home, mc_hub_settings *settings, mc_error *error)
{
    MC_TRY(find_cache(home, &settings->cache, error));
    MC_TRY(read_endpoint(settings, error));
    MC_TRY(read_token(home, settings, error));
    MC_TRY(read_timeout("HF_HUB_ETAG_TIMEOUT", &settings->head_timeout, error));
    MC_TRY(read_timeout("HF_HUB_DOWNLOAD_TIMEOUT", &settings->silence_timeout, error));
    settings->offline = is_true(FIRST_OF("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"));
    settings->copies = is_true(getenv("HF_HUB_DISABLE_SYMLINKS"));
    const char *const certificates = FIRST_OF("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
                                              "SSL_CERT_FILE");
    if (certificates && !(settings->certificates = mc_strdup(certificates)))
        return mc_fail_memory(error);
    return MC_OK;
}

mc_status mc_hub_settings_read(mc_hub_settings *out, mc_error *error)
{
    char *home = NULL;
    mc_status status = find_home(&home, error);
    if (status == MC_OK)
        status = read_all(home, out, error);
    mc_free(home);
    return status;
}

void mc_hub_settings_free(mc_hub_settings *settings)
{
    /* Overwritten: the token must not stay in freed memory. */
    for (volatile char *c = settings->token; c && *c; c++)
        *c = '\0';
    mc_free(settings->token);
    mc_free(settings->endpoint);
    mc_free(settings->cache);
    mc_free(settings->certificates);
    *settings = (mc_hub_settings){0};
}

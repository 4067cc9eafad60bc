#include "hub/url.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Not isalpha() and the like, which depend on the locale of the program. */
static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Rejects characters that parsers of URLs treat differently: such a URL has no certain host. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || *text == '\\')
            return false;
    return true;
}

/* Parses ":443" up to `end`, or uses the default port of the scheme. */
static bool read_port(const char *text, const char *end, mc_origin *out)
{
    out->port = out->tls ? 443 : 80;
    if (text == end)
        return true;
    long port = 0;
    /* Stops beyond the largest port, so that the number cannot overflow. */
    for (text++; text < end && is_digit(*text) && port <= 65535; text++)
        port = port * 10 + (*text - '0');
    out->port = (int)port;
    return text == end && port > 0 && port <= 65535;
}

static bool read_host(const char *text, size_t length, mc_origin *out)
{
    /*
     * In brackets: an IPv6 address. "@" is in neither list, so that a user name before the host is
     * rejected.
     */
    const char *const signs = text[0] == '[' ? "[]:." : ".-_";
    if (length == 0 || length >= MC_URL_HOST)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!is_letter(text[i]) && !is_digit(text[i]) && !strchr(signs, text[i]))
            return false;
        /* Host names are compared, and their case does not matter. */
        out->host[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 'a' - 'A') : text[i];
    }
    out->host[length] = '\0';
    return true;
}

bool mc_url_origin(const char *url, mc_origin *out)
{
    *out = (mc_origin){.tls = strncasecmp(url, "https://", 8) == 0};
    if (!is_plain(url) || (!out->tls && strncasecmp(url, "http://", 7) != 0))
        return false;
    const char *const host = url + (out->tls ? 8 : 7), *const end = host + strcspn(host, "/?#");
    const char *const bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    if (host[0] == '[' && (!bracket || bracket > end))
        return false;
    const char *port = bracket ? bracket + 1 : host + strcspn(host, ":/?#");
    if (port < end && *port != ':')
        return false;
    return read_host(host, (size_t)(port - host), out) && read_port(port, end, out);
}

bool mc_origin_same(const mc_origin *a, const mc_origin *b)
{
    return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Returns the length of a scheme such as "https:"; 0 if there is none. */
static size_t scheme_length(const char *text)
{
    size_t n = 0;
    if (!is_letter(text[0]))
        return 0;
    while (is_letter(text[n]) || is_digit(text[n]) || (text[n] && strchr("+.-", text[n])))
        n++;
    return text[n] == ':' ? n + 1 : 0;
}

/* Returns how much of `url` precedes a relative location. */
static size_t kept_length(const char *url, const char *location)
{
    /* mc_url_origin accepted the URL: "//" is in it. */
    const char *const host = strstr(url, "//") + 2;
    const size_t origin = (size_t)(host - url) + strcspn(host, "/?#");
    const size_t path = strcspn(url, "?#");
    if (location[0] == '/')
        return origin;
    if (location[0] == '?' || !location[0])
        return path;
    size_t folder = path;
    while (folder > origin && url[folder - 1] != '/')
        folder--;
    return folder;
}

char *mc_url_resolve(const char *url, const char *location)
{
    mc_origin from, to;
    const size_t length = strcspn(location, "#");
    char *result;
    if (!is_plain(location) || !mc_url_origin(url, &from))
        return NULL;
    if (scheme_length(location) > 0)
        result = mc_strndup(location, length);
    else if (strncmp(location, "//", 2) == 0)
        result = mc_format("%s%.*s", from.tls ? "https:" : "http:", (int)length, location);
    else {
        const size_t kept = kept_length(url, location);
        const bool slash = location[0] != '/' && location[0] != '?' && location[0] &&
                           url[kept - 1] != '/';
        result = mc_format("%.*s%s%.*s", (int)kept, url, slash ? "/" : "", (int)length, location);
    }
    /*
     * Never from https to http, where anyone on the way could read the token and change the
     * content.
     */
    if (result && mc_url_origin(result, &to) && (to.tls || !from.tls))
        return result;
    mc_free(result);
    return NULL;
}

void mc_url_add_encoded(mc_text *out, const char *text, bool keep_slashes)
{
    for (; *text; text++) {
        const bool kept = is_letter(*text) || is_digit(*text) || strchr("-._~", *text) ||
                          (keep_slashes && *text == '/');
        if (kept)
            mc_text_append(out, text, 1);
        else
            mc_text_add(out, "%%%02X", (unsigned char)*text);
    }
}

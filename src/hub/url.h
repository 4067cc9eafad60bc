/*
 * URLs. The client parses them itself, since the origin decides who gets the token. URLs that
 * parsers disagree about (user name before the host, backslash, control characters) are rejected.
 */
#ifndef MC_HUB_URL_H
#define MC_HUB_URL_H

#include "base/text.h"

enum { MC_URL_HOST = 256 };

/* Scheme, host and port. */
typedef struct mc_origin {
    bool tls;
    char host[MC_URL_HOST]; /* in lower case */
    int port;
} mc_origin;

/* Parses the origin; false unless the URL is http:// or https:// with a host. */
bool mc_url_origin(const char *url, mc_origin *out);
bool mc_origin_same(const mc_origin *a, const mc_origin *b);

/*
 * Resolves the Location of a redirect from `url`. Returns a URL that mc_url_origin accepts; NULL
 * for another scheme, for a redirect from https to http, or without memory.
 */
char *mc_url_resolve(const char *url, const char *location);

/* Appends percent-encoded text; keeps "/" if `keep_slashes`. */
void mc_url_add_encoded(mc_text *out, const char *text, bool keep_slashes);

#endif

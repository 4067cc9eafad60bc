/*
 * Addresses, as far as a client must understand them itself: it decides by them who gets the token. What could be read in two ways
 * (a name before the host, a backslash, a control character) is no address here.
 */
#ifndef MC_HUB_URL_H
#define MC_HUB_URL_H

#include "base/text.h"

enum { MC_URL_HOST = 256 };

/* Scheme, host and port: who a request goes to. */
typedef struct mc_origin {
    bool tls;
    char host[MC_URL_HOST]; /* in lower case */
    int port;
} mc_origin;

/* False unless the address begins with http:// or https:// and a host. */
bool mc_url_origin(const char *url, mc_origin *out);
bool mc_origin_same(const mc_origin *a, const mc_origin *b);

/* Whether a Location names its host itself. */
bool mc_url_is_absolute(const char *location);

/*
 * Where a redirect from `url` to `location` leads: a new address that mc_url_origin understands. NULL if it is none (another scheme),
 * leads from https to http, or there is no memory.
 */
char *mc_url_resolve(const char *url, const char *location);

/* Adds text percent-encoded; "/" stays as it is if it is to. */
void mc_url_add_encoded(mc_text *out, const char *text, bool keep_slashes);

#endif

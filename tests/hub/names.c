/* Names, URLs, headers and listings: accepted and rejected ones. No network. */
#include "hub/listing.h"
#include "hub/reply.h"
#include "hub/url.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
    static const char *const good[] = {"org/name", "name", "a/b@main", "A.b_c/d-e.f@refs/pr/1",
                                       "org/name@0123456789012345678901234567890123456789"};
    static const char *const bad[] = {"",       "/",      "org/",   "/name",    "a/b/c",
                                      "../x",   "a/..",   "a/b@",   "a/b@../c", "a--b/c",
                                      "a/b..c", "-a/b",   "a/b.",   "a b/c",    "a/b@c//d",
                                      "a/b@/c", "a/b%2f", "a\\b/c", "a/b@c\n"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        mc_hub_id id = {0};
        assert_int_equal(mc_hub_id_parse(good[i], MC_HUB_MODEL, &id, NULL), MC_OK);
        mc_hub_id_free(&id);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mc_hub_id id = {0};
        if (mc_hub_id_parse(bad[i], MC_HUB_MODEL, &id, NULL) != MC_USAGE)
            fail_msg("'%s' is taken for a name", bad[i]);
        mc_hub_id_free(&id);
    }
}

static void test_origins(void **state)
{
    mc_origin a, b;
    (void)state;
    assert_true(mc_url_origin("https://Hub.example/x", &a));
    assert_true(mc_url_origin("HTTPS://hub.example:443?y", &b));
    assert_true(mc_origin_same(&a, &b));
    assert_true(mc_url_origin("http://hub.example:443/", &b));
    assert_false(mc_origin_same(&a, &b)); /* another scheme */
    assert_true(mc_url_origin("https://hub.example:444/", &b));
    assert_false(mc_origin_same(&a, &b)); /* another port */
    assert_true(mc_url_origin("https://hub.example.evil/", &b));
    assert_false(mc_origin_same(&a, &b));
    assert_true(mc_url_origin("http://[::1]:80/x", &b));
    static const char *const bad[] = {"",
                                      "ftp://a/b",
                                      "https://",
                                      "https://a@b/",
                                      "https://a:b/",
                                      "https://a:0/",
                                      "https://a:99999/",
                                      "https://a b/",
                                      "https://a\\b",
                                      "https://a%2eb/",
                                      "//a/b",
                                      "https://[::1",
                                      "https:///a",
                                      "https://a:80:80/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mc_url_origin(bad[i], &a))
            fail_msg("'%s' is taken for an address", bad[i]);
}

static void test_redirects(void **state)
{
    /* from, location, result; NULL: rejected */
    static const char *const cases[][3] = {
        {"http://a/b/c?d", "/e", "http://a/e"},
        {"http://a/b/c?d", "e", "http://a/b/e"},
        {"http://a/b/c?d", "?e", "http://a/b/c?e"},
        {"http://a", "e", "http://a/e"},
        {"http://a/b", "//c/d", "http://c/d"},
        {"https://a/b", "//c/d", "https://c/d"},
        {"http://a/b", "https://c/d#e", "https://c/d"},
        {"https://a/b", "http://a/b", NULL},
        {"http://a/b", "file:///etc/passwd", NULL},
        {"http://a/b", "ftp://c", NULL},
        {"http://a/b", "http://c@d/", NULL},
        {"http://a/b", "\\\\c", NULL},
        {"http://a/b", "/c d", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *const found = mc_url_resolve(cases[i][0], cases[i][1]);
        if (cases[i][2] ? !found || strcmp(found, cases[i][2]) != 0 : found != NULL)
            fail_msg("%s from %s: expected %s, found %s", cases[i][1], cases[i][0],
                     cases[i][2] ? cases[i][2] : "nothing", found ? found : "nothing");
        mc_free(found);
    }
}

static void header(mc_reply *reply, const char *line)
{
    mc_reply_header(reply, line, strlen(line),
                    1445412480 - 60); /* a minute before the date below */
}

static void test_headers(void **state)
{
    mc_reply reply = {0};
    (void)state;
    header(&reply, "HTTP/1.1 206 Partial Content\r\n");
    header(&reply, "etag: W/\"abc\"\r\n");
    header(&reply, "X-Linked-Etag: \"def\"\r\n");
    header(&reply, "X-Repo-Commit: 0123456789012345678901234567890123456789\r\n");
    header(&reply, "Content-Length: 12\r\n");
    header(&reply, "x-linked-size: 99999999999999999999\r\n");
    header(&reply, "Content-Range: bytes 5-9/10\r\n");
    header(&reply, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n");
    header(&reply, "Link: <http://a/1>; rel=\"prev\", <http://a/2>; rel=\"next\"\r\n");
    assert_int_equal(reply.status, 206);
    assert_string_equal(reply.etag, "abc");
    assert_string_equal(reply.linked_etag, "def");
    assert_int_equal(strlen(reply.commit), 40);
    assert_int_equal(reply.length, 12);
    assert_int_equal(reply.linked_size, -1);
    assert_int_equal(reply.range_begin, 5);
    assert_int_equal(reply.range_size, 10);
    assert_true(reply.retry_after == 60);
    assert_string_equal(reply.next, "http://a/2");
    header(&reply, "HTTP/2 429 \r\n"); /* a new reply resets everything */
    header(&reply, "Retry-After: 7\r\n");
    header(&reply, "X-Repo-Commit: ../../x\r\n");
    assert_int_equal(reply.status, 429);
    assert_null(reply.next);
    assert_string_equal(reply.commit, "");
    assert_int_equal(reply.length, -1);
    assert_true(reply.retry_after == 7);
    mc_reply_clear(&reply);
}

static mc_status parse(const char *text, mc_listing *out)
{
    *out = (mc_listing){0};
    return mc_listing_parse(text, strlen(text), out, NULL);
}

static void test_listings(void **state)
{
#define SHA "\"sha\": \"0123456789012345678901234567890123456789\""
    mc_listing listing;
    (void)state;
    assert_int_equal(
        parse("{" SHA ", \"siblings\": [{\"rfilename\": \"a\"}, {\"rfilename\": \"../b\"}, "
              "{\"rfilename\": \"/c\"}, {\"rfilename\": \"\"}, {\"rfilename\": \"d/e\"}]}",
              &listing),
        MC_OK);
    assert_true(listing.complete);
    assert_int_equal(listing.count, 2);
    assert_true(mc_listing_has(&listing, "d/e"));
    mc_listing_free(&listing);
    assert_int_equal(parse("{" SHA "}", &listing), MC_OK);
    assert_false(listing.complete);
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"sha\": \"../../x\"}",
                                      "{\"sha\": 1}",
                                      "{" SHA ", \"siblings\": [{}]}",
                                      "{" SHA ", \"siblings\": [{\"rfilename\": 1}]}",
                                      "{" SHA ", \"siblings\": [{\"rfilename\": \"a\\u0000b\"}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], &listing) != MC_FORMAT)
            fail_msg("'%s' is taken for a listing", bad[i]);
        mc_listing_free(&listing);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),     cmocka_unit_test(test_origins),
        cmocka_unit_test(test_redirects), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_listings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "hub/name.h"

#include "base/memory.h"

#include <string.h>

/* LONGEST_PART is a rule of the Hub, LONGEST_NAME the limit of common file systems for a name. */
enum { LONGEST_PART = 96, LONGEST_NAME = 255 };

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-_.", c));
}

/*
 * Whether a text is a part of ORG/NAME by the rules of the Hub. Two hyphens in a row are excluded,
 * since they stand for the slash in the names of the cache.
 */
static bool is_part(const char *text, size_t length)
{
    if (length == 0 || length > LONGEST_PART || strchr("-.", text[0]) ||
        strchr("-.", text[length - 1]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_name_character(text[i]) || (i && strchr("-.", text[i]) && text[i] == text[i - 1]))
            return false;
    return true;
}

static bool is_repository(const char *text, size_t length)
{
    const char *const slash = memchr(text, '/', length);
    if (!slash)
        return is_part(text, length);
    const size_t first = (size_t)(slash - text);
    return is_part(text, first) && is_part(slash + 1, length - first - 1);
}

mc_status mc_hub_id_parse(const char *text, mc_hub_kind kind, mc_hub_id *out, mc_error *error)
{
    const size_t length = strcspn(text, "@");
    const char *const revision = text[length] ? text + length + 1 : "main";
    if (!is_repository(text, length))
        return mc_fail(
            error, MC_USAGE,
            "expected the name of a repository, ORG/NAME or ORG/NAME@REVISION, found '%s'", text);
    if (!mc_hub_path_ok(revision))
        return mc_fail(error, MC_USAGE,
                       "expected a branch, a tag or a commit after '@', found '%s' in '%s'",
                       revision, text);
    out->kind = kind;
    out->name = mc_strndup(text, length);
    out->revision = mc_strdup(revision);
    return out->name && out->revision ? MC_OK : mc_fail_memory(error);
}

void mc_hub_id_free(mc_hub_id *id)
{
    mc_free(id->name);
    mc_free(id->revision);
    *id = (mc_hub_id){0};
}

/*
 * A path becomes a part of paths in the cache and of URLs. No part may be empty, "." or "..", and
 * no character may end or escape a part.
 */
bool mc_hub_path_ok(const char *path)
{
    for (const char *part = path;; part++) {
        const size_t length = strcspn(part, "/");
        if (length == 0 || length > LONGEST_NAME || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        for (size_t i = 0; i < length; i++)
            if ((unsigned char)part[i] < ' ' || part[i] == 0x7f || part[i] == '\\')
                return false;
        part += length;
        if (!*part)
            return true;
    }
}

bool mc_hub_is_hex(const char *text, size_t count)
{
    return strspn(text, "0123456789abcdef") >= count;
}

bool mc_hub_is_commit(const char *text)
{
    return strlen(text) == MC_COMMIT_SIZE - 1 && mc_hub_is_hex(text, MC_COMMIT_SIZE - 1);
}

const char *mc_hub_kind_name(mc_hub_kind kind)
{
    return kind == MC_HUB_DATASET ? "datasets" : "models";
}

/*
 * A zip file is read from its end: the end record locates the directory, and the directory locates
 * the members.
 *
 *     [local header, name, extra, data] …
 *     [directory entry, name, extra, comment] …
 *     (zip64 end record, zip64 locator)  end record, comment
 *
 * Sizes and offsets that do not fit into 32 bits are in a zip64 "extra" field of the entry; the
 * 32-bit field is then all ones.
 */
#include "checkpoint/zip.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOCAL_BYTES = 30,
    ENTRY_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    COMMENT_LIMIT = 65535,
    DIRECTORY_LIMIT = 64 * 1024 * 1024,
    EXTRA_ZIP64 = 1,
    FLAG_ENCRYPTED = 1,
    FLAG_SIZES_FOLLOW = 8, /* the local header was written before the sizes were known */
};

#define LOCAL_SIGNATURE 0x04034b50u
#define ENTRY_SIGNATURE 0x02014b50u
#define END_SIGNATURE 0x06054b50u
#define END64_SIGNATURE 0x06064b50u
#define LOCATOR_SIGNATURE 0x07064b50u

static uint16_t get16(const unsigned char *b)
{
    return (uint16_t)(b[0] | b[1] << 8);
}

static uint32_t get32(const unsigned char *b)
{
    return (uint32_t)get16(b) | (uint32_t)get16(b + 2) << 16;
}

static uint64_t get64(const unsigned char *b)
{
    return (uint64_t)get32(b) | (uint64_t)get32(b + 4) << 32;
}

/* The directory, as the end records describe it. */
typedef struct directory {
    uint64_t offset, size, count;
    int64_t limit; /* where the end records begin: neither directory nor members reach further */
} directory;

/*
 * The end record that reaches exactly to the end of the file with its comment. A comment may
 * contain the signature: the length of the comment decides. Searched backwards, since most files
 * have no comment.
 */
static mc_status find_end(const mc_file *file, unsigned char *end, int64_t *offset, mc_error *error)
{
    const int64_t size = mc_file_size(file);
    const int64_t length = size < END_BYTES + COMMENT_LIMIT ? size : END_BYTES + COMMENT_LIMIT;
    unsigned char *const tail = mc_alloc((size_t)length);
    if (!tail)
        return mc_fail_memory(error);
    mc_status status = mc_file_read(file, size - length, tail, (size_t)length, error);
    int64_t at = status == MC_OK ? length - END_BYTES : -1;
    while (at >= 0 &&
           (get32(tail + at) != END_SIGNATURE || get16(tail + at + 20) != length - at - END_BYTES))
        at--;
    if (at >= 0) {
        memcpy(end, tail + at, END_BYTES);
        *offset = size - length + at;
    } else if (status == MC_OK) {
        status = mc_fail_at(error, MC_FORMAT, NULL, NULL, size,
                            "expected the directory of a zip file at the end, found none: the file "
                            "is not complete");
    }
    mc_free(tail);
    return status;
}

/* The locator lies directly before the end record and points to the zip64 end record. */
static mc_status read_end64(const mc_file *file, int64_t locator_offset, directory *out,
                            mc_error *error)
{
    unsigned char locator[LOCATOR_BYTES] = {0}, end[END64_BYTES] = {0};
    MC_TRY(mc_file_read(file, locator_offset, locator, sizeof locator, error));
    const uint64_t offset = get64(locator + 8);
    if (offset > (uint64_t)locator_offset || (uint64_t)locator_offset - offset < END64_BYTES)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, locator_offset,
                          "expected the zip64 end record before byte %lld, found byte %llu",
                          (long long)locator_offset, (unsigned long long)offset);
    MC_TRY(mc_file_read(file, (int64_t)offset, end, sizeof end, error));
    if (get32(end) != END64_SIGNATURE)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, (int64_t)offset,
                          "expected a zip64 end record, found something else");
    *out = (directory){.offset = get64(end + 48),
                       .size = get64(end + 40),
                       .count = get64(end + 32),
                       .limit = (int64_t)offset};
    return MC_OK;
}

static mc_status has_locator(const mc_file *file, int64_t offset, bool *has, mc_error *error)
{
    *has = false;
    if (offset < 0)
        return MC_OK;
    unsigned char signature[4] = {0};
    MC_TRY(mc_file_read(file, offset, signature, sizeof signature, error));
    *has = get32(signature) == LOCATOR_SIGNATURE;
    return MC_OK;
}

static mc_status find_directory(const mc_file *file, directory *out, mc_error *error)
{
    unsigned char end[END_BYTES] = {0};
    int64_t at = 0;
    bool has_zip64 = false;
    MC_TRY(find_end(file, end, &at, error));
    *out = (directory){
        .offset = get32(end + 16), .size = get32(end + 12), .count = get16(end + 10), .limit = at};
    MC_TRY(has_locator(file, at - LOCATOR_BYTES, &has_zip64, error));
    if (has_zip64)
        MC_TRY(read_end64(file, at - LOCATOR_BYTES, out, error));
    if (out->offset > (uint64_t)out->limit || out->size > (uint64_t)out->limit - out->offset ||
        out->size > DIRECTORY_LIMIT)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, at,
                          "expected a zip directory of at most %d bytes before byte %lld, found "
                          "%llu bytes at byte %llu",
                          DIRECTORY_LIMIT, (long long)out->limit, (unsigned long long)out->size,
                          (unsigned long long)out->offset);
    /* Bounds the memory for members by the size of the directory. */
    if (out->count > out->size / ENTRY_BYTES)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, at,
                          "a zip directory of %llu bytes cannot hold %llu members",
                          (unsigned long long)out->size, (unsigned long long)out->count);
    return MC_OK;
}

/* A directory entry and where its parts are. */
typedef struct entry {
    unsigned flags, method;
    uint64_t packed, size, offset;
    const unsigned char *name;
    size_t name_size;
} entry;

static bool take64(const unsigned char **field, size_t *left, uint64_t *value)
{
    if (*value != UINT32_MAX)
        return true;
    if (*left < 8)
        return false;
    *value = get64(*field);
    *field += 8;
    *left -= 8;
    return true;
}

/*
 * The zip64 field has only those of the three values whose 32-bit field is all ones, in this order:
 * size, packed size, offset.
 */
static bool apply_zip64(entry *one, const unsigned char *extra, size_t left)
{
    while (left >= 4) {
        const size_t size = get16(extra + 2);
        if (size > left - 4)
            return false;
        if (get16(extra) == EXTRA_ZIP64) {
            const unsigned char *field = extra + 4;
            size_t rest = size;
            return take64(&field, &rest, &one->size) && take64(&field, &rest, &one->packed) &&
                   take64(&field, &rest, &one->offset);
        }
        extra += 4 + size;
        left -= 4 + size;
    }
    return true;
}

/* Reads the entry at *at and moves on behind it. */
static mc_status parse_entry(const unsigned char *bytes, size_t size, size_t *at, entry *one,
                             mc_error *error)
{
    const unsigned char *const b = bytes + *at;
    const size_t left = size - *at;
    if (left < ENTRY_BYTES || get32(b) != ENTRY_SIGNATURE)
        return mc_fail(error, MC_FORMAT, "expected another entry in the zip directory");
    const size_t name_size = get16(b + 28), extra = get16(b + 30), comment = get16(b + 32);
    /* Without overflow: three 16-bit numbers. */
    if (left - ENTRY_BYTES < name_size + extra + comment)
        return mc_fail(error, MC_FORMAT, "an entry reaches beyond the end of the zip directory");
    *one = (entry){
        .flags = get16(b + 8),
        .method = get16(b + 10),
        .packed = get32(b + 20),
        .size = get32(b + 24),
        .offset = get32(b + 42),
        .name = b + ENTRY_BYTES,
        .name_size = name_size,
    };
    if (!apply_zip64(one, b + ENTRY_BYTES + name_size, extra))
        return mc_fail(error, MC_FORMAT, "an entry of the zip directory has a broken zip64 field");
    *at += ENTRY_BYTES + name_size + extra + comment;
    return MC_OK;
}

/* Members are never extracted, but such a name has no place in a checkpoint. */
static bool leads_outside(const char *name)
{
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return true;
    }
    return name[0] == '/' || strchr(name, '\\');
}

/* A member is read where it lies in the file, so it must be stored as it is. */
static mc_status check_entry(const entry *one, const char *name, mc_error *error)
{
    if (one->name_size == 0 || strlen(name) != one->name_size || leads_outside(name))
        return mc_fail(error, MC_FORMAT,
                       "expected member names that stay inside the zip file, found '%s'", name);
    if (one->flags & FLAG_ENCRYPTED)
        return mc_fail(error, MC_UNSUPPORTED, "zip member '%s' is encrypted", name);
    if (one->method != 0 && strstr(name, "/code/"))
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a checkpoint, found a TorchScript program: save its state dict");
    if (one->method != 0)
        return mc_fail(
            error, MC_UNSUPPORTED,
            "zip member '%s' is compressed (method %u); torch stores members as they are", name,
            one->method);
    if (one->packed != one->size)
        return mc_fail(error, MC_FORMAT,
                       "zip member '%s' is stored, but its two sizes differ: %llu and %llu", name,
                       (unsigned long long)one->packed, (unsigned long long)one->size);
    return MC_OK;
}

/*
 * Readers that trust the directory and readers that trust the local headers must see the same file:
 * a contradiction means damage or an attack.
 */
static mc_status check_local_fields(const unsigned char *local, const entry *one, const char *name,
                                    mc_error *error)
{
    const bool known = !(get16(local + 6) & FLAG_SIZES_FOLLOW);
    const uint32_t size = one->size < UINT32_MAX ? (uint32_t)one->size : UINT32_MAX;
    /* Writers that use zip64 for all members write all ones, for small members too. */
    const bool same_size = get32(local + 22) == size || get32(local + 22) == UINT32_MAX;
    if (get32(local) != LOCAL_SIGNATURE)
        return mc_fail(error, MC_FORMAT, "zip member '%s' does not begin where the directory says",
                       name);
    if (get16(local + 26) != one->name_size || get16(local + 8) != one->method ||
        ((get16(local + 6) ^ one->flags) & FLAG_ENCRYPTED) || (known && !same_size))
        return mc_fail(error, MC_FORMAT, "zip member '%s' and the directory contradict each other",
                       name);
    return MC_OK;
}

static mc_status check_local_name(const mc_file *file, const entry *one, const char *name,
                                  mc_error *error)
{
    char *const found = mc_alloc(one->name_size);
    if (!found)
        return mc_fail_memory(error);
    mc_status status = mc_file_read(file, (int64_t)one->offset + LOCAL_BYTES, found, one->name_size,
                                    error);
    if (status == MC_OK && memcmp(found, name, one->name_size) != 0)
        status = mc_fail(error, MC_FORMAT, "zip member '%s' has another name in its own header",
                         name);
    mc_free(found);
    return status;
}

/* Finds the member's data, which its own header precedes. */
static mc_status locate(const mc_file *file, const entry *one, uint64_t directory_offset,
                        mc_zip_member *member, mc_error *error)
{
    const char *const name = member->name;
    if (one->offset > directory_offset ||
        directory_offset - one->offset < LOCAL_BYTES + one->name_size)
        return mc_fail(error, MC_FORMAT,
                       "zip member '%s' begins at byte %llu, expected before the directory at byte "
                       "%llu",
                       name, (unsigned long long)one->offset, (unsigned long long)directory_offset);
    unsigned char local[LOCAL_BYTES] = {0};
    MC_TRY(mc_file_read(file, (int64_t)one->offset, local, sizeof local, error));
    MC_TRY(check_local_fields(local, one, name, error));
    MC_TRY(check_local_name(file, one, name, error));
    /*
     * The extra field of the local header may differ from that of the directory: torch pads it to
     * align the data.
     */
    const uint64_t begin = one->offset + LOCAL_BYTES + one->name_size + get16(local + 28);
    if (begin > directory_offset || one->size > directory_offset - begin)
        return mc_fail(error, MC_FORMAT,
                       "zip member '%s' has %llu bytes at byte %llu, but the directory begins at "
                       "byte %llu",
                       name, (unsigned long long)one->size, (unsigned long long)begin,
                       (unsigned long long)directory_offset);
    member->header = (int64_t)one->offset;
    member->begin = (int64_t)begin;
    member->end = (int64_t)(begin + one->size);
    return MC_OK;
}

static int compare_members(const void *a, const void *b)
{
    const mc_zip_member *const x = a, *const y = b;
    return (x->header > y->header) - (x->header < y->header);
}

/* Sorted by place, so that overlaps are between neighbours. */
static mc_status index_members(mc_zip *zip, mc_error *error)
{
    qsort(zip->members, zip->count, sizeof *zip->members, compare_members);
    for (size_t i = 0; i < zip->count; i++) {
        const char *const name = zip->members[i].name;
        if (i > 0 && zip->members[i].header < zip->members[i - 1].end)
            return mc_fail_at(error, MC_FORMAT, NULL, NULL, zip->members[i].header,
                              "zip members '%s' and '%s' overlap", zip->members[i - 1].name, name);
        /* Two members of one name: readers disagree about which one counts. */
        if (mc_zip_find(zip, name))
            return mc_fail(error, MC_FORMAT, "the zip file has two members '%s'", name);
        if (!mc_index_set(&zip->index, name, i))
            return mc_fail_memory(error);
    }
    return MC_OK;
}

static mc_status parse_directory(const mc_file *file, const directory *where,
                                 const unsigned char *bytes, mc_zip *zip, mc_error *error)
{
    zip->members = mc_alloc_zero(where->count, sizeof *zip->members);
    if (!zip->members)
        return mc_fail_memory(error);
    size_t at = 0;
    for (uint64_t i = 0; i < where->count; i++) {
        entry one = {0};
        MC_TRY(parse_entry(bytes, where->size, &at, &one, error));
        mc_zip_member *const member = &zip->members[zip->count++];
        member->name = mc_strndup((const char *)one.name, one.name_size);
        if (!member->name)
            return mc_fail_memory(error);
        MC_TRY(check_entry(&one, member->name, error));
        MC_TRY(locate(file, &one, where->offset, member, error));
    }
    if (at != where->size)
        return mc_fail(error, MC_FORMAT, "expected %llu members in the zip directory, found more",
                       (unsigned long long)where->count);
    return index_members(zip, error);
}

mc_status mc_zip_open(const mc_file *file, mc_zip *out, mc_error *error)
{
    directory where = {0};
    MC_TRY(find_directory(file, &where, error));
    unsigned char *const bytes = mc_alloc(where.size);
    if (!bytes)
        return mc_fail_memory(error);
    mc_status status = mc_file_read(file, (int64_t)where.offset, bytes, where.size, error);
    if (status == MC_OK)
        status = parse_directory(file, &where, bytes, out, error);
    mc_free(bytes);
    return status;
}

void mc_zip_free(mc_zip *zip)
{
    for (size_t i = 0; i < zip->count; i++)
        mc_free(zip->members[i].name);
    mc_free(zip->members);
    mc_index_free(&zip->index);
    *zip = (mc_zip){0};
}

const mc_zip_member *mc_zip_find(const mc_zip *zip, const char *name)
{
    const size_t at = mc_index_find(&zip->index, name);
    return at == MC_INDEX_NONE ? NULL : &zip->members[at];
}

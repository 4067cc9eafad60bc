#include "recipe/yaml.h"

#include "base/memory.h"
#include "recipe/scalar.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/*
 * A node while it is composed. `size` counts the nodes below it with aliases written out, `height`
 * the levels. A chain of aliases to aliases grows exponentially ("billion laughs"); these numbers
 * detect it without walking it.
 */
typedef struct node {
    mc_yaml yaml;
    uint64_t size;
    unsigned height;
    mc_scalar_kind scalar;          /* of a plain scalar: tells a merge key from the string "<<" */
    bool open;                      /* its end is not read yet: an alias to it would be a cycle */
    const struct node *merged_into; /* the map whose merge keys named it last */
    size_t capacity;
} node;

typedef struct anchor {
    char *name;
    node *target;
} anchor;

typedef struct composer {
    yaml_parser_t parser;
    mc_yaml_file *file;
    const char *name; /* of the file, in errors */
    const char *text;
    size_t size_of_text;
    mc_error *error;
    anchor *anchors; /* of the document */
    size_t anchor_count, anchor_capacity;
    node *open[MC_YAML_DEEPEST]; /* the collections around the event at hand */
    node *keys[MC_YAML_DEEPEST]; /* and of maps the key whose value is missing, or NULL */
    size_t depth;
    node *root;
    uint64_t size; /* of the documents before */
} composer;

static unsigned line_of(const yaml_mark_t *mark)
{
    return (unsigned)mark->line + 1;
}

static unsigned column_of(const yaml_mark_t *mark)
{
    return (unsigned)mark->column + 1;
}

MC_PRINTF(6, 0)
static mc_status fail_list(mc_error *error, mc_status status, const char *name, unsigned line,
                           unsigned column, const char *format, va_list arguments)
{
    char place[sizeof error->file], text[sizeof error->text];
    snprintf(place, sizeof place, "%s:%u:%u", name, line, column);
    vsnprintf(text, sizeof text, format, arguments);
    return mc_fail_at(error, status, place, NULL, -1, "%s", text);
}

mc_status mc_yaml_fail(mc_error *error, mc_status status, const char *name, unsigned line,
                       unsigned column, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail_list(error, status, name, line, column, format, arguments);
    va_end(arguments);
    return status;
}

mc_status mc_yaml_in_node(mc_error *error, const char *name, const mc_yaml *at, mc_status status)
{
    char place[sizeof error->file];
    if (status == MC_OK)
        return MC_OK;
    snprintf(place, sizeof place, "%s:%u:%u", name, at->line, at->column);
    return mc_in_file(error, place, status);
}

#define FAIL_AT(composer_, mark_, status_, ...)                                                    \
    mc_yaml_fail((composer_)->error, (status_), (composer_)->name, line_of(mark_),                 \
                 column_of(mark_), __VA_ARGS__)

#define FAIL_NODE(composer_, yaml_, ...)                                                           \
    mc_yaml_fail((composer_)->error, MC_FORMAT, (composer_)->name, (yaml_)->line, (yaml_)->column, \
                 __VA_ARGS__)

/*
 * Inserts a warning in the order of lines: checks visit the document in another order than its
 * author reads it.
 */
static void put_in_place(mc_yaml_file *file, mc_yaml_warning warning)
{
    size_t i = file->warning_count++;
    for (; i > 0; i--) {
        const mc_yaml_warning *const before = &file->warnings[i - 1];
        if (before->line < warning.line ||
            (before->line == warning.line && before->column <= warning.column))
            break;
        file->warnings[i] = *before;
    }
    file->warnings[i] = warning;
}

mc_status mc_yaml_warn(mc_yaml_file *file, unsigned line, unsigned column, mc_error *error,
                       const char *format, ...)
{
    va_list arguments;
    if (file->warning_count == MC_YAML_MOST_WARNINGS)
        return MC_OK;
    if (!MC_GROW(file->warnings, file->warning_count, file->warning_capacity))
        return mc_fail_memory(error);
    va_start(arguments, format);
    char *const text = mc_format_list(format, arguments);
    va_end(arguments);
    if (!text)
        return mc_fail_memory(error);
    put_in_place(file, (mc_yaml_warning){line, column, text});
    return MC_OK;
}

/* ---- nodes ----------------------------------------------------------------------------------- */
static mc_status node_new(composer *c, mc_yaml_kind kind, const yaml_mark_t *mark, node **out)
{
    mc_yaml_file *const file = c->file;
    if (file->node_count >= MC_YAML_MOST_NODES)
        return FAIL_AT(c, mark, MC_FORMAT, "expected at most %d values in the file",
                       MC_YAML_MOST_NODES);
    node *const made = mc_alloc_zero(1, sizeof *made);
    if (!made || !MC_GROW(file->nodes, file->node_count, file->node_capacity)) {
        mc_free(made);
        return mc_fail_memory(c->error);
    }
    made->yaml.kind = kind;
    made->yaml.line = line_of(mark);
    made->yaml.column = column_of(mark);
    made->size = 1;
    made->height = 1;
    made->yaml.index = file->node_count;
    file->nodes[file->node_count++] = &made->yaml;
    *out = made;
    return MC_OK;
}

static void node_free(mc_yaml *yaml)
{
    mc_free(yaml->text);
    mc_free(yaml->items);
    mc_free(yaml->pairs);
    mc_free(yaml);
}

/*
 * Adds a value to the counts of a collection. Both limits include aliases written out, so that
 * every later walk over the document is bounded.
 */
static mc_status count_in(composer *c, node *collection, const node *value, const yaml_mark_t *mark)
{
    collection->size += value->size;
    if (collection->height <= value->height)
        collection->height = value->height + 1;
    if (collection->size > MC_YAML_MOST_NODES)
        return FAIL_AT(c, mark, MC_FORMAT,
                       "expected at most %d values with aliases written out, found more",
                       MC_YAML_MOST_NODES);
    if (collection->height > MC_YAML_DEEPEST)
        return FAIL_AT(c, mark, MC_FORMAT, "expected at most %d levels, found more",
                       MC_YAML_DEEPEST);
    return MC_OK;
}

static mc_status add_pair(composer *c, node *map, const mc_yaml *key, const mc_yaml *value)
{
    if (map->yaml.count == MC_YAML_MOST_KEYS)
        return FAIL_NODE(c, key, "expected at most %d keys in a map", MC_YAML_MOST_KEYS);
    if (!MC_GROW(map->yaml.pairs, map->yaml.count, map->capacity))
        return mc_fail_memory(c->error);
    map->yaml.pairs[map->yaml.count++] = (mc_yaml_pair){key, value};
    return MC_OK;
}

static mc_status add_item(composer *c, node *list, const mc_yaml *item)
{
    if (!MC_GROW(list->yaml.items, list->yaml.count, list->capacity))
        return mc_fail_memory(c->error);
    list->yaml.items[list->yaml.count++] = item;
    return MC_OK;
}

static mc_status check_key(composer *c, const node *key, const yaml_mark_t *mark)
{
    if (key->yaml.kind == MC_YAML_LIST || key->yaml.kind == MC_YAML_MAP)
        return FAIL_AT(c, mark, MC_FORMAT, "expected a name as a key, found %s",
                       mc_yaml_kind_text(key->yaml.kind));
    if (strlen(key->yaml.text) > MC_YAML_LONGEST_KEY)
        return FAIL_AT(c, mark, MC_FORMAT, "expected a key of at most %d bytes, found %zu",
                       MC_YAML_LONGEST_KEY, strlen(key->yaml.text));
    return MC_OK;
}

/*
 * Attaches a node that begins, or an alias, to the collection around it. In a map, keys and values
 * alternate.
 */
static mc_status attach(composer *c, node *value, const yaml_mark_t *mark)
{
    if (c->depth == 0) {
        c->root = value;
        return MC_OK;
    }
    node *const around = c->open[c->depth - 1];
    node **const key = &c->keys[c->depth - 1];
    if (around->yaml.kind == MC_YAML_LIST)
        return add_item(c, around, &value->yaml);
    if (!*key) {
        MC_TRY(check_key(c, value, mark));
        *key = value;
        return MC_OK;
    }
    const mc_status status = add_pair(c, around, &(*key)->yaml, &value->yaml);
    *key = NULL;
    return status;
}

/* ---- merge keys and duplicates --------------------------------------------------------------- */
static node *node_of(const mc_yaml *yaml)
{
    return (node *)(uintptr_t)yaml; /* its first member */
}

/*
 * Whether two keys are one key to PyYAML: equal strings, or equal numbers; a bool is a number in
 * Python.
 */
static bool same_key(const mc_yaml *a, const mc_yaml *b)
{
    const bool numbers = a->kind >= MC_YAML_BOOL && a->kind <= MC_YAML_NUMBER;
    if (numbers && b->kind >= MC_YAML_BOOL && b->kind <= MC_YAML_NUMBER)
        return a->number == b->number;
    return a->kind == b->kind && (a->kind == MC_YAML_NULL || strcmp(a->text, b->text) == 0);
}

static mc_yaml_pair *find_pair(mc_yaml *map, const mc_yaml *key)
{
    for (size_t i = 0; i < map->count; i++)
        if (same_key(map->pairs[i].key, key))
            return &map->pairs[i];
    return NULL;
}

/*
 * Whether Python has one object for all strings with this text: for one character of Latin-1, and
 * for none. PyYAML 6.0.4 recognises keys that several merged maps have by their objects.
 */
static bool is_one_object(const char *text)
{
    const unsigned char first = (unsigned char)text[0];
    return !first || !text[1] || ((first == 0xC2 || first == 0xC3) && !text[2]);
}

static bool same_value(const mc_yaml *a, const mc_yaml *b)
{
    const bool texts = a->text && b->text;
    return a == b || (a->kind == b->kind && texts && strcmp(a->text, b->text) == 0);
}

/*
 * A key that an earlier merged map has, too. The YAML specification says that the first map counts.
 * In PyYAML 6.0.4 the last one does, unless the key is one object; before, the last `<<` did, and
 * in its list the first map. Results have to be mergekit's, so this follows the newest.
 */
static mc_status merge_again(composer *c, mc_yaml_pair *before, const mc_yaml_pair *pair,
                             const mc_yaml *merge)
{
    const bool replaces = !is_one_object(pair->key->text);
    const mc_yaml *const old = before->value;
    if (before->key == pair->key)
        return MC_OK;
    if (replaces)
        *before = *pair;
    if (same_value(old, pair->value))
        return MC_OK;
    return mc_yaml_warn(c->file, merge->line, merge->column, c->error,
                        "several maps merged here have the key '%s': the value of line %u counts",
                        pair->key->text, before->value->line);
}

/*
 * Adds the pairs of a merged map. What is written out takes precedence: the first `written` pairs.
 */
static mc_status merge_map(composer *c, node *map, size_t written, const mc_yaml *from,
                           const mc_yaml *key)
{
    if (from->kind != MC_YAML_MAP)
        return FAIL_NODE(c, key,
                         "expected a map, or a list of maps, for the merge key '<<', found %s",
                         mc_yaml_kind_text(from->kind));
    /* Its keys are there already, whatever replaced their values. */
    if (node_of(from)->merged_into == map)
        return MC_OK;
    node_of(from)->merged_into = map;
    for (size_t i = 0; i < from->count; i++) {
        const mc_yaml_pair *const pair = &from->pairs[i];
        mc_yaml_pair *const before = find_pair(&map->yaml, pair->key);
        if (!before)
            MC_TRY(add_pair(c, map, pair->key, pair->value));
        else if (before >= map->yaml.pairs + written)
            MC_TRY(merge_again(c, before, pair, key));
    }
    return MC_OK;
}

static mc_status merge_value(composer *c, node *map, size_t written, const mc_yaml_pair *merge)
{
    const mc_yaml *const value = merge->value;
    if (value->kind != MC_YAML_LIST)
        return merge_map(c, map, written, value, merge->key);
    for (size_t i = 0; i < value->count; i++)
        MC_TRY(merge_map(c, map, written, value->items[i], merge->key));
    return MC_OK;
}

static mc_status add_written(composer *c, node *map, const mc_yaml_pair *pair)
{
    mc_yaml_pair *const before = find_pair(&map->yaml, pair->key);
    if (!before)
        return add_pair(c, map, pair->key, pair->value);
    const mc_yaml *const key = pair->key;
    const unsigned line = before->key->line;
    before->value = pair->value;
    return mc_yaml_warn(c->file, key->line, key->column, c->error,
                        "the key '%s' is written a second time and replaces line %u", key->text,
                        line);
}

/*
 * Turns the pairs of a complete map into what a dict of PyYAML holds: the last of duplicate keys,
 * then what merge keys add.
 */
static mc_status resolve_map(composer *c, node *map)
{
    mc_yaml_pair *const written = map->yaml.pairs;
    const size_t count = map->yaml.count;
    mc_status status = MC_OK;
    map->yaml.pairs = NULL;
    map->yaml.count = map->capacity = 0;
    for (size_t i = 0; status == MC_OK && i < count; i++)
        if (node_of(written[i].key)->scalar != MC_SCALAR_MERGE)
            status = add_written(c, map, &written[i]);
    const size_t own = map->yaml.count;
    for (size_t i = 0; status == MC_OK && i < count; i++)
        if (node_of(written[i].key)->scalar == MC_SCALAR_MERGE)
            status = merge_value(c, map, own, &written[i]);
    mc_free(written);
    return status;
}

/* Rejects a plain << or = as a value: PyYAML has no constructor for them. */
static mc_status check_value(composer *c, const mc_yaml *value)
{
    const mc_scalar_kind scalar = node_of(value)->scalar;
    if (scalar == MC_SCALAR_MERGE || scalar == MC_SCALAR_VALUE)
        return FAIL_NODE(c, value, "expected a value, found '%s'; quote it to make it a text",
                         value->text);
    return MC_OK;
}

/* ---- events ---------------------------------------------------------------------------------- */
static node *find_anchor(const composer *c, const char *name)
{
    for (size_t i = 0; i < c->anchor_count; i++)
        if (strcmp(c->anchors[i].name, name) == 0)
            return c->anchors[i].target;
    return NULL;
}

/* libyaml allows an anchor to be defined twice; PyYAML rejects it. */
static mc_status add_anchor(composer *c, const yaml_char_t *name, node *target,
                            const yaml_mark_t *mark)
{
    if (!name)
        return MC_OK;
    if (find_anchor(c, (const char *)name))
        return FAIL_AT(c, mark, MC_FORMAT, "the anchor '&%s' is defined twice", name);
    if (c->anchor_count == MC_YAML_MOST_ANCHORS)
        return FAIL_AT(c, mark, MC_FORMAT, "expected at most %d anchors in a document",
                       MC_YAML_MOST_ANCHORS);
    if (!MC_GROW(c->anchors, c->anchor_count, c->anchor_capacity))
        return mc_fail_memory(c->error);
    char *const copy = mc_strdup((const char *)name);
    if (!copy)
        return mc_fail_memory(c->error);
    c->anchors[c->anchor_count++] = (anchor){copy, target};
    return MC_OK;
}

static void drop_anchors(composer *c)
{
    for (size_t i = 0; i < c->anchor_count; i++)
        mc_free(c->anchors[i].name);
    c->anchor_count = 0;
}

static mc_status take_alias(composer *c, const yaml_event_t *event)
{
    const char *const name = (const char *)event->data.alias.anchor;
    node *const target = find_anchor(c, name);
    if (!target)
        return FAIL_AT(c, &event->start_mark, MC_FORMAT, "the alias '*%s' has no anchor before it",
                       name);
    /* PyYAML builds such circles; no field of a recipe could use one. */
    if (target->open)
        return FAIL_AT(c, &event->start_mark, MC_FORMAT, "the alias '*%s' refers to what it is in",
                       name);
    if (c->depth > 0)
        MC_TRY(count_in(c, c->open[c->depth - 1], target, &event->start_mark));
    return attach(c, target, &event->start_mark);
}

static const char yaml_tag[] = "tag:yaml.org,2002:";

/* Finds the kind that a tag gives a scalar; false for a tag that is not one of the core types. */
static bool kind_of_tag(const char *tag, mc_scalar_kind *out)
{
    static const struct {
        const char *name;
        mc_scalar_kind kind;
    } tags[] = {{"null", MC_SCALAR_NULL},
                {"bool", MC_SCALAR_BOOL},
                {"int", MC_SCALAR_INTEGER},
                {"float", MC_SCALAR_NUMBER},
                {"str", MC_SCALAR_STRING}};
    if (strncmp(tag, yaml_tag, sizeof yaml_tag - 1) != 0)
        return false;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (strcmp(tag + sizeof yaml_tag - 1, tags[i].name) == 0) {
            *out = tags[i].kind;
            return true;
        }
    return false;
}

static mc_yaml_kind kind_of_scalar(mc_scalar_kind scalar)
{
    switch (scalar) {
    case MC_SCALAR_NULL:
        return MC_YAML_NULL;
    case MC_SCALAR_BOOL:
        return MC_YAML_BOOL;
    case MC_SCALAR_INTEGER:
        return MC_YAML_INTEGER;
    case MC_SCALAR_NUMBER:
        return MC_YAML_NUMBER;
    case MC_SCALAR_DATE:
        return MC_YAML_DATE;
    default:
        return MC_YAML_STRING;
    }
}

static bool has_number(mc_scalar_kind scalar)
{
    return scalar == MC_SCALAR_BOOL || scalar == MC_SCALAR_INTEGER || scalar == MC_SCALAR_NUMBER;
}

static mc_status resolve_scalar(composer *c, const yaml_event_t *event, node *made)
{
    const char *const tag = (const char *)event->data.scalar.tag, *const text = made->yaml.text;
    mc_scalar_kind kind = MC_SCALAR_STRING;
    if (event->data.scalar.plain_implicit)
        kind = mc_scalar_kind_of(text);
    else if (!event->data.scalar.quoted_implicit && tag && !kind_of_tag(tag, &kind))
        return FAIL_AT(c, &event->start_mark, MC_UNSUPPORTED,
                       "expected one of the tags !!null, !!bool, !!int, !!float and !!str for a "
                       "scalar, found '%s'",
                       tag);
    made->scalar = kind;
    made->yaml.kind = kind_of_scalar(kind);
    if (has_number(kind) && !mc_scalar_value(kind, text, &made->yaml.number))
        return FAIL_AT(c, &event->start_mark, MC_FORMAT, "expected %s, found '%s'",
                       mc_yaml_kind_text(made->yaml.kind), text);
    return MC_OK;
}

static mc_status take_scalar(composer *c, const yaml_event_t *event)
{
    const char *const text = (const char *)event->data.scalar.value;
    const size_t length = event->data.scalar.length;
    node *made = NULL;
    MC_TRY(node_new(c, MC_YAML_STRING, &event->start_mark, &made));
    /*
     * "\0" in double quotes is NUL. Every text in a recipe is a name or goes into a file as text,
     * and would be cut there.
     */
    if (memchr(text, '\0', length))
        return FAIL_AT(c, &event->start_mark, MC_FORMAT, "expected a text without NUL");
    made->yaml.text = mc_strndup(text, length);
    if (!made->yaml.text)
        return mc_fail_memory(c->error);
    MC_TRY(resolve_scalar(c, event, made));
    MC_TRY(add_anchor(c, event->data.scalar.anchor, made, &event->start_mark));
    if (c->depth > 0)
        MC_TRY(count_in(c, c->open[c->depth - 1], made, &event->start_mark));
    return attach(c, made, &event->start_mark);
}

static mc_status check_tag(composer *c, const yaml_event_t *event, const yaml_char_t *tag,
                           const char *expected)
{
    if (!tag || strcmp((const char *)tag, "!") == 0 ||
        (strncmp((const char *)tag, yaml_tag, sizeof yaml_tag - 1) == 0 &&
         strcmp((const char *)tag + sizeof yaml_tag - 1, expected) == 0))
        return MC_OK;
    return FAIL_AT(c, &event->start_mark, MC_UNSUPPORTED, "expected no tag but !!%s, found '%s'",
                   expected, tag);
}

/*
 * A collection is attached when it begins, so that the order of keys and items is kept; its size is
 * counted when it ends.
 */
static mc_status open_collection(composer *c, mc_yaml_kind kind, const yaml_char_t *name,
                                 const yaml_event_t *event)
{
    node *made = NULL;
    if (c->depth == MC_YAML_DEEPEST)
        return FAIL_AT(c, &event->start_mark, MC_FORMAT, "expected at most %d levels, found more",
                       MC_YAML_DEEPEST);
    MC_TRY(node_new(c, kind, &event->start_mark, &made));
    made->open = true;
    MC_TRY(add_anchor(c, name, made, &event->start_mark));
    MC_TRY(attach(c, made, &event->start_mark));
    c->open[c->depth] = made;
    c->keys[c->depth++] = NULL;
    return MC_OK;
}

/*
 * A map is resolved when it ends: merge keys may stand anywhere in it, and aliases may refer to it
 * only from now on.
 */
static mc_status close_collection(composer *c, const yaml_event_t *event)
{
    node *const closed = c->open[--c->depth];
    if (closed->yaml.kind == MC_YAML_MAP)
        MC_TRY(resolve_map(c, closed));
    closed->open = false;
    const mc_yaml *const yaml = &closed->yaml;
    for (size_t i = 0; i < yaml->count; i++)
        MC_TRY(check_value(c, yaml->kind == MC_YAML_LIST ? yaml->items[i] : yaml->pairs[i].value));
    if (c->depth > 0)
        MC_TRY(count_in(c, c->open[c->depth - 1], closed, &event->start_mark));
    return MC_OK;
}

static mc_status end_document(composer *c, const yaml_event_t *event)
{
    mc_yaml_file *const file = c->file;
    MC_TRY(check_value(c, &c->root->yaml));
    c->size += c->root->size;
    if (c->size > MC_YAML_MOST_NODES)
        return FAIL_AT(c, &event->start_mark, MC_FORMAT,
                       "expected at most %d values in the file with aliases written out",
                       MC_YAML_MOST_NODES);
    if (!MC_GROW(file->documents, file->document_count, file->document_capacity))
        return mc_fail_memory(c->error);
    file->documents[file->document_count++] = &c->root->yaml;
    c->root = NULL;
    drop_anchors(c);
    return MC_OK;
}

static mc_status take_event(composer *c, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return take_alias(c, event);
    case YAML_SCALAR_EVENT:
        return take_scalar(c, event);
    case YAML_SEQUENCE_START_EVENT:
        MC_TRY(check_tag(c, event, event->data.sequence_start.tag, "seq"));
        return open_collection(c, MC_YAML_LIST, event->data.sequence_start.anchor, event);
    case YAML_MAPPING_START_EVENT:
        MC_TRY(check_tag(c, event, event->data.mapping_start.tag, "map"));
        return open_collection(c, MC_YAML_MAP, event->data.mapping_start.anchor, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_collection(c, event);
    case YAML_DOCUMENT_END_EVENT:
        return end_document(c, event);
    default:
        return MC_OK;
    }
}

/*
 * The line and column of a byte offset. libyaml reports offsets for bytes that are not UTF-8.
 * Columns count characters.
 */
static yaml_mark_t mark_of(const composer *c, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < c->size_of_text; i++) {
        const unsigned char byte = (unsigned char)c->text[i];
        mark.column = byte == '\n' ? 0 : mark.column + ((byte & 0xc0) != 0x80);
        mark.line += byte == '\n';
    }
    return mark;
}

static mc_status syntax_error(composer *c)
{
    const yaml_parser_t *const parser = &c->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return mc_fail_memory(c->error);
    if (parser->error == YAML_READER_ERROR) {
        const yaml_mark_t mark = mark_of(c, parser->problem_offset);
        return FAIL_AT(c, &mark, MC_FORMAT, "expected text in UTF-8: %s", parser->problem);
    }
    return FAIL_AT(c, &parser->problem_mark, MC_FORMAT, "%s%s%s",
                   parser->context ? parser->context : "", parser->context ? ": " : "",
                   parser->problem ? parser->problem : "not YAML");
}

static mc_status compose(composer *c)
{
    bool more = true;
    while (more) {
        yaml_event_t event;
        if (!yaml_parser_parse(&c->parser, &event))
            return syntax_error(c);
        more = event.type != YAML_STREAM_END_EVENT;
        const mc_status status = take_event(c, &event);
        yaml_event_delete(&event);
        MC_TRY(status);
    }
    return MC_OK;
}

mc_status mc_yaml_parse(const char *name, const char *text, size_t size, mc_yaml_file **out,
                        mc_error *error)
{
    if (size > MC_YAML_LARGEST_FILE)
        return mc_yaml_fail(error, MC_FORMAT, name, 1, 1, "expected at most %d bytes, found %zu",
                            MC_YAML_LARGEST_FILE, size);
    /* A byte order mark at the beginning is no part of the document. */
    const bool marked = size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0;
    text += marked ? 3 : 0;
    size -= marked ? 3 : 0;
    composer c = {.name = name, .text = text, .size_of_text = size, .error = error};
    c.file = mc_alloc_zero(1, sizeof *c.file);
    if (!c.file || !yaml_parser_initialize(&c.parser)) {
        mc_free(c.file);
        return mc_fail_memory(error);
    }
    yaml_parser_set_input_string(&c.parser, (const unsigned char *)text, size);
    /* Without this libyaml would guess UTF-16 from a byte order mark. */
    yaml_parser_set_encoding(&c.parser, YAML_UTF8_ENCODING);
    const mc_status status = compose(&c);
    yaml_parser_delete(&c.parser);
    drop_anchors(&c);
    mc_free(c.anchors);
    if (status != MC_OK)
        mc_yaml_free(c.file);
    else
        *out = c.file;
    return status;
}

void mc_yaml_free(mc_yaml_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->node_count; i++)
        node_free(file->nodes[i]);
    for (size_t i = 0; i < file->warning_count; i++)
        mc_free(file->warnings[i].text);
    mc_free(file->nodes);
    mc_free(file->warnings);
    mc_free(file->documents);
    mc_free(file);
}

/* ---- reading --------------------------------------------------------------------------------- */
const mc_yaml *mc_yaml_get(const mc_yaml *map, const char *key)
{
    if (!map || map->kind != MC_YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (map->pairs[i].key->kind == MC_YAML_STRING && strcmp(map->pairs[i].key->text, key) == 0)
            return map->pairs[i].value;
    return NULL;
}

const char *mc_yaml_kind_text(mc_yaml_kind kind)
{
    static const char *const texts[] = {"nothing",  "a bool", "an integer", "a number",
                                        "a string", "a date", "a list",     "a map"};
    return texts[kind];
}

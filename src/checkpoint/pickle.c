/*
 * The pickle machine.
 *
 *     bytes ──▶ opcode ──▶ instructions[opcode] ─┬─▶ stack   values; `marks` are places on it
 *                 ▲                              ├─▶ memo    values by number, for later use
 *                 └────────── next ──────────────┘
 *
 *     MARK … TUPLE/LIST/DICT   makes a container of what lies above the last mark
 *     PUT, MEMOIZE / GET       keeps the top of the stack / pushes a kept value
 *     GLOBAL, REDUCE, BUILD    a name, a call of it, its state: never resolved, called or set
 *     PERSID                   a storage outside the pickle
 *     STOP                     the one value that is left is the root
 */
#include "checkpoint/pickle.h"

#include "base/memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/*
 * Memory for values is taken in blocks and freed all at once: values may contain each other, so
 * that no order of freeing them would be right.
 */
typedef struct block {
    struct block *next;
    size_t used, capacity;
    max_align_t bytes[];
} block;

enum { BLOCK_BYTES = 16 * 1024, ALIGNMENT = sizeof(void *) };

struct mc_pickle {
    block *blocks;
    mc_pickle_value *root;
    const mc_pickle_value **persistents;
    size_t persistent_count, persistent_capacity;
};

typedef struct machine {
    const char *bytes;
    size_t size, at;
    size_t opcode; /* where the current one is */
    const mc_global *globals;
    mc_pickle *made;
    mc_pickle_value **stack;
    size_t stack_count, stack_capacity;
    size_t *marks;
    size_t mark_count, mark_capacity;
    mc_pickle_value **memo;
    size_t memo_size, memo_capacity; /* memo[i] is NULL where nothing was stored */
    size_t memo_count;
    size_t copied; /* items of lists that were made into dicts */
    size_t named;  /* bytes of names that are not in the list of globals */
    bool ended;    /* the bytes end in the middle of an instruction */
    bool done;
    mc_error *error;
} machine;

/* An opcode: what it does, a size or count in its argument, and the kind of the value it makes. */
typedef struct instruction instruction;
struct instruction {
    mc_status (*run)(machine *m, const instruction *in);
    size_t size;
    mc_pickle_kind kind;
};

/* The values that need no memory of their own. They are shared, so walks must never mark them. */
enum { NONE, FALSE, TRUE, FLOAT, EMPTY_TUPLE };
static mc_pickle_value constants[] = {
    [NONE] = {.kind = MC_PICKLE_NONE},
    [FALSE] = {.kind = MC_PICKLE_BOOL, .integer = 0},
    [TRUE] = {.kind = MC_PICKLE_BOOL, .integer = 1},
    [FLOAT] = {.kind = MC_PICKLE_FLOAT},
    [EMPTY_TUPLE] = {.kind = MC_PICKLE_TUPLE},
};

#define FAIL(m_, status_, ...)                                                                     \
    mc_fail_at((m_)->error, status_, NULL, NULL, (int64_t)(m_)->opcode, __VA_ARGS__)

static void *take_memory(machine *m, size_t size)
{
    const size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block *b = m->made->blocks;
    if (!b || b->capacity - b->used < rounded) {
        const size_t capacity = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
        b = mc_alloc(sizeof *b + capacity);
        if (!b)
            return NULL;
        *b = (block){.next = m->made->blocks, .capacity = capacity};
        m->made->blocks = b;
    }
    void *const memory = (char *)b->bytes + b->used;
    b->used += rounded;
    return memory;
}

/* ---- instructions' arguments ---- */

static mc_status take(machine *m, size_t size, const unsigned char **bytes)
{
    if (size > m->size - m->at) {
        m->ended = true;
        return FAIL(m, MC_FORMAT, "the pickle ends early: expected %zu more bytes, found %zu", size,
                    m->size - m->at);
    }
    *bytes = (const unsigned char *)m->bytes + m->at;
    m->at += size;
    return MC_OK;
}

/* An unsigned number of `size` bytes, little-endian. */
static mc_status take_number(machine *m, size_t size, uint64_t *number)
{
    const unsigned char *b = NULL;
    MC_TRY(take(m, size, &b));
    *number = 0;
    for (size_t i = size; i > 0; i--)
        *number = *number << 8 | b[i - 1];
    return MC_OK;
}

/* Text up to a newline. */
static mc_status take_line(machine *m, const char **text, size_t *size)
{
    const char *const begin = m->bytes + m->at;
    const char *const end = memchr(begin, '\n', m->size - m->at);
    if (!end) {
        m->ended = true;
        return FAIL(m, MC_FORMAT, "the pickle ends early: expected the end of a name");
    }
    *text = begin;
    *size = (size_t)(end - begin);
    m->at += *size + 1;
    return MC_OK;
}

/* ---- the stack ---- */

static mc_status push(machine *m, mc_pickle_value *value)
{
    if (!MC_GROW(m->stack, m->stack_count, m->stack_capacity))
        return mc_fail_memory(m->error);
    m->stack[m->stack_count++] = value;
    return MC_OK;
}

/* Values below the last mark belong to a container that is not complete: they cannot be taken. */
static mc_status pop(machine *m, mc_pickle_value **value)
{
    const size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->stack_count <= floor)
        return FAIL(m, MC_FORMAT, "the pickle takes a value from an empty stack");
    *value = m->stack[--m->stack_count];
    return MC_OK;
}

static mc_status top(machine *m, mc_pickle_value **value)
{
    MC_TRY(pop(m, value));
    m->stack_count++;
    return MC_OK;
}

static mc_status push_new(machine *m, mc_pickle_value value)
{
    mc_pickle_value *const made = take_memory(m, sizeof *made);
    if (!made)
        return mc_fail_memory(m->error);
    *made = value;
    return push(m, made);
}

static mc_status push_bytes(machine *m, mc_pickle_kind kind, size_t size)
{
    const unsigned char *b = NULL;
    MC_TRY(take(m, size, &b));
    return push_new(m, (mc_pickle_value){.kind = kind, .bytes = (const char *)b, .size = size});
}

/* Bytes that follow their size, a number of length_size bytes. */
static mc_status push_sized(machine *m, mc_pickle_kind kind, size_t length_size)
{
    uint64_t size = 0;
    MC_TRY(take_number(m, length_size, &size));
    return push_bytes(m, kind, (size_t)size);
}

static mc_status push_int(machine *m, int64_t integer)
{
    return push_new(m, (mc_pickle_value){.kind = MC_PICKLE_INT, .integer = integer});
}

static mc_status push_unsigned(machine *m, size_t size)
{
    uint64_t number = 0;
    MC_TRY(take_number(m, size, &number));
    /* Only called with sizes of 1 and 2, so the number is never negative. */
    return push_int(m, (int64_t)number);
}

/*
 * Two's complement of any length, little-endian. What exceeds 64 bits is kept as bytes: the magic
 * number of a torch file is such an integer.
 */
static mc_status push_long(machine *m, size_t length_size)
{
    uint64_t size = 0;
    MC_TRY(take_number(m, length_size, &size));
    if (size > sizeof(int64_t))
        return push_bytes(m, MC_PICKLE_BIG, (size_t)size);
    uint64_t number = 0;
    MC_TRY(take_number(m, (size_t)size, &number));
    if (size == 0)
        return push_int(m, 0);
    /* Shifting up and down again extends the sign. */
    const unsigned unused = 64 - 8 * (unsigned)size;
    return push_int(m, (int64_t)(number << unused) >> unused);
}

static mc_status push_mark(machine *m)
{
    if (!MC_GROW(m->marks, m->mark_count, m->mark_capacity))
        return mc_fail_memory(m->error);
    m->marks[m->mark_count++] = m->stack_count;
    return MC_OK;
}

/* Takes the last mark away; *first is where the values above it begin on the stack. */
static mc_status pop_mark(machine *m, size_t *first)
{
    if (m->mark_count == 0)
        return FAIL(m, MC_FORMAT, "the pickle uses a mark that was not set");
    *first = m->marks[--m->mark_count];
    return MC_OK;
}

/* The values from `first` on. `stack` is NULL until the first value is pushed. */
static mc_pickle_value *const *values_from(const machine *m, size_t first)
{
    return m->stack ? m->stack + first : NULL;
}

/* ---- containers ---- */

static mc_status make_room(machine *m, mc_pickle_value *container, size_t more)
{
    const size_t needed = container->count + more;
    if (needed <= container->capacity)
        return MC_OK;
    /*
     * The old array stays in its block until the end. Doubling bounds what is wasted to the size of
     * the last array.
     */
    const size_t twice = container->capacity * 2;
    const size_t capacity = needed > twice ? needed : twice;
    mc_pickle_value **const items = take_memory(m, capacity * sizeof *items);
    if (!items)
        return mc_fail_memory(m->error);
    if (container->count > 0)
        memcpy(items, container->items, container->count * sizeof *items);
    container->items = items;
    container->capacity = capacity;
    return MC_OK;
}

static mc_status append(machine *m, mc_pickle_value *container, mc_pickle_value *const *items,
                        size_t count)
{
    MC_TRY(make_room(m, container, count));
    if (count > 0)
        memcpy(container->items + container->count, items, count * sizeof *items);
    container->count += count;
    return MC_OK;
}

/* Makes a container of the values from `first` on, which leave the stack. */
static mc_status push_container(machine *m, mc_pickle_kind kind, size_t first)
{
    const size_t count = m->stack_count - first;
    if (kind == MC_PICKLE_TUPLE && count == 0)
        return push(m, &constants[EMPTY_TUPLE]);
    mc_pickle_value *const made = take_memory(m, sizeof *made);
    if (!made)
        return mc_fail_memory(m->error);
    *made = (mc_pickle_value){.kind = kind};
    MC_TRY(append(m, made, values_from(m, first), count));
    m->stack_count = first;
    return push(m, made);
}

static mc_status push_marked(machine *m, mc_pickle_kind kind)
{
    size_t first = 0;
    MC_TRY(pop_mark(m, &first));
    if (kind == MC_PICKLE_DICT && (m->stack_count - first) % 2 != 0)
        return FAIL(m, MC_FORMAT, "the pickle makes a dict of keys without values");
    return push_container(m, kind, first);
}

/* A tuple of the last `count` values. */
static mc_status push_tuple(machine *m, size_t count)
{
    const size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->stack_count - floor < count)
        return FAIL(m, MC_FORMAT, "the pickle takes a value from an empty stack");
    return push_container(m, MC_PICKLE_TUPLE, m->stack_count - count);
}

/* Adds the values from `first` on to the container below them. */
static mc_status extend(machine *m, mc_pickle_kind kind, size_t first)
{
    const size_t count = m->stack_count - first;
    /* The values stay in memory above the new top of the stack until the next push. */
    mc_pickle_value *const *const items = values_from(m, first);
    mc_pickle_value *container = NULL;
    m->stack_count = first;
    MC_TRY(top(m, &container));
    /*
     * An object of an unknown class that takes items is a subclass of dict, list or set. It becomes
     * a plain container.
     */
    if (container->kind == MC_PICKLE_CALL && container->items[0]->global->meaning == 0)
        *container = (mc_pickle_value){.kind = kind};
    if (container->kind != kind)
        return FAIL(m, MC_FORMAT, "the pickle adds items to something that is not a %s",
                    kind == MC_PICKLE_DICT ? "dict" : "list");
    if (kind == MC_PICKLE_DICT && count % 2 != 0)
        return FAIL(m, MC_FORMAT, "the pickle adds keys without values to a dict");
    return append(m, container, items, count);
}

static mc_status extend_marked(machine *m, mc_pickle_kind kind)
{
    size_t first = 0;
    MC_TRY(pop_mark(m, &first));
    return extend(m, kind, first);
}

static mc_status extend_last(machine *m, mc_pickle_kind kind, size_t count)
{
    const size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->stack_count - floor < count)
        return FAIL(m, MC_FORMAT, "the pickle takes a value from an empty stack");
    return extend(m, kind, m->stack_count - count);
}

/* ---- the memo ---- */

static mc_status memoize(machine *m, uint64_t index)
{
    mc_pickle_value *value = NULL;
    MC_TRY(top(m, &value));
    /*
     * Every pickler counts up from 0 or 1, so an index never exceeds the number of bytes. A larger
     * one would make the memo larger than the file justifies.
     */
    if (index > m->opcode)
        return FAIL(m, MC_FORMAT, "the pickle has memo index %llu after only %zu bytes",
                    (unsigned long long)index, m->opcode);
    while (m->memo_size <= index) {
        if (!MC_GROW(m->memo, m->memo_size, m->memo_capacity))
            return mc_fail_memory(m->error);
        m->memo[m->memo_size++] = NULL;
    }
    /* MEMOIZE stores under the number of values in the memo. */
    m->memo_count += m->memo[index] == NULL;
    m->memo[index] = value;
    return MC_OK;
}

static mc_status memo_put(machine *m, const instruction *in)
{
    uint64_t index = 0;
    MC_TRY(take_number(m, in->size, &index));
    return memoize(m, index);
}

static mc_status memo_get(machine *m, const instruction *in)
{
    uint64_t index = 0;
    MC_TRY(take_number(m, in->size, &index));
    if (index >= m->memo_size || !m->memo[index])
        return FAIL(m, MC_FORMAT, "the pickle uses memo %llu, where nothing was stored",
                    (unsigned long long)index);
    return push(m, m->memo[index]);
}

/* ---- names and calls ---- */

enum { NAME_LIMIT = 1024, SHOWN = 200 }; /* bytes of a name, and of one in an error */

static int shown(size_t size)
{
    return (int)(size < SHOWN ? size : SHOWN);
}

/* Whether `name`, "a.b" or "a.*", stands for the full name. */
static bool is_name(const char *name, const char *full, size_t size)
{
    const size_t length = strlen(name);
    if (length > 2 && name[length - 1] == '*')
        return size >= length - 1 && memcmp(name, full, length - 1) == 0;
    return size == length && memcmp(name, full, size) == 0;
}

static const mc_global *known_name(const machine *m, const char *full, size_t size)
{
    /* The first match wins: exact names precede the patterns that cover them. */
    for (const mc_global *one = m->globals; one->name; one++)
        if (is_name(one->name, full, size))
            return one;
    return NULL;
}

/*
 * All copied names together are no longer than the pickle. The memo lets a pickle use one long text
 * for any number of names, and each use would copy it.
 */
static mc_status new_name(machine *m, const char *full, size_t size, const mc_global **out)
{
    m->named += size;
    if (m->named > m->size)
        return FAIL(m, MC_FORMAT, "the pickle refers to names that are longer than itself");
    char *const name = take_memory(m, size + 1);
    mc_global *const made = take_memory(m, sizeof *made);
    if (!name || !made)
        return mc_fail_memory(m->error);
    memcpy(name, full, size + 1);
    *made = (mc_global){.name = name};
    *out = made;
    return MC_OK;
}

/* Names are compared with the table and otherwise kept as text. Nothing is imported. */
static mc_status push_global(machine *m, const char *module, size_t module_size, const char *member,
                             size_t member_size)
{
    char full[NAME_LIMIT];
    const size_t size = module_size + 1 + member_size;
    if (size >= sizeof full)
        return FAIL(m, MC_FORMAT, "expected a name of less than %d bytes, found '%.*s.%.*s'",
                    NAME_LIMIT, shown(module_size), module, shown(member_size), member);
    memcpy(full, module, module_size);
    full[module_size] = '.';
    memcpy(full + module_size + 1, member, member_size);
    full[size] = '\0';
    const mc_global *known = known_name(m, full, size);
    /* A member with a dot in it reaches other modules: "torch" and "_utils.os.system". */
    if ((known && known->kind == MC_GLOBAL_REFUSED) || memchr(member, '.', member_size))
        return FAIL(m, MC_UNSUPPORTED,
                    "refused: the pickle refers to '%.*s', which runs code when other programs "
                    "load the file",
                    shown(size), full);
    if (!known)
        MC_TRY(new_name(m, full, size, &known));
    return push_new(m, (mc_pickle_value){.kind = MC_PICKLE_GLOBAL, .global = known});
}

static mc_status global(machine *m, const instruction *in)
{
    (void)in;
    const char *module = NULL, *member = NULL;
    size_t module_size = 0, member_size = 0;
    MC_TRY(take_line(m, &module, &module_size));
    MC_TRY(take_line(m, &member, &member_size));
    return push_global(m, module, module_size, member, member_size);
}

static mc_status stack_global(machine *m, const instruction *in)
{
    (void)in;
    mc_pickle_value *member = NULL, *module = NULL;
    MC_TRY(pop(m, &member));
    MC_TRY(pop(m, &module));
    if (module->kind != MC_PICKLE_TEXT || member->kind != MC_PICKLE_TEXT)
        return FAIL(m, MC_FORMAT, "the pickle refers to a name that is not text");
    return push_global(m, module->bytes, module->size, member->bytes, member->size);
}

/* OrderedDict([[key, value], …]), as Python 2 writes it. Other dicts begin empty. */
static mc_status fill_dict(machine *m, mc_pickle_value *dict, const mc_pickle_value *arguments)
{
    const mc_pickle_value *const pairs = arguments->count == 1 ? arguments->items[0] : NULL;
    if (!pairs || pairs->kind != MC_PICKLE_LIST)
        return MC_OK;
    /* The memo lets one list become many dicts, which would take memory out of proportion. */
    m->copied += pairs->count;
    if (m->copied > m->size)
        return FAIL(m, MC_FORMAT, "the pickle makes dicts of more items than it has bytes");
    for (size_t i = 0; i < pairs->count; i++) {
        const mc_pickle_value *const pair = pairs->items[i];
        const bool is_pair = (pair->kind == MC_PICKLE_TUPLE || pair->kind == MC_PICKLE_LIST) &&
                             pair->count == 2;
        if (!is_pair)
            return FAIL(m, MC_FORMAT, "the pickle makes a dict of items that are not pairs");
        MC_TRY(append(m, dict, pair->items, 2));
    }
    return MC_OK;
}

/* Calls nothing: the name with its arguments is the value. */
static mc_status call(machine *m, const instruction *in)
{
    (void)in;
    mc_pickle_value *arguments = NULL, *callee = NULL;
    MC_TRY(pop(m, &arguments));
    MC_TRY(pop(m, &callee));
    if (callee->kind != MC_PICKLE_GLOBAL || arguments->kind != MC_PICKLE_TUPLE)
        return FAIL(m, MC_FORMAT, "refused: the pickle calls something that is not a name");
    mc_pickle_value *const made = take_memory(m, sizeof *made);
    if (!made)
        return mc_fail_memory(m->error);
    if (callee->global->kind == MC_GLOBAL_DICT) {
        *made = (mc_pickle_value){.kind = MC_PICKLE_DICT};
        MC_TRY(fill_dict(m, made, arguments));
    } else if (callee->global->kind == MC_GLOBAL_LIST) {
        *made = (mc_pickle_value){.kind = MC_PICKLE_LIST};
    } else {
        mc_pickle_value *const items[] = {callee, arguments};
        *made = (mc_pickle_value){.kind = MC_PICKLE_CALL};
        MC_TRY(append(m, made, items, 2));
    }
    return push(m, made);
}

/* Arguments by name do not matter for any class that is read: they are dropped. */
static mc_status call_with_keywords(machine *m, const instruction *in)
{
    mc_pickle_value *keywords = NULL;
    MC_TRY(pop(m, &keywords));
    if (keywords->kind != MC_PICKLE_DICT)
        return FAIL(m, MC_FORMAT, "refused: the pickle calls with keywords that are not a dict");
    return call(m, in);
}

/*
 * Drops the state of an object: attributes of a parameter, `_metadata` of an OrderedDict. The
 * tensors of a module that was pickled as a whole are in its state. Such files are rejected, since
 * their root is not a dict.
 */
static mc_status build(machine *m, const instruction *in)
{
    (void)in;
    mc_pickle_value *state = NULL, *object = NULL;
    MC_TRY(pop(m, &state));
    MC_TRY(top(m, &object));
    if (object->kind != MC_PICKLE_CALL && object->kind != MC_PICKLE_DICT &&
        object->kind != MC_PICKLE_LIST)
        return FAIL(m, MC_FORMAT, "refused: the pickle sets the state of something that has none");
    return MC_OK;
}

static mc_status persistent(machine *m, const instruction *in)
{
    (void)in;
    mc_pickle_value *id = NULL;
    mc_pickle *const made = m->made;
    MC_TRY(pop(m, &id));
    MC_TRY(push_new(m, (mc_pickle_value){.kind = MC_PICKLE_PERSISTENT}));
    mc_pickle_value *const value = m->stack[m->stack_count - 1];
    if (!MC_GROW(made->persistents, made->persistent_count, made->persistent_capacity))
        return mc_fail_memory(m->error);
    made->persistents[made->persistent_count++] = value;
    return append(m, value, &id, 1);
}

/* ---- instructions ---- */

static mc_status protocol(machine *m, const instruction *in)
{
    uint64_t version = 0;
    MC_TRY(take_number(m, in->size, &version));
    /* The instruction exists since protocol 2, and 5 is the latest. torch writes 2 by default. */
    if (version < 2 || version > 5)
        return FAIL(m, MC_UNSUPPORTED, "expected pickle protocol 2 to 5, found %d", (int)version);
    return MC_OK;
}

/* A frame only announces how much can be read at once: unpicklers of streams need it. */
static mc_status frame(machine *m, const instruction *in)
{
    uint64_t size = 0;
    MC_TRY(take_number(m, in->size, &size));
    if (size > MC_PICKLE_LIMIT)
        return FAIL(m, MC_FORMAT, "the pickle has a frame of %llu bytes", (unsigned long long)size);
    return MC_OK;
}

static mc_status mark(machine *m, const instruction *in)
{
    (void)in;
    return push_mark(m);
}

/* POP also removes a mark if that is on top. */
static mc_status pop_any(machine *m, const instruction *in)
{
    (void)in;
    mc_pickle_value *value = NULL;
    if (m->mark_count > 0 && m->marks[m->mark_count - 1] == m->stack_count) {
        m->mark_count--;
        return MC_OK;
    }
    return pop(m, &value);
}

static mc_status pop_to_mark(machine *m, const instruction *in)
{
    (void)in;
    return pop_mark(m, &m->stack_count);
}

static mc_status duplicate(machine *m, const instruction *in)
{
    (void)in;
    mc_pickle_value *value = NULL;
    MC_TRY(top(m, &value));
    return push(m, value);
}

static mc_status constant(machine *m, const instruction *in)
{
    return push(m, &constants[in->size]);
}

static mc_status float_value(machine *m, const instruction *in)
{
    const unsigned char *b = NULL;
    MC_TRY(take(m, in->size, &b));
    return push(m, &constants[FLOAT]);
}

static mc_status unsigned_value(machine *m, const instruction *in)
{
    return push_unsigned(m, in->size);
}

static mc_status signed_value(machine *m, const instruction *in)
{
    uint64_t number = 0;
    MC_TRY(take_number(m, in->size, &number));
    return push_int(m, (int32_t)(uint32_t)number);
}

static mc_status long_value(machine *m, const instruction *in)
{
    return push_long(m, in->size);
}

static mc_status sized_value(machine *m, const instruction *in)
{
    return push_sized(m, in->kind, in->size);
}

static mc_status empty(machine *m, const instruction *in)
{
    return push_new(m, (mc_pickle_value){.kind = in->kind});
}

static mc_status from_mark(machine *m, const instruction *in)
{
    return push_marked(m, in->kind);
}

static mc_status tuple(machine *m, const instruction *in)
{
    return push_tuple(m, in->size);
}

static mc_status add_last(machine *m, const instruction *in)
{
    return extend_last(m, in->kind, in->size);
}

static mc_status add_marked(machine *m, const instruction *in)
{
    return extend_marked(m, in->kind);
}

static mc_status memo_next(machine *m, const instruction *in)
{
    (void)in;
    return memoize(m, m->memo_count);
}

static mc_status stop(machine *m, const instruction *in)
{
    (void)in;
    /* A complete pickle leaves exactly one value. */
    MC_TRY(pop(m, &m->made->root));
    if (m->mark_count > 0 || m->stack_count > 0)
        return FAIL(m, MC_FORMAT, "the pickle ends with %zu values too many on its stack",
                    m->stack_count + m->mark_count);
    m->done = true;
    return MC_OK;
}

static mc_status refuse(machine *m, unsigned char opcode)
{
    return FAIL(m, MC_UNSUPPORTED, "refused: pickle instruction 0x%02x, which torch does not write",
                opcode);
}

/*
 * INST is a name and a call in one. torch never writes it; parsing it here gives a clearer error if
 * the name is a dangerous one.
 */
static mc_status instance(machine *m, const instruction *in)
{
    MC_TRY(global(m, in));
    return refuse(m, 'i');
}

/* All instructions of protocols 2 to 5 that torch writes. */
static const instruction instructions[256] = {
    [0x80] = {protocol, .size = 1},
    [0x95] = {frame, .size = 8},
    ['.'] = {stop},

    ['('] = {mark},
    ['0'] = {pop_any},
    ['1'] = {pop_to_mark},
    ['2'] = {duplicate},

    ['q'] = {memo_put, .size = 1}, /* BINPUT */
    ['r'] = {memo_put, .size = 4}, /* LONG_BINPUT */
    [0x94] = {memo_next},          /* MEMOIZE */
    ['h'] = {memo_get, .size = 1}, /* BINGET */
    ['j'] = {memo_get, .size = 4}, /* LONG_BINGET */

    ['N'] = {constant, .size = NONE},
    [0x88] = {constant, .size = TRUE},
    [0x89] = {constant, .size = FALSE},
    ['K'] = {unsigned_value, .size = 1}, /* BININT1 */
    ['M'] = {unsigned_value, .size = 2}, /* BININT2 */
    ['J'] = {signed_value, .size = 4},   /* BININT */
    [0x8a] = {long_value, .size = 1},    /* LONG1 */
    [0x8b] = {long_value, .size = 4},    /* LONG4 */
    ['G'] = {float_value, .size = 8},    /* BINFLOAT */

    ['U'] = {sized_value, 1, MC_PICKLE_TEXT},   /* SHORT_BINSTRING: str of Python 2 */
    ['T'] = {sized_value, 4, MC_PICKLE_TEXT},   /* BINSTRING */
    [0x8c] = {sized_value, 1, MC_PICKLE_TEXT},  /* SHORT_BINUNICODE */
    ['X'] = {sized_value, 4, MC_PICKLE_TEXT},   /* BINUNICODE */
    [0x8d] = {sized_value, 8, MC_PICKLE_TEXT},  /* BINUNICODE8 */
    ['C'] = {sized_value, 1, MC_PICKLE_BYTES},  /* SHORT_BINBYTES */
    ['B'] = {sized_value, 4, MC_PICKLE_BYTES},  /* BINBYTES */
    [0x8e] = {sized_value, 8, MC_PICKLE_BYTES}, /* BINBYTES8 */
    [0x96] = {sized_value, 8, MC_PICKLE_BYTES}, /* BYTEARRAY8 */

    [')'] = {constant, .size = EMPTY_TUPLE},
    [']'] = {empty, .kind = MC_PICKLE_LIST},
    [0x8f] = {empty, .kind = MC_PICKLE_LIST}, /* EMPTY_SET */
    ['}'] = {empty, .kind = MC_PICKLE_DICT},
    ['t'] = {from_mark, .kind = MC_PICKLE_TUPLE},
    ['l'] = {from_mark, .kind = MC_PICKLE_LIST},
    [0x91] = {from_mark, .kind = MC_PICKLE_LIST}, /* FROZENSET */
    ['d'] = {from_mark, .kind = MC_PICKLE_DICT},
    [0x85] = {tuple, .size = 1},
    [0x86] = {tuple, .size = 2},
    [0x87] = {tuple, .size = 3},
    ['a'] = {add_last, 1, MC_PICKLE_LIST},         /* APPEND */
    ['e'] = {add_marked, .kind = MC_PICKLE_LIST},  /* APPENDS */
    [0x90] = {add_marked, .kind = MC_PICKLE_LIST}, /* ADDITEMS */
    ['s'] = {add_last, 2, MC_PICKLE_DICT},         /* SETITEM */
    ['u'] = {add_marked, .kind = MC_PICKLE_DICT},  /* SETITEMS */

    ['c'] = {global},
    [0x93] = {stack_global},
    ['R'] = {call},                /* REDUCE */
    [0x81] = {call},               /* NEWOBJ */
    [0x92] = {call_with_keywords}, /* NEWOBJ_EX */
    ['i'] = {instance},
    ['b'] = {build},
    ['Q'] = {persistent}, /* BINPERSID */
};

/* Ends, since every instruction takes at least one byte. */
static mc_status execute(machine *m)
{
    while (!m->done) {
        const unsigned char *opcode = NULL;
        m->opcode = m->at;
        MC_TRY(take(m, 1, &opcode));
        const instruction *const in = &instructions[*opcode];
        MC_TRY(in->run ? in->run(m, in) : refuse(m, *opcode));
    }
    return MC_OK;
}

mc_status mc_pickle_read(const char *bytes, size_t size, const mc_global *globals, mc_pickle **out,
                         size_t *used, bool *ended, mc_error *error)
{
    mc_pickle *const made = mc_alloc_zero(1, sizeof *made);
    if (!made)
        return mc_fail_memory(error);
    machine m = {.bytes = bytes, .size = size, .globals = globals, .made = made, .error = error};
    const mc_status status = execute(&m);
    mc_free(m.stack);
    mc_free(m.marks);
    mc_free(m.memo);
    *used = m.at;
    /*
     * Not an error of the file by itself: a reader of the beginning of a file may read more of it.
     */
    if (ended)
        *ended = m.ended;
    if (status != MC_OK) {
        mc_pickle_free(made);
        return status;
    }
    *out = made;
    return MC_OK;
}

void mc_pickle_free(mc_pickle *pickle)
{
    if (!pickle)
        return;
    for (block *b = pickle->blocks, *next; b; b = next) {
        next = b->next;
        mc_free(b);
    }
    mc_free(pickle->persistents);
    mc_free(pickle);
}

mc_pickle_value *mc_pickle_root(const mc_pickle *pickle)
{
    return pickle->root;
}

size_t mc_pickle_persistent_count(const mc_pickle *pickle)
{
    return pickle->persistent_count;
}

const mc_pickle_value *mc_pickle_persistent(const mc_pickle *pickle, size_t index)
{
    return pickle->persistents[index];
}

bool mc_pickle_is_text(const mc_pickle_value *value, const char *text)
{
    return value->kind == MC_PICKLE_TEXT && value->size == strlen(text) &&
           memcmp(value->bytes, text, value->size) == 0;
}

mc_pickle_value *mc_pickle_get(const mc_pickle_value *dict, const char *key)
{
    /* From the end: the last of repeated keys counts, as in Python. */
    for (size_t i = dict->count; i >= 2; i -= 2)
        if (mc_pickle_is_text(dict->items[i - 2], key))
            return dict->items[i - 1];
    return NULL;
}

#include "checkpoint/pickle.h"

#include "base/memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Memory for values is taken in blocks and given back all at once, so that values that contain each other need no care. */
typedef struct block {
    struct block *next;
    size_t used, capacity;
    max_align_t bytes[];
} block;

enum { BLOCK_BYTES = 16 * 1024, ALIGNMENT = sizeof(void *) };

struct mc_pickle {
    block *blocks;
    mc_value *root;
    const mc_value **persistents;
    size_t persistent_count, persistent_capacity;
};

typedef struct machine {
    const char *bytes;
    size_t size, at;
    size_t opcode; /* where the current one is */
    const mc_global *globals;
    mc_pickle *made;
    mc_value **stack;
    size_t stack_count, stack_capacity;
    size_t *marks;
    size_t mark_count, mark_capacity;
    mc_value **memo;
    size_t memo_size, memo_capacity; /* memo[i] is NULL where nothing was stored */
    size_t memo_count;
    size_t copied; /* items of lists that were made into dicts */
    bool ended;    /* the bytes end in the middle of an instruction */
    bool done;
    mc_error *error;
} machine;

/* The values that need no memory of their own. */
static mc_value none = {.kind = MC_VALUE_NONE};
static mc_value no = {.kind = MC_VALUE_BOOL, .integer = 0};
static mc_value yes = {.kind = MC_VALUE_BOOL, .integer = 1};
static mc_value empty_tuple = {.kind = MC_VALUE_TUPLE};

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

static mc_status push(machine *m, mc_value *value)
{
    if (!MC_GROW(m->stack, m->stack_count, m->stack_capacity))
        return mc_fail_memory(m->error);
    m->stack[m->stack_count++] = value;
    return MC_OK;
}

/* What is below the last mark cannot be taken. */
static mc_status pop(machine *m, mc_value **value)
{
    const size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->stack_count <= floor)
        return FAIL(m, MC_FORMAT, "the pickle takes a value from an empty stack");
    *value = m->stack[--m->stack_count];
    return MC_OK;
}

static mc_status top(machine *m, mc_value **value)
{
    MC_TRY(pop(m, value));
    m->stack_count++;
    return MC_OK;
}

static mc_status push_new(machine *m, mc_value value)
{
    mc_value *const made = take_memory(m, sizeof *made);
    if (!made)
        return mc_fail_memory(m->error);
    *made = value;
    return push(m, made);
}

static mc_status push_bytes(machine *m, mc_value_kind kind, size_t size)
{
    const unsigned char *b = NULL;
    MC_TRY(take(m, size, &b));
    return push_new(m, (mc_value){.kind = kind, .bytes = (const char *)b, .size = size});
}

/* Bytes whose size stands before them, as a number of length_size bytes. */
static mc_status push_sized(machine *m, mc_value_kind kind, size_t length_size)
{
    uint64_t size = 0;
    MC_TRY(take_number(m, length_size, &size));
    return push_bytes(m, kind, (size_t)size);
}

static mc_status push_int(machine *m, int64_t integer)
{
    return push_new(m, (mc_value){.kind = MC_VALUE_INT, .integer = integer});
}

static mc_status push_unsigned(machine *m, size_t size)
{
    uint64_t number = 0;
    MC_TRY(take_number(m, size, &number));
    return push_int(m, (int64_t)number);
}

/* Two's complement of any length. */
static mc_status push_long(machine *m, size_t length_size)
{
    uint64_t size = 0;
    MC_TRY(take_number(m, length_size, &size));
    if (size > sizeof(int64_t))
        return push_bytes(m, MC_VALUE_BIG, (size_t)size);
    uint64_t number = 0;
    MC_TRY(take_number(m, (size_t)size, &number));
    if (size == 0)
        return push_int(m, 0);
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

/* The values from `first` on. There is no stack before the first value. */
static mc_value *const *values_from(const machine *m, size_t first)
{
    return m->stack ? m->stack + first : NULL;
}

/* ---- containers ---- */

static mc_status make_room(machine *m, mc_value *container, size_t more)
{
    const size_t needed = container->count + more;
    if (needed <= container->capacity)
        return MC_OK;
    const size_t twice = container->capacity * 2;
    const size_t capacity = needed > twice ? needed : twice;
    mc_value **const items = take_memory(m, capacity * sizeof *items);
    if (!items)
        return mc_fail_memory(m->error);
    if (container->count > 0)
        memcpy(items, container->items, container->count * sizeof *items);
    container->items = items;
    container->capacity = capacity;
    return MC_OK;
}

static mc_status append(machine *m, mc_value *container, mc_value *const *items, size_t count)
{
    MC_TRY(make_room(m, container, count));
    if (count > 0)
        memcpy(container->items + container->count, items, count * sizeof *items);
    container->count += count;
    return MC_OK;
}

/* Makes a container of the values from `first` on, which leave the stack. */
static mc_status push_container(machine *m, mc_value_kind kind, size_t first)
{
    const size_t count = m->stack_count - first;
    if (kind == MC_VALUE_TUPLE && count == 0)
        return push(m, &empty_tuple);
    mc_value *const made = take_memory(m, sizeof *made);
    if (!made)
        return mc_fail_memory(m->error);
    *made = (mc_value){.kind = kind};
    MC_TRY(append(m, made, values_from(m, first), count));
    m->stack_count = first;
    return push(m, made);
}

static mc_status push_marked(machine *m, mc_value_kind kind)
{
    size_t first = 0;
    MC_TRY(pop_mark(m, &first));
    if (kind == MC_VALUE_DICT && (m->stack_count - first) % 2 != 0)
        return FAIL(m, MC_FORMAT, "the pickle makes a dict of keys without values");
    return push_container(m, kind, first);
}

/* A tuple of the last `count` values. */
static mc_status push_tuple(machine *m, size_t count)
{
    const size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->stack_count - floor < count)
        return FAIL(m, MC_FORMAT, "the pickle takes a value from an empty stack");
    return push_container(m, MC_VALUE_TUPLE, m->stack_count - count);
}

/* Adds the values from `first` on to the container below them. */
static mc_status extend(machine *m, mc_value_kind kind, size_t first)
{
    const size_t count = m->stack_count - first;
    mc_value *const *const items = values_from(m, first);
    mc_value *container = NULL;
    m->stack_count = first;
    MC_TRY(top(m, &container));
    if (container->kind != kind)
        return FAIL(m, MC_FORMAT, "the pickle adds items to something that is not a %s",
                    kind == MC_VALUE_DICT ? "dict" : "list");
    if (kind == MC_VALUE_DICT && count % 2 != 0)
        return FAIL(m, MC_FORMAT, "the pickle adds keys without values to a dict");
    return append(m, container, items, count);
}

static mc_status extend_marked(machine *m, mc_value_kind kind)
{
    size_t first = 0;
    MC_TRY(pop_mark(m, &first));
    return extend(m, kind, first);
}

static mc_status extend_last(machine *m, mc_value_kind kind, size_t count)
{
    const size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->stack_count - floor < count)
        return FAIL(m, MC_FORMAT, "the pickle takes a value from an empty stack");
    return extend(m, kind, m->stack_count - count);
}

/* ---- the memo ---- */

static mc_status memoize(machine *m, uint64_t index)
{
    mc_value *value = NULL;
    MC_TRY(top(m, &value));
    /* Every pickler counts up from 0 or 1, so that an index never exceeds the number of bytes. */
    if (index > m->opcode)
        return FAIL(m, MC_FORMAT, "the pickle has memo index %llu after only %zu bytes",
                    (unsigned long long)index, m->opcode);
    while (m->memo_size <= index) {
        if (!MC_GROW(m->memo, m->memo_size, m->memo_capacity))
            return mc_fail_memory(m->error);
        m->memo[m->memo_size++] = NULL;
    }
    m->memo_count += m->memo[index] == NULL;
    m->memo[index] = value;
    return MC_OK;
}

static mc_status put(machine *m, size_t index_size)
{
    uint64_t index = 0;
    MC_TRY(take_number(m, index_size, &index));
    return memoize(m, index);
}

static mc_status get(machine *m, size_t index_size)
{
    uint64_t index = 0;
    MC_TRY(take_number(m, index_size, &index));
    if (index >= m->memo_size || !m->memo[index])
        return FAIL(m, MC_FORMAT, "the pickle uses memo %llu, where nothing was stored",
                    (unsigned long long)index);
    return push(m, m->memo[index]);
}

/* ---- names and calls ---- */

enum { SHOWN = 200 }; /* bytes of a name in an error */

static bool is_name(const char *name, const char *module, size_t module_size, const char *member,
                    size_t member_size)
{
    return strlen(name) == module_size + 1 + member_size &&
           memcmp(name, module, module_size) == 0 && name[module_size] == '.' &&
           memcmp(name + module_size + 1, member, member_size) == 0;
}

static int shown(size_t size)
{
    return (int)(size < SHOWN ? size : SHOWN);
}

static mc_status push_global(machine *m, const char *module, size_t module_size, const char *member,
                             size_t member_size)
{
    for (const mc_global *one = m->globals; one->name; one++)
        if (is_name(one->name, module, module_size, member, member_size))
            return push_new(m, (mc_value){.kind = MC_VALUE_GLOBAL, .global = one});
    return FAIL(m, MC_UNSUPPORTED,
                "refused: the pickle refers to '%.*s.%.*s', which may run code; a checkpoint of "
                "tensors does not need it",
                shown(module_size), module, shown(member_size), member);
}

static mc_status global(machine *m)
{
    const char *module = NULL, *member = NULL;
    size_t module_size = 0, member_size = 0;
    MC_TRY(take_line(m, &module, &module_size));
    MC_TRY(take_line(m, &member, &member_size));
    return push_global(m, module, module_size, member, member_size);
}

static mc_status stack_global(machine *m)
{
    mc_value *member = NULL, *module = NULL;
    MC_TRY(pop(m, &member));
    MC_TRY(pop(m, &module));
    if (module->kind != MC_VALUE_TEXT || member->kind != MC_VALUE_TEXT)
        return FAIL(m, MC_FORMAT, "the pickle refers to a name that is not text");
    return push_global(m, module->bytes, module->size, member->bytes, member->size);
}

/* OrderedDict([(key, value), …]), as old Pythons have it; a dict that begins empty otherwise. */
static mc_status fill_dict(machine *m, mc_value *dict, const mc_value *arguments)
{
    const mc_value *const pairs = arguments->count == 1 ? arguments->items[0] : NULL;
    if (!pairs || pairs->kind != MC_VALUE_LIST)
        return MC_OK;
    /* One list made into many dicts would take memory out of proportion. */
    m->copied += pairs->count;
    if (m->copied > m->size)
        return FAIL(m, MC_FORMAT, "the pickle makes dicts of more items than it has bytes");
    for (size_t i = 0; i < pairs->count; i++) {
        const mc_value *const pair = pairs->items[i];
        const bool is_pair = (pair->kind == MC_VALUE_TUPLE || pair->kind == MC_VALUE_LIST) &&
                             pair->count == 2;
        if (!is_pair)
            return FAIL(m, MC_FORMAT, "the pickle makes a dict of items that are not pairs");
        MC_TRY(append(m, dict, pair->items, 2));
    }
    return MC_OK;
}

/* Calls nothing: the name with its arguments is the value. */
static mc_status call(machine *m)
{
    mc_value *arguments = NULL, *callee = NULL;
    MC_TRY(pop(m, &arguments));
    MC_TRY(pop(m, &callee));
    if (callee->kind != MC_VALUE_GLOBAL || arguments->kind != MC_VALUE_TUPLE)
        return FAIL(m, MC_FORMAT, "refused: the pickle calls something that is not a name");
    mc_value *const made = take_memory(m, sizeof *made);
    if (!made)
        return mc_fail_memory(m->error);
    if (callee->global->kind == MC_GLOBAL_DICT) {
        *made = (mc_value){.kind = MC_VALUE_DICT};
        MC_TRY(fill_dict(m, made, arguments));
    } else if (callee->global->kind == MC_GLOBAL_LIST) {
        *made = (mc_value){.kind = MC_VALUE_LIST};
    } else {
        mc_value *const items[] = {callee, arguments};
        *made = (mc_value){.kind = MC_VALUE_CALL};
        MC_TRY(append(m, made, items, 2));
    }
    return push(m, made);
}

static mc_status call_with_keywords(machine *m)
{
    mc_value *keywords = NULL;
    MC_TRY(pop(m, &keywords));
    if (keywords->kind != MC_VALUE_DICT)
        return FAIL(m, MC_FORMAT, "refused: the pickle calls with keywords that are not a dict");
    return call(m);
}

/* The state of an object says nothing about its tensors (`_metadata`, the attributes of a parameter). */
static mc_status build(machine *m)
{
    mc_value *state = NULL, *object = NULL;
    MC_TRY(pop(m, &state));
    MC_TRY(top(m, &object));
    if (object->kind != MC_VALUE_CALL && object->kind != MC_VALUE_DICT)
        return FAIL(m, MC_FORMAT, "refused: the pickle sets the state of something that has none");
    return MC_OK;
}

static mc_status persistent(machine *m)
{
    mc_value *id = NULL;
    mc_pickle *const made = m->made;
    MC_TRY(pop(m, &id));
    MC_TRY(push_new(m, (mc_value){.kind = MC_VALUE_PERSISTENT}));
    mc_value *const value = m->stack[m->stack_count - 1];
    if (!MC_GROW(made->persistents, made->persistent_count, made->persistent_capacity))
        return mc_fail_memory(m->error);
    made->persistents[made->persistent_count++] = value;
    return append(m, value, &id, 1);
}

/* ---- the machine ---- */

static mc_status protocol(machine *m)
{
    uint64_t version = 0;
    MC_TRY(take_number(m, 1, &version));
    if (version < 2 || version > 5)
        return FAIL(m, MC_UNSUPPORTED, "expected pickle protocol 2 to 5, found %d", (int)version);
    return MC_OK;
}

/* A frame only says how much can be read at once. */
static mc_status frame(machine *m)
{
    uint64_t size = 0;
    MC_TRY(take_number(m, 8, &size));
    if (size > MC_PICKLE_LIMIT)
        return FAIL(m, MC_FORMAT, "the pickle has a frame of %llu bytes", (unsigned long long)size);
    return MC_OK;
}

static mc_status pop_any(machine *m)
{
    mc_value *value = NULL;
    if (m->mark_count > 0 && m->marks[m->mark_count - 1] == m->stack_count) {
        m->mark_count--;
        return MC_OK;
    }
    return pop(m, &value);
}

static mc_status pop_to_mark(machine *m)
{
    return pop_mark(m, &m->stack_count);
}

static mc_status duplicate(machine *m)
{
    mc_value *value = NULL;
    MC_TRY(top(m, &value));
    return push(m, value);
}

static mc_status push_float(machine *m)
{
    const unsigned char *b = NULL;
    MC_TRY(take(m, 8, &b));
    /* Nothing in a checkpoint of tensors depends on its value. */
    return push(m, &none);
}

static mc_status stop(machine *m)
{
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

/* INST: a name and a call in one. Only refused more clearly than other instructions that torch does not write. */
static mc_status instance(machine *m)
{
    MC_TRY(global(m));
    return refuse(m, 'i');
}

static mc_status push_value(machine *m, unsigned char opcode)
{
    switch (opcode) {
    case 'N': /* NONE */
        return push(m, &none);
    case 0x88: /* NEWTRUE */
        return push(m, &yes);
    case 0x89: /* NEWFALSE */
        return push(m, &no);
    case 'K': /* BININT1 */
        return push_unsigned(m, 1);
    case 'M': /* BININT2 */
        return push_unsigned(m, 2);
    case 'J': { /* BININT */
        uint64_t number = 0;
        MC_TRY(take_number(m, 4, &number));
        return push_int(m, (int32_t)(uint32_t)number);
    }
    case 0x8a: /* LONG1 */
        return push_long(m, 1);
    case 0x8b: /* LONG4 */
        return push_long(m, 4);
    case 'G': /* BINFLOAT */
        return push_float(m);
    case 'U':  /* SHORT_BINSTRING: str of Python 2 */
    case 0x8c: /* SHORT_BINUNICODE */
        return push_sized(m, MC_VALUE_TEXT, 1);
    case 'T': /* BINSTRING */
    case 'X': /* BINUNICODE */
        return push_sized(m, MC_VALUE_TEXT, 4);
    case 0x8d: /* BINUNICODE8 */
        return push_sized(m, MC_VALUE_TEXT, 8);
    case 'C': /* SHORT_BINBYTES */
        return push_sized(m, MC_VALUE_BYTES, 1);
    case 'B': /* BINBYTES */
        return push_sized(m, MC_VALUE_BYTES, 4);
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return push_sized(m, MC_VALUE_BYTES, 8);
    default:
        return refuse(m, opcode);
    }
}

static mc_status do_container(machine *m, unsigned char opcode)
{
    switch (opcode) {
    case ']':  /* EMPTY_LIST */
    case 0x8f: /* EMPTY_SET */
        return push_new(m, (mc_value){.kind = MC_VALUE_LIST});
    case '}': /* EMPTY_DICT */
        return push_new(m, (mc_value){.kind = MC_VALUE_DICT});
    case ')': /* EMPTY_TUPLE */
        return push(m, &empty_tuple);
    case 'l':  /* LIST */
    case 0x91: /* FROZENSET */
        return push_marked(m, MC_VALUE_LIST);
    case 'd': /* DICT */
        return push_marked(m, MC_VALUE_DICT);
    case 't': /* TUPLE */
        return push_marked(m, MC_VALUE_TUPLE);
    case 0x85: /* TUPLE1 */
    case 0x86: /* TUPLE2 */
    case 0x87: /* TUPLE3 */
        return push_tuple(m, opcode - 0x84u);
    case 'a': /* APPEND */
        return extend_last(m, MC_VALUE_LIST, 1);
    case 'e':  /* APPENDS */
    case 0x90: /* ADDITEMS */
        return extend_marked(m, MC_VALUE_LIST);
    case 's': /* SETITEM */
        return extend_last(m, MC_VALUE_DICT, 2);
    case 'u': /* SETITEMS */
        return extend_marked(m, MC_VALUE_DICT);
    default:
        return push_value(m, opcode);
    }
}

static mc_status step(machine *m, unsigned char opcode)
{
    switch (opcode) {
    case 0x80: /* PROTO */
        return protocol(m);
    case 0x95: /* FRAME */
        return frame(m);
    case '(': /* MARK */
        return push_mark(m);
    case '0': /* POP */
        return pop_any(m);
    case '1': /* POP_MARK */
        return pop_to_mark(m);
    case '2': /* DUP */
        return duplicate(m);
    case 'q': /* BINPUT */
        return put(m, 1);
    case 'r': /* LONG_BINPUT */
        return put(m, 4);
    case 0x94: /* MEMOIZE */
        return memoize(m, m->memo_count);
    case 'h': /* BINGET */
        return get(m, 1);
    case 'j': /* LONG_BINGET */
        return get(m, 4);
    case 'c': /* GLOBAL */
        return global(m);
    case 0x93: /* STACK_GLOBAL */
        return stack_global(m);
    case 'i': /* INST */
        return instance(m);
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        return call(m);
    case 0x92: /* NEWOBJ_EX */
        return call_with_keywords(m);
    case 'b': /* BUILD */
        return build(m);
    case 'Q': /* BINPERSID */
        return persistent(m);
    case '.': /* STOP */
        return stop(m);
    default:
        return do_container(m, opcode);
    }
}

static mc_status execute(machine *m)
{
    while (!m->done) {
        const unsigned char *opcode = NULL;
        m->opcode = m->at;
        MC_TRY(take(m, 1, &opcode));
        MC_TRY(step(m, *opcode));
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

mc_value *mc_pickle_root(const mc_pickle *pickle)
{
    return pickle->root;
}

size_t mc_pickle_persistent_count(const mc_pickle *pickle)
{
    return pickle->persistent_count;
}

const mc_value *mc_pickle_persistent(const mc_pickle *pickle, size_t index)
{
    return pickle->persistents[index];
}

bool mc_value_is_text(const mc_value *value, const char *text)
{
    return value->kind == MC_VALUE_TEXT && value->size == strlen(text) &&
           memcmp(value->bytes, text, value->size) == 0;
}

mc_value *mc_value_get(const mc_value *dict, const char *key)
{
    for (size_t i = dict->count; i >= 2; i -= 2)
        if (mc_value_is_text(dict->items[i - 2], key))
            return dict->items[i - 1];
    return NULL;
}

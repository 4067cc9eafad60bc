#include "checkpoint/torch.h"

#include "base/memory.h"
#include "tensor/source.h"

#include <string.h>

/* What a name means; storages and dtypes have an mc_dtype, or a size in bytes, added. */
enum {
    OTHER,
    REBUILD_TENSOR,    /* (storage, offset, size, stride) */
    REBUILD_TENSOR_V2, /* (…, requires_grad, hooks[, metadata]) */
    REBUILD_TENSOR_V3, /* (…, requires_grad, hooks, dtype[, metadata]) */
    PARAMETER,         /* (tensor, …) */
    FROM_TYPE,         /* (function, type, arguments, state) */
    UNREADABLE_TENSOR,
    STORAGE = 100,
    STORAGE_OTHER = 200,
    DTYPE = 300,
};

const mc_global mc_torch_globals[] = {
    {"collections.OrderedDict", MC_GLOBAL_DICT, OTHER},
    {"torch._utils._rebuild_tensor_v2", MC_GLOBAL_INERT, REBUILD_TENSOR_V2},
    {"torch._utils._rebuild_tensor", MC_GLOBAL_INERT, REBUILD_TENSOR},
    {"torch._utils._rebuild_tensor_v3", MC_GLOBAL_INERT, REBUILD_TENSOR_V3},
    {"torch._utils._rebuild_parameter", MC_GLOBAL_INERT, PARAMETER},
    {"torch._utils._rebuild_parameter_with_state", MC_GLOBAL_INERT, PARAMETER},
    {"torch.nn.parameter.Parameter", MC_GLOBAL_INERT, PARAMETER},
    {"torch._tensor._rebuild_from_type_v2", MC_GLOBAL_INERT, FROM_TYPE},
    {"torch._utils._rebuild_sparse_tensor", MC_GLOBAL_INERT, UNREADABLE_TENSOR},
    {"torch._utils._rebuild_qtensor", MC_GLOBAL_INERT, UNREADABLE_TENSOR},
    {"torch._utils._rebuild_nested_tensor", MC_GLOBAL_INERT, UNREADABLE_TENSOR},
    {"torch._utils._rebuild_meta_tensor_no_storage", MC_GLOBAL_INERT, UNREADABLE_TENSOR},
    {"torch._utils._rebuild_device_tensor_from_numpy", MC_GLOBAL_INERT, UNREADABLE_TENSOR},
    {"torch._utils._rebuild_wrapper_subclass", MC_GLOBAL_INERT, UNREADABLE_TENSOR},
    {"torch.FloatStorage", MC_GLOBAL_INERT, STORAGE + MC_F32},
    {"torch.HalfStorage", MC_GLOBAL_INERT, STORAGE + MC_F16},
    {"torch.BFloat16Storage", MC_GLOBAL_INERT, STORAGE + MC_BF16},
    {"torch.DoubleStorage", MC_GLOBAL_INERT, STORAGE + MC_F64},
    {"torch.LongStorage", MC_GLOBAL_INERT, STORAGE + MC_I64},
    {"torch.IntStorage", MC_GLOBAL_INERT, STORAGE + MC_I32},
    {"torch.ShortStorage", MC_GLOBAL_INERT, STORAGE + MC_I16},
    {"torch.CharStorage", MC_GLOBAL_INERT, STORAGE + MC_I8},
    {"torch.ByteStorage", MC_GLOBAL_INERT, STORAGE + MC_U8},
    {"torch.BoolStorage", MC_GLOBAL_INERT, STORAGE + MC_BOOL},
    {"torch.ComplexFloatStorage", MC_GLOBAL_INERT, STORAGE + MC_C64},
    {"torch.UntypedStorage", MC_GLOBAL_INERT, STORAGE + MC_U8},
    {"torch.storage.UntypedStorage", MC_GLOBAL_INERT, STORAGE + MC_U8},
    {"torch.storage._UntypedStorage", MC_GLOBAL_INERT, STORAGE + MC_U8},
    {"torch.ComplexDoubleStorage", MC_GLOBAL_INERT, STORAGE_OTHER + 16},
    {"torch.QInt32Storage", MC_GLOBAL_INERT, STORAGE_OTHER + 4},
    {"torch.QInt8Storage", MC_GLOBAL_INERT, STORAGE_OTHER + 1},
    {"torch.QUInt8Storage", MC_GLOBAL_INERT, STORAGE_OTHER + 1},
    {"torch.QUInt4x2Storage", MC_GLOBAL_INERT, STORAGE_OTHER + 1},
    {"torch.QUInt2x4Storage", MC_GLOBAL_INERT, STORAGE_OTHER + 1},
#define X(id_, torch_, block_, bytes_, kind_) {"torch." torch_, MC_GLOBAL_INERT, DTYPE + MC_##id_},
    MC_DTYPE_MAP(X)
#undef X
    /* What training checkpoints hold besides tensors. Names only: none of these is looked into. */
    {"torch.complex32", MC_GLOBAL_INERT, OTHER},
    {"torch.complex128", MC_GLOBAL_INERT, OTHER},
    {"torch.qint8", MC_GLOBAL_INERT, OTHER},
    {"torch.quint8", MC_GLOBAL_INERT, OTHER},
    {"torch.qint32", MC_GLOBAL_INERT, OTHER},
    {"torch.quint4x2", MC_GLOBAL_INERT, OTHER},
    {"torch.quint2x4", MC_GLOBAL_INERT, OTHER},
    {"torch.per_tensor_affine", MC_GLOBAL_INERT, OTHER},
    {"torch.per_channel_affine", MC_GLOBAL_INERT, OTHER},
    {"torch.Size", MC_GLOBAL_INERT, OTHER},
    {"torch.device", MC_GLOBAL_INERT, OTHER},
    {"torch.Tensor", MC_GLOBAL_INERT, OTHER},
    {"torch._C.TensorBase", MC_GLOBAL_INERT, OTHER},
    {"torch.nn.parameter.Buffer", MC_GLOBAL_INERT, OTHER},
    {"torch.storage.TypedStorage", MC_GLOBAL_INERT, OTHER},
    {"torch.storage._TypedStorage", MC_GLOBAL_INERT, OTHER},
    {"torch.serialization._get_layout", MC_GLOBAL_INERT, OTHER},
    {"collections.defaultdict", MC_GLOBAL_DICT, OTHER},
    {"collections.Counter", MC_GLOBAL_DICT, OTHER},
    {"builtins.dict", MC_GLOBAL_DICT, OTHER},
    {"builtins.list", MC_GLOBAL_LIST, OTHER},
    {"builtins.set", MC_GLOBAL_LIST, OTHER},
    {"builtins.frozenset", MC_GLOBAL_LIST, OTHER},
    {"builtins.int", MC_GLOBAL_INERT, OTHER},
    {"builtins.float", MC_GLOBAL_INERT, OTHER},
    {"builtins.bytearray", MC_GLOBAL_INERT, OTHER},
    {"builtins.complex", MC_GLOBAL_INERT, OTHER},
    {"__builtin__.dict", MC_GLOBAL_DICT, OTHER},
    {"__builtin__.list", MC_GLOBAL_LIST, OTHER},
    {"__builtin__.set", MC_GLOBAL_LIST, OTHER},
    {"__builtin__.frozenset", MC_GLOBAL_LIST, OTHER},
    {"__builtin__.int", MC_GLOBAL_INERT, OTHER},
    {"__builtin__.float", MC_GLOBAL_INERT, OTHER},
    {"__builtin__.bytearray", MC_GLOBAL_INERT, OTHER},
    {"__builtin__.complex", MC_GLOBAL_INERT, OTHER},
    {"_codecs.encode", MC_GLOBAL_INERT, OTHER},
    {"argparse.Namespace", MC_GLOBAL_INERT, OTHER},
    {"copyreg._reconstructor", MC_GLOBAL_INERT, OTHER},
    {"copy_reg._reconstructor", MC_GLOBAL_INERT, OTHER},
    {"builtins.object", MC_GLOBAL_INERT, OTHER},
    {"__builtin__.object", MC_GLOBAL_INERT, OTHER},
    {"pathlib.PosixPath", MC_GLOBAL_INERT, OTHER},
    {"pathlib.PurePosixPath", MC_GLOBAL_INERT, OTHER},
    {"datetime.datetime", MC_GLOBAL_INERT, OTHER},
    {"datetime.timedelta", MC_GLOBAL_INERT, OTHER},
    {"numpy.dtype", MC_GLOBAL_INERT, OTHER},
    {"numpy.ndarray", MC_GLOBAL_INERT, OTHER},
    {"numpy.core.multiarray.scalar", MC_GLOBAL_INERT, OTHER},
    {"numpy.core.multiarray._reconstruct", MC_GLOBAL_INERT, OTHER},
    {"numpy._core.multiarray.scalar", MC_GLOBAL_INERT, OTHER},
    {"numpy._core.multiarray._reconstruct", MC_GLOBAL_INERT, OTHER},
    {0},
};

/*
 * A pickle can name one value any number of times. What is done each time must therefore not depend on the value's size, or a file of
 * a few megabytes keeps its reader busy for hours. All names together are limited, since they repeat those of the dicts around
 * them.
 */
enum {
    KEY_LIMIT = 256,     /* bytes of the key of a storage */
    METADATA_LIMIT = 32, /* keys and values */
    NAMES_LIMIT = 64 << 20,
};

/* ---- storages ---- */

static mc_status storage_type(const mc_value *value, mc_torch_storage *out, mc_error *error)
{
    const int meaning = value->kind == MC_VALUE_GLOBAL ? value->global->meaning : OTHER;
    out->readable = meaning >= STORAGE && meaning < STORAGE + MC_DTYPE_COUNT;
    if (!out->readable && (meaning < STORAGE_OTHER || meaning >= DTYPE))
        return mc_fail(error, MC_FORMAT, "expected a type of storage in the pickle, found %s",
                       value->kind == MC_VALUE_GLOBAL ? value->global->name : "something else");
    out->type = value->global->name;
    out->dtype = out->readable ? (mc_dtype)(meaning - STORAGE) : MC_U8;
    out->element_bytes = out->readable ? mc_dtype_bytes(out->dtype, 1) : meaning - STORAGE_OTHER;
    return MC_OK;
}

static bool is_count(const mc_value *value)
{
    return value->kind == MC_VALUE_INT && value->integer >= 0;
}

/* (key, first, count): part of the storage, in old files. */
static mc_status storage_view(const mc_value *view, mc_torch_storage *out, mc_error *error)
{
    if (view->kind == MC_VALUE_NONE)
        return MC_OK;
    if (view->kind != MC_VALUE_TUPLE || view->count != 3 || !is_count(view->items[1]) ||
        !is_count(view->items[2]))
        return mc_fail(error, MC_FORMAT, "expected (key, first, count) as the view of a storage");
    out->view_first = view->items[1]->integer;
    out->view_count = view->items[2]->integer;
    if (out->view_first > out->count || out->view_count > out->count - out->view_first)
        return mc_fail(
            error, MC_FORMAT,
            "a view of %lld elements from element %lld on is outside of its storage of %lld",
            (long long)out->view_count, (long long)out->view_first, (long long)out->count);
    return MC_OK;
}

mc_status mc_torch_storage_parse(const mc_value *persistent, mc_torch_storage *out, mc_error *error)
{
    const mc_value *const id = persistent->items[0];
    if (id->kind != MC_VALUE_TUPLE || id->count < 5 || id->count > 6 ||
        !mc_value_is_text(id->items[0], "storage"))
        return mc_fail(error, MC_FORMAT,
                       "expected ('storage', type, key, location, count) as a persistent id");
    *out = (mc_torch_storage){0};
    MC_TRY(storage_type(id->items[1], out, error));
    const mc_value *const key = id->items[2];
    int64_t bytes;
    if (key->kind != MC_VALUE_TEXT || key->size > KEY_LIMIT || memchr(key->bytes, '\0', key->size))
        return mc_fail(error, MC_FORMAT,
                       "expected a text of at most %d bytes as the key of a storage", KEY_LIMIT);
    if (!is_count(id->items[4]) ||
        __builtin_mul_overflow(id->items[4]->integer, out->element_bytes, &bytes))
        return mc_fail(error, MC_FORMAT, "expected a size from 0 up for storage '%.*s'",
                       (int)key->size, key->bytes);
    out->key = key->bytes;
    out->key_size = key->size;
    out->count = out->view_count = id->items[4]->integer;
    return id->count == 6 ? storage_view(id->items[5], out, error) : MC_OK;
}

/* ---- tensors ---- */

/* A call that makes a tensor; function is NULL if the value is none. */
typedef struct tensor_call {
    const mc_global *function;
    const mc_value *arguments;
} tensor_call;

enum { WRAPPER_LIMIT = 8 };

/* Looks through parameters and subclasses to the call that makes the tensor itself. */
static tensor_call find_call(const mc_value *value)
{
    tensor_call found = {0};
    for (int depth = 0; depth < WRAPPER_LIMIT && value->kind == MC_VALUE_CALL; depth++) {
        const mc_global *function = value->items[0]->global;
        const mc_value *arguments = value->items[1];
        if (function->meaning == FROM_TYPE && arguments->count >= 3 &&
            arguments->items[0]->kind == MC_VALUE_GLOBAL &&
            arguments->items[2]->kind == MC_VALUE_TUPLE) {
            function = arguments->items[0]->global;
            arguments = arguments->items[2];
        }
        if (function->meaning == PARAMETER && arguments->count >= 1) {
            value = arguments->items[0];
            continue;
        }
        if (function->meaning > OTHER && function->meaning < STORAGE)
            found = (tensor_call){function, arguments};
        break;
    }
    return found;
}

/* A size or stride: a tuple of integers from 0 up, or a torch.Size of one. */
static mc_status parse_integers(const mc_value *value, const char *what, int64_t *out, int *rank,
                                mc_error *error)
{
    if (value->kind == MC_VALUE_CALL && strcmp(value->items[0]->global->name, "torch.Size") == 0 &&
        value->items[1]->count == 1)
        value = value->items[1]->items[0];
    if (value->kind != MC_VALUE_TUPLE && value->kind != MC_VALUE_LIST)
        return mc_fail(error, MC_FORMAT, "expected a tuple as the tensor's %s", what);
    if (value->count > MC_MAX_RANK)
        return mc_fail(error, MC_UNSUPPORTED, "expected at most %d dimensions, found %zu",
                       MC_MAX_RANK, value->count);
    *rank = (int)value->count;
    for (size_t i = 0; i < value->count; i++) {
        if (!is_count(value->items[i]))
            return mc_fail(error, MC_FORMAT,
                           "expected integers from 0 up in the tensor's %s, number %zu is not",
                           what, i);
        out[i] = value->items[i]->integer;
    }
    return MC_OK;
}

typedef struct tensor_form {
    mc_dtype dtype;
    int rank;
    int64_t offset; /* elements */
    int64_t shape[MC_MAX_RANK], strides[MC_MAX_RANK];
} tensor_form;

static mc_status parse_form(const mc_value *arguments, tensor_form *form, mc_error *error)
{
    int stride_rank = 0;
    if (!is_count(arguments->items[1]))
        return mc_fail(error, MC_FORMAT, "expected an offset from 0 up");
    form->offset = arguments->items[1]->integer;
    MC_TRY(parse_integers(arguments->items[2], "size", form->shape, &form->rank, error));
    MC_TRY(parse_integers(arguments->items[3], "stride", form->strides, &stride_rank, error));
    if (form->rank != stride_rank)
        return mc_fail(error, MC_FORMAT, "expected %d strides, one a dimension, found %d",
                       form->rank, stride_rank);
    return MC_OK;
}

static mc_status parse_dtype(const mc_value *value, mc_dtype *dtype, mc_error *error)
{
    const int meaning = value->kind == MC_VALUE_GLOBAL ? value->global->meaning : OTHER;
    if (meaning < DTYPE)
        return mc_fail(error, MC_UNSUPPORTED, "expected a dtype that can be read, found %s",
                       value->kind == MC_VALUE_GLOBAL ? value->global->name : "none");
    *dtype = (mc_dtype)(meaning - DTYPE);
    if (mc_dtype_block(*dtype) != 1)
        return mc_fail(error, MC_UNSUPPORTED, "%s in torch files", value->global->name);
    return MC_OK;
}

/* {'conj': True} and {'neg': True}: what is stored is not what the tensor shows. */
static mc_status check_metadata(const mc_value *arguments, size_t at, mc_error *error)
{
    if (arguments->count <= at || arguments->items[at]->kind != MC_VALUE_DICT)
        return MC_OK;
    if (arguments->items[at]->count > METADATA_LIMIT)
        return mc_fail(error, MC_FORMAT,
                       "expected at most %d keys and values of metadata, found %zu", METADATA_LIMIT,
                       arguments->items[at]->count);
    static const char *const lazy[] = {"conj", "neg"};
    for (size_t i = 0; i < 2; i++) {
        const mc_value *const flag = mc_value_get(arguments->items[at], lazy[i]);
        if (flag && flag->kind == MC_VALUE_BOOL && flag->integer)
            return mc_fail(error, MC_UNSUPPORTED, "a tensor that is stored without its '%s'",
                           lazy[i]);
    }
    return MC_OK;
}

/* What is being read, and where it goes. */
typedef struct walk {
    mc_file *file;
    mc_torch_place place;
    void *user;
    mc_state_dict *dict;
    size_t *name_bytes; /* of all names so far */
    mc_error *error;
} walk;

static mc_status check_call(const tensor_call *call, mc_torch_storage *storage, mc_dtype *dtype,
                            mc_error *error)
{
    const int meaning = call->function->meaning;
    const mc_value *const arguments = call->arguments;
    const size_t needed = meaning == REBUILD_TENSOR ? 4 : meaning == REBUILD_TENSOR_V2 ? 6 : 7;
    if (meaning == UNREADABLE_TENSOR)
        return mc_fail(error, MC_UNSUPPORTED, "expected a plain tensor, found one made by %s",
                       call->function->name);
    if (meaning > REBUILD_TENSOR_V3 || arguments->count < needed ||
        arguments->items[0]->kind != MC_VALUE_PERSISTENT)
        return mc_fail(error, MC_FORMAT, "expected %zu arguments and a storage for %s, found %zu",
                       needed, call->function->name, arguments->count);
    MC_TRY(mc_torch_storage_parse(arguments->items[0], storage, error));
    *dtype = storage->dtype;
    if (meaning == REBUILD_TENSOR_V3)
        MC_TRY(parse_dtype(arguments->items[6], dtype, error));
    else if (!storage->readable)
        return mc_fail(error, MC_UNSUPPORTED, "expected a dtype that can be read, found a %s",
                       storage->type);
    return check_metadata(arguments, needed + (meaning == REBUILD_TENSOR), error);
}

static mc_status make_tensor(const walk *w, const tensor_call *call, mc_source **out)
{
    mc_torch_storage storage;
    tensor_form form;
    int64_t begin = 0, end = 0, first, offset;
    MC_TRY(check_call(call, &storage, &form.dtype, w->error));
    MC_TRY(parse_form(call->arguments, &form, w->error));
    MC_TRY(w->place(w->user, &storage, &begin, &end, w->error));
    begin += storage.view_first * storage.element_bytes;
    end = begin + storage.view_count * storage.element_bytes;
    if (__builtin_mul_overflow(form.offset, mc_dtype_bytes(form.dtype, 1), &first) ||
        __builtin_add_overflow(begin, first, &offset))
        return mc_fail(w->error, MC_FORMAT, "offset %lld is too large", (long long)form.offset);
    return mc_stored_new(w->file, begin, end, offset, form.dtype, form.rank, form.shape,
                         form.strides, out, w->error);
}

static mc_status add_tensor(const walk *w, const char *name, const tensor_call *call)
{
    mc_source *source = NULL;
    MC_TRY(make_tensor(w, call, &source));
    const mc_status status = mc_state_dict_set(w->dict, name, source, w->error);
    mc_source_unref(source);
    return status;
}

/* ---- state dicts ---- */

/* The number of bytes of the character at b, 0 if it is not UTF-8. */
static size_t character_size(const unsigned char *b, size_t left)
{
    const size_t size = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    if (b[0] > 0xf4 || size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    const bool overlong = (b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xf0 && b[1] < 0x90);
    const bool surrogate = b[0] == 0xed && b[1] >= 0xa0;
    const bool beyond = b[0] == 0xf4 && b[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : size;
}

static mc_status check_name(const mc_value *key, mc_error *error)
{
    const unsigned char *const bytes = (const unsigned char *)key->bytes;
    for (size_t at = 0; at < key->size;) {
        const size_t size = character_size(bytes + at, key->size - at);
        if (size == 0 || bytes[at] == '\0')
            return mc_fail(error, MC_FORMAT,
                           "expected UTF-8 without NUL as the name of a tensor, found '%.*s'",
                           (int)(at < 100 ? at : 100), key->bytes);
        at += size;
    }
    return MC_OK;
}

enum { DEPTH_LIMIT = 16 }; /* of dicts that give dotted names */

static mc_status add_items(const walk *w, mc_value *dict, const char *prefix, int depth);

/* One item of a state dict. depth is how much further down dicts may be. */
static mc_status add_item(const walk *w, const mc_value *key, mc_value *value, const char *prefix,
                          int depth)
{
    const tensor_call call = find_call(value);
    if (key->kind != MC_VALUE_TEXT || (!call.function && (value->kind != MC_VALUE_DICT || !depth)))
        return MC_OK;
    *w->name_bytes += strlen(prefix) + key->size;
    if (*w->name_bytes > NAMES_LIMIT)
        return mc_fail(w->error, MC_FORMAT, "expected at most %d bytes in the names of all tensors",
                       NAMES_LIMIT);
    MC_TRY(check_name(key, w->error));
    char *const name = mc_format("%s%.*s%s", prefix, (int)key->size, key->bytes,
                                 call.function ? "" : ".");
    if (!name)
        return mc_fail_memory(w->error);
    const mc_status status = call.function
                                 ? mc_in_tensor(w->error, name, add_tensor(w, name, &call))
                                 : add_items(w, value, name, depth - 1);
    mc_free(name);
    return status;
}

static mc_status add_items(const walk *w, mc_value *dict, const char *prefix, int depth)
{
    /* A pickle can put a dict into itself, or a few into each other so that walks never end. */
    if (dict->visited)
        return MC_OK;
    dict->visited = true;
    for (size_t i = 0; i < dict->count; i += 2)
        MC_TRY(add_item(w, dict->items[i], dict->items[i + 1], prefix, depth));
    return MC_OK;
}

static mc_value *nested(const mc_value *dict)
{
    static const char *const keys[] = {"state_dict", "model_state_dict", "model", "module"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        mc_value *const value = mc_value_get(dict, keys[i]);
        if (value && value->kind == MC_VALUE_DICT)
            return value;
    }
    return NULL;
}

enum { NESTING_LIMIT = 4 };

mc_status mc_torch_add_tensors(mc_file *file, mc_value *root, mc_torch_place place, void *user,
                               mc_state_dict *dict, mc_error *error)
{
    size_t name_bytes = 0;
    const walk w = {file, place, user, dict, &name_bytes, error};
    if (root->kind != MC_VALUE_DICT)
        return mc_fail(error, MC_UNSUPPORTED, "expected a state dict (a dict of tensors), found %s",
                       find_call(root).function ? "a single tensor" : "something else");
    int depth = 0;
    for (mc_value *inner; depth < NESTING_LIMIT && (inner = nested(root)); depth++)
        root = inner;
    return add_items(&w, root, "", depth > 0 ? DEPTH_LIMIT : 0);
}

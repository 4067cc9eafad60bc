#include "checkpoint/torch.h"

#include "checkpoint/stored.h"
#include "checkpoint/torch_globals.h"

#include <string.h>

/*
 * A pickle can name one value any number of times. The work per use must therefore not depend on
 * the size of the value: otherwise a file of a few megabytes keeps its reader busy for hours.
 */
enum {
    KEY_LIMIT = 256,     /* bytes of the key of a storage */
    METADATA_LIMIT = 32, /* keys and values */
};

/* ---- storages ---- */

static mc_status storage_type(const mc_pickle_value *value, mc_torch_storage *out, mc_error *error)
{
    const int meaning = value->kind == MC_PICKLE_GLOBAL ? value->global->meaning : MC_TORCH_OTHER;
    out->readable = meaning >= MC_TORCH_STORAGE && meaning < MC_TORCH_STORAGE + MC_DTYPE_COUNT;
    if (!out->readable && (meaning < MC_TORCH_STORAGE_OTHER || meaning >= MC_TORCH_DTYPE))
        return mc_fail(error, MC_FORMAT, "expected a type of storage in the pickle, found %s",
                       value->kind == MC_PICKLE_GLOBAL ? value->global->name : "something else");
    out->type = value->global->name;
    out->dtype = out->readable ? (mc_dtype)(meaning - MC_TORCH_STORAGE) : MC_U8;
    /*
     * Values of dtypes that only torch supports are not read, but their storages must be located.
     */
    out->element_bytes = out->readable ? mc_dtype_bytes(out->dtype, 1)
                                       : meaning - MC_TORCH_STORAGE_OTHER;
    return MC_OK;
}

static bool is_count(const mc_pickle_value *value)
{
    return value->kind == MC_PICKLE_INT && value->integer >= 0;
}

/* (key, first, count): part of the storage, in old files. In elements. */
static mc_status storage_view(const mc_pickle_value *view, mc_torch_storage *out, mc_error *error)
{
    if (view->kind == MC_PICKLE_NONE)
        return MC_OK;
    if (view->kind != MC_PICKLE_TUPLE || view->count != 3 || !is_count(view->items[1]) ||
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

mc_status mc_torch_storage_parse(const mc_pickle_value *persistent, mc_torch_storage *out,
                                 mc_error *error)
{
    const mc_pickle_value *const id = persistent->items[0];
    if (id->kind != MC_PICKLE_TUPLE || id->count < 5 || id->count > 6 ||
        !mc_pickle_is_text(id->items[0], "storage"))
        return mc_fail(error, MC_FORMAT,
                       "expected ('storage', type, key, location, count) as a persistent id");
    *out = (mc_torch_storage){0};
    MC_TRY(storage_type(id->items[1], out, error));
    const mc_pickle_value *const key = id->items[2];
    int64_t bytes;
    /* The key becomes part of a member's name in a zip file. */
    if (key->kind != MC_PICKLE_TEXT || key->size > KEY_LIMIT || memchr(key->bytes, '\0', key->size))
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

/* Parameters around parameters. The limit ends walks of values that contain themselves. */
enum { WRAPPER_LIMIT = 8 };

static bool makes_tensor(const mc_global *function)
{
    return function->meaning > MC_TORCH_OTHER && function->meaning <= MC_TORCH_UNREADABLE_TENSOR;
}

bool mc_torch_find_call(const mc_pickle_value *value, mc_torch_call *out)
{
    for (int depth = 0; depth < WRAPPER_LIMIT && value->kind == MC_PICKLE_CALL; depth++) {
        const mc_global *function = value->items[0]->global;
        const mc_pickle_value *arguments = value->items[1];
        if (function->meaning == MC_TORCH_FROM_TYPE && arguments->count >= 3 &&
            arguments->items[0]->kind == MC_PICKLE_GLOBAL &&
            arguments->items[2]->kind == MC_PICKLE_TUPLE) {
            function = arguments->items[0]->global;
            arguments = arguments->items[2];
        }
        if (function->meaning == MC_TORCH_PARAMETER && arguments->count >= 1) {
            value = arguments->items[0];
            continue;
        }
        *out = (mc_torch_call){function, arguments};
        return makes_tensor(function);
    }
    return false;
}

/* A size or stride: a tuple of integers from 0 up, or a torch.Size of one. */
static mc_status parse_integers(const mc_pickle_value *value, const char *what, int64_t *out,
                                int *rank, mc_error *error)
{
    if (value->kind == MC_PICKLE_CALL && strcmp(value->items[0]->global->name, "torch.Size") == 0 &&
        value->items[1]->count == 1)
        value = value->items[1]->items[0];
    if (value->kind != MC_PICKLE_TUPLE && value->kind != MC_PICKLE_LIST)
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

static mc_status parse_form(const mc_pickle_value *arguments, tensor_form *form, mc_error *error)
{
    int stride_rank = 0;
    if (!is_count(arguments->items[1]))
        return mc_fail(error, MC_FORMAT, "expected an offset from 0 up");
    form->offset = arguments->items[1]->integer;
    MC_TRY(parse_integers(arguments->items[2], "size", form->shape, &form->rank, error));
    MC_TRY(parse_integers(arguments->items[3], "stride", form->strides, &stride_rank, error));
    if (form->rank != stride_rank)
        return mc_fail(error, MC_FORMAT, "expected %d strides, one per dimension, found %d",
                       form->rank, stride_rank);
    return MC_OK;
}

static mc_status parse_dtype(const mc_pickle_value *value, mc_dtype *dtype, mc_error *error)
{
    const int meaning = value->kind == MC_PICKLE_GLOBAL ? value->global->meaning : MC_TORCH_OTHER;
    if (meaning < MC_TORCH_DTYPE)
        return mc_fail(error, MC_UNSUPPORTED, "expected a dtype that can be read, found %s",
                       value->kind == MC_PICKLE_GLOBAL ? value->global->name : "none");
    *dtype = (mc_dtype)(meaning - MC_TORCH_DTYPE);
    if (mc_dtype_block(*dtype) != 1)
        return mc_fail(error, MC_UNSUPPORTED, "%s in torch files", value->global->name);
    return MC_OK;
}

/*
 * {'conj': True} and {'neg': True}: torch stores the values without the conjugation or negation
 * that the tensor shows. The dict is searched at each use, so its size is limited.
 */
static mc_status check_metadata(const mc_pickle_value *arguments, size_t at, mc_error *error)
{
    if (arguments->count <= at || arguments->items[at]->kind != MC_PICKLE_DICT)
        return MC_OK;
    if (arguments->items[at]->count > METADATA_LIMIT)
        return mc_fail(error, MC_FORMAT,
                       "expected at most %d keys and values of metadata, found %zu", METADATA_LIMIT,
                       arguments->items[at]->count);
    static const char *const lazy[] = {"conj", "neg"};
    for (size_t i = 0; i < 2; i++) {
        const mc_pickle_value *const flag = mc_pickle_get(arguments->items[at], lazy[i]);
        if (flag && flag->kind == MC_PICKLE_BOOL && flag->integer)
            return mc_fail(error, MC_UNSUPPORTED, "a tensor that is stored without its '%s'",
                           lazy[i]);
    }
    return MC_OK;
}

static mc_status check_call(const mc_torch_call *call, mc_torch_storage *storage, mc_dtype *dtype,
                            mc_error *error)
{
    const int meaning = call->function->meaning;
    const mc_pickle_value *const arguments = call->arguments;
    const size_t needed = meaning == MC_TORCH_REBUILD_TENSOR      ? 4
                          : meaning == MC_TORCH_REBUILD_TENSOR_V2 ? 6
                                                                  : 7;
    if (meaning == MC_TORCH_UNREADABLE_TENSOR)
        return mc_fail(error, MC_UNSUPPORTED, "expected a plain tensor, found one made by %s",
                       call->function->name);
    if (meaning > MC_TORCH_REBUILD_TENSOR_V3 || arguments->count < needed ||
        arguments->items[0]->kind != MC_PICKLE_PERSISTENT)
        return mc_fail(error, MC_FORMAT, "expected %zu arguments and a storage for %s, found %zu",
                       needed, call->function->name, arguments->count);
    MC_TRY(mc_torch_storage_parse(arguments->items[0], storage, error));
    *dtype = storage->dtype;
    /* Version 3 has an untyped storage, and the dtype as an argument. */
    if (meaning == MC_TORCH_REBUILD_TENSOR_V3)
        MC_TRY(parse_dtype(arguments->items[6], dtype, error));
    else if (!storage->readable)
        return mc_fail(error, MC_UNSUPPORTED, "expected a dtype that can be read, found a %s",
                       storage->type);
    return check_metadata(arguments, needed + (meaning == MC_TORCH_REBUILD_TENSOR), error);
}

mc_status mc_torch_tensor(const mc_torch_file *file, const mc_torch_call *call, mc_source **out,
                          mc_error *error)
{
    mc_torch_storage storage;
    tensor_form form;
    int64_t begin = 0, end = 0, first, offset;
    MC_TRY(check_call(call, &storage, &form.dtype, error));
    MC_TRY(parse_form(call->arguments, &form, error));
    MC_TRY(file->place(file->user, &storage, &begin, &end, error));
    /* Cannot overflow: the view lies inside the storage, whose size in bytes was checked. */
    begin += storage.view_first * storage.element_bytes;
    end = begin + storage.view_count * storage.element_bytes;
    if (__builtin_mul_overflow(form.offset, mc_dtype_bytes(form.dtype, 1), &first) ||
        __builtin_add_overflow(begin, first, &offset))
        return mc_fail(error, MC_FORMAT, "offset %lld is too large", (long long)form.offset);
    return mc_stored_new(file->file, begin, end, offset, form.dtype, form.rank, form.shape,
                         form.strides, out, error);
}

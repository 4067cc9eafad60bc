/*
 * The functions of the library that a plug-in (plugin.h) may call. A plug-in is compiled with
 * -DMC_PLUGIN and linked with nothing. It gets this table when it is loaded, and the functions'
 * names stand for its entries, so that the same text works in a program that links the library.
 * method.h includes this header if it is needed.
 *
 * Entries are only ever appended, so that a plug-in works with every later library of the same
 * MC_METHOD_API.
 */
#ifndef MERGECRAFT_HOST_H
#define MERGECRAFT_HOST_H

#include <mergecraft/merge.h>

MC_BEGIN_DECLS

/* result, name (without mc_), parameters */
#define MC_HOST_MAP(X)                                                                             \
    X(mc_status, fail, (mc_error * error, mc_status status, const char *format, ...))              \
    X(mc_status, dict_map,                                                                         \
      (const mc_method *method, const mc_merge_input *input, mc_state_dict **out,                  \
       mc_report *report, mc_error *error))                                                        \
    X(const mc_method *, method_find, (const char *name))                                          \
    X(mc_status, state_dict_new, (mc_state_dict * *out, mc_error * error))                         \
    X(void, state_dict_free, (mc_state_dict * dict))                                               \
    X(size_t, state_dict_count, (const mc_state_dict *dict))                                       \
    X(const char *, state_dict_name, (const mc_state_dict *dict, size_t index))                    \
    X(mc_source *, state_dict_source, (const mc_state_dict *dict, size_t index))                   \
    X(mc_source *, state_dict_find, (const mc_state_dict *dict, const char *name))                 \
    X(mc_status, state_dict_set,                                                                   \
      (mc_state_dict * dict, const char *name, mc_source *source, mc_error *error))                \
    X(mc_status, state_dict_remove,                                                                \
      (mc_state_dict * dict, const char *const *names, size_t count, mc_error *error))             \
    X(mc_status, state_dict_filter,                                                                \
      (mc_state_dict * dict, mc_state_dict_predicate keep, void *user, mc_error *error))           \
    X(mc_status, state_dict_copy,                                                                  \
      (const mc_state_dict *dict, mc_state_dict **out, mc_error *error))                           \
    X(mc_status, state_dict_subset,                                                                \
      (const mc_state_dict *dict, const char *const *names, size_t count, mc_state_dict **out,     \
       mc_error *error))                                                                           \
    X(mc_status, state_dict_zeros_like,                                                            \
      (const mc_state_dict *dict, mc_state_dict **out, mc_error *error))                           \
    X(mc_status, state_dict_combine,                                                               \
      (mc_operator op, const mc_state_dict *a, const mc_state_dict *b, size_t *left_out,           \
       mc_state_dict **out, mc_error *error))                                                      \
    X(mc_status, state_dict_combine_number,                                                        \
      (mc_operator op, const mc_state_dict *a, double number, bool number_first,                   \
       mc_state_dict **out, mc_error *error))                                                      \
    X(mc_source *, source_ref, (mc_source * source))                                               \
    X(void, source_unref, (mc_source * source))                                                    \
    X(mc_dtype, source_dtype, (const mc_source *source))                                           \
    X(int, source_rank, (const mc_source *source))                                                 \
    X(const int64_t *, source_shape, (const mc_source *source))                                    \
    X(int64_t, source_count, (const mc_source *source))                                            \
    X(mc_status, source_read_f32,                                                                  \
      (const mc_source *source, int64_t first, int64_t count, float *out, mc_error *error))        \
    X(mc_status, source_read_f64,                                                                  \
      (const mc_source *source, int64_t first, int64_t count, double *out, mc_error *error))       \
    X(mc_status, source_wrap,                                                                      \
      (mc_dtype dtype, int rank, const int64_t *shape, const void *data,                           \
       void (*release)(void *cookie), void *cookie, mc_source **out, mc_error *error))             \
    X(mc_status, source_combine,                                                                   \
      (mc_operator op, mc_source * a, mc_source * b, mc_source * *out, mc_error * error))          \
    X(mc_status, source_combine_number,                                                            \
      (mc_operator op, mc_source * a, double number, bool number_first, mc_source **out,           \
       mc_error *error))

typedef struct mc_host {
    uint32_t api; /* MC_METHOD_API of the library */
#define X(result_, name_, parameters_) result_(*name_) parameters_;
    MC_HOST_MAP(X)
#undef X
} mc_host;

/* A node of the list of a plug-in's methods. */
typedef struct mc_plugin_method_node {
    const mc_method *method;
    struct mc_plugin_method_node *next;
} mc_plugin_method_node;

/* What a plug-in returns to the library. */
typedef struct mc_plugin_methods {
    uint32_t api; /* MC_METHOD_API of the plug-in */
    const mc_plugin_method_node *first;
} mc_plugin_methods;

/* The only symbol that a plug-in exports. It returns NULL if it cannot work with this host. */
#define MC_PLUGIN_ENTRY mc_plugin_entry
typedef const mc_plugin_methods *(*mc_plugin_entry_function)(const mc_host *host);

#ifdef MC_PLUGIN

static const mc_host *mc_host_ MC_UNUSED;
static mc_plugin_methods mc_plugin_methods_ = {.api = MC_METHOD_API};

static MC_UNUSED void mc_plugin_register_(mc_plugin_method_node *node)
{
    const mc_plugin_method_node **at = &mc_plugin_methods_.first;
    while (*at)
        at = (const mc_plugin_method_node **)&(*at)->next;
    *at = node;
}

MC_API const mc_plugin_methods *mc_plugin_entry(const mc_host *host);
const mc_plugin_methods *mc_plugin_entry(const mc_host *host)
{
    mc_host_ = host;
    return host->api == MC_METHOD_API ? &mc_plugin_methods_ : NULL;
}

#define mc_fail mc_host_->fail
#define mc_dict_map mc_host_->dict_map
#define mc_method_find mc_host_->method_find
#define mc_state_dict_new mc_host_->state_dict_new
#define mc_state_dict_free mc_host_->state_dict_free
#define mc_state_dict_count mc_host_->state_dict_count
#define mc_state_dict_name mc_host_->state_dict_name
#define mc_state_dict_source mc_host_->state_dict_source
#define mc_state_dict_find mc_host_->state_dict_find
#define mc_state_dict_set mc_host_->state_dict_set
#define mc_state_dict_remove mc_host_->state_dict_remove
#define mc_state_dict_filter mc_host_->state_dict_filter
#define mc_state_dict_copy mc_host_->state_dict_copy
#define mc_state_dict_subset mc_host_->state_dict_subset
#define mc_state_dict_zeros_like mc_host_->state_dict_zeros_like
#define mc_state_dict_combine mc_host_->state_dict_combine
#define mc_state_dict_combine_number mc_host_->state_dict_combine_number
#define mc_source_ref mc_host_->source_ref
#define mc_source_unref mc_host_->source_unref
#define mc_source_dtype mc_host_->source_dtype
#define mc_source_rank mc_host_->source_rank
#define mc_source_shape mc_host_->source_shape
#define mc_source_count mc_host_->source_count
#define mc_source_read_f32 mc_host_->source_read_f32
#define mc_source_read_f64 mc_host_->source_read_f64
#define mc_source_wrap mc_host_->source_wrap
#define mc_source_combine mc_host_->source_combine
#define mc_source_combine_number mc_host_->source_combine_number

#endif

MC_END_DECLS

#endif

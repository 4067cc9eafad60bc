/* Models that are a tokenizer and one embedding, for tests of vocabularies. */
#ifndef MC_TESTS_MERGE_VOCABULARIES_H
#define MC_TESTS_MERGE_VOCABULARIES_H

#include "merge/fixtures.h"

#include "merge/tokenizer_files.h"

/* `vocab` and `added`: members of tokenizer.json; NULL: there is none. Values are from `first`. */
typedef struct vocabulary {
    const char *vocab, *added;
    int64_t rows;
    float first;
    const char *config; /* tokenizer_config.json, or NULL */
} vocabulary;

enum { MOST_MODELS = 4 };

typedef struct models {
    char *folder;
    mc_model *models[MOST_MODELS];
    mc_tokenizer_owner owners[MOST_MODELS];
    size_t count;
    mc_report *report;
} models;

static inline void write_vocabulary(const char *path, const vocabulary *v)
{
    char text[1024];
    snprintf(text, sizeof text, "{\"model_type\": \"llama\", \"vocab_size\": %d}", (int)v->rows);
    write_text(path, "config.json", text);
    snprintf(text, sizeof text,
             "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {%s}}, \"added_tokens\": [%s]}",
             v->vocab ? v->vocab : "", v->added ? v->added : "");
    if (v->vocab)
        write_text(path, "tokenizer.json", text);
    if (v->config)
        write_text(path, "tokenizer_config.json", v->config);
}

static inline models models_new(const vocabulary *all, size_t count)
{
    static const char *const names[] = {"m0", "m1", "m2", "m3"};
    models m = {.folder = temporary_folder(), .count = count};
    assert_true(count <= MOST_MODELS);
    for (size_t i = 0; i < count; i++) {
        float values[32];
        mc_state_dict *const dict = dict_new();
        for (int64_t k = 0; k < all[i].rows; k++)
            values[k] = all[i].first + (float)k;
        dict_add_bytes(dict, "model.embed_tokens.weight", MC_F32, SHAPE(all[i].rows, 1), values,
                       (size_t)all[i].rows * sizeof *values);
        save_model(m.folder, names[i], dict);
        char *const path = path_of(m.folder, names[i]);
        write_vocabulary(path, &all[i]);
        free(path);
        m.models[i] = open_model(m.folder, names[i]);
        m.owners[i] = (mc_tokenizer_owner){m.models[i], NULL, names[i]};
    }
    assert_done(mc_report_new(&m.report, &error));
    return m;
}

static inline void models_free(models *m)
{
    for (size_t i = 0; i < m->count; i++)
        mc_model_close(m->models[i]);
    mc_report_free(m->report);
    remove_temporary(m->folder);
}

#endif

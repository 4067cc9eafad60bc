/* Vocabularies as documents: read, written with other tokens, and read again. */
#include "fuzz.h"
#include "tokenizer/document_files.h"

#include "base/memory.h"

#include <string.h>

static void check_same(const mc_document *a, const mc_document *b)
{
    size_t count, other, added, other_added;
    const mc_document_token *const x = mc_document_tokens(a, &count);
    const mc_document_token *const y = mc_document_tokens(b, &other);
    mc_document_added_tokens(a, &added);
    mc_document_added_tokens(b, &other_added);
    fuzz_require(count == other && added == other_added, "as many tokens as before");
    for (size_t i = 0; i < count; i++)
        fuzz_require(x[i].id == y[i].id && strcmp(x[i].text, y[i].text) == 0, "the same tokens");
}

static void check_found(const mc_document *document)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    for (size_t i = 0; i < count; i++)
        fuzz_require(mc_document_find(document, tokens[i].text) == tokens[i].id,
                     "every token is found by its text");
}

/* The other files that list a vocabulary: the input as one of them. */
static void check_file(const uint8_t *data, size_t size, mc_document_files *files,
                       mc_document_file *file)
{
    mc_error error = MC_ERROR_NONE;
    mc_document *document = NULL;
    bool own = true;
    char *const text = mc_alloc(size + 1);
    if (!text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    *file = (mc_document_file){text, size};
    const uint64_t key = mc_document_files_key(files);
    fuzz_require(key == mc_document_files_key(files), "a key depends on the files only");
    const mc_status status = mc_document_of_files(files, &document, &own, &error);
    fuzz_check_status(status, &error);
    fuzz_require(!own, "not of a tokenizer.json");
    if (document)
        check_found(document);
    mc_document_free(document);
    mc_document_files_free(files);
}

static void check_files(const uint8_t *data, size_t size)
{
    mc_document_files lines = {0}, object = {0}, added = {0}, config = {0};
    check_file(data, size, &lines, &lines.vocab_txt);
    check_file(data, size, &object, &object.vocab_json);
    added.vocab_txt.text = mc_strdup("a");
    check_file(data, size, &added, &added.added);
    config.vocab_txt.text = mc_strdup("a");
    check_file(data, size, &config, &config.config);
    mc_document_files_free(&added);
    mc_document_files_free(&config);
}

/* With one more added token: the same tokens as those of its text. */
static void check_extended(const mc_document *document)
{
    size_t count, added_count, kept = 0, written;
    mc_document *more = NULL, *again = NULL;
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    const mc_document_added *const added = mc_document_added_tokens(document, &added_count);
    mc_document_added *const list = mc_alloc((added_count + 1) * sizeof *list);
    const int32_t last = count > 0 ? tokens[count - 1].id : -1;
    if (!list || last == INT32_MAX || mc_document_find(document, "<more>") >= 0) {
        mc_free(list);
        return;
    }
    for (size_t i = 0; i < added_count; i++)
        if (mc_document_find_added(document, added[i].text) == &added[i])
            list[kept++] = added[i];
    list[kept] = (mc_document_added){.text = "<more>", .id = last + 1, .special = true};
    const mc_status status = mc_document_extend(document, list, kept + 1, &more, NULL);
    fuzz_require(status == MC_OK || status == MC_NO_MEMORY || status == MC_USAGE, "extended");
    const char *const text = status == MC_OK ? mc_document_text(more, &written) : NULL;
    if (text && mc_document_parse(text, written, &again, NULL) == MC_OK)
        check_same(more, again);
    mc_document_free(again);
    mc_document_free(more);
    mc_free(list);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_document *document = NULL, *again = NULL;
    mc_error error = MC_ERROR_NONE;
    size_t count, written;
    mc_status status = mc_document_parse((const char *)data, size, &document, &error);
    fuzz_check_status(status, &error);
    check_files(data, size);
    if (status != MC_OK)
        return;
    check_found(document);
    check_extended(document);
    const char *text = mc_document_text(document, &written);
    fuzz_require(written == size && memcmp(text, data, size) == 0, "unchanged, byte for byte");
    fuzz_require(mc_document_model(document)[0] != '\0', "its model has a name");
    const mc_document_added *const added = mc_document_added_tokens(document, &count);
    status = mc_document_set_added(document, added, count, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK) {
        text = mc_document_text(document, &written);
        status = mc_document_parse(text, written, &again, &error);
        fuzz_require(status == MC_OK || status == MC_NO_MEMORY, "what was written can be read");
        if (status == MC_OK)
            check_same(document, again);
        mc_document_free(again);
    }
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    error = (mc_error)MC_ERROR_NONE;
    status = mc_document_set_vocabulary(document, tokens, count, &error);
    fuzz_check_status(status, &error);
    mc_document_free(document);
}

#include "tokenizer/read_vocab.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/build.h"
#include "tokenizer/special.h"

#include <string.h>

/* Each kind of vocabulary file belongs to one class; others would read it differently. */
static mc_status check_class(const mc_tokenizer_config *config, mc_tokenizer_class class,
                             const char *files, mc_error *error)
{
    if (!config->class_name || config->class == class)
        return MC_OK;
    return mc_fail(error, MC_UNSUPPORTED,
                   "expected %s to belong to a %s, found '%s' as tokenizer_class", files,
                   class == MC_TOKENIZER_BERT ? "BertTokenizer" : "RobertaTokenizer",
                   config->class_name);
}

/* The tokens at the start and end of a text. */
static mc_status find_ends(const mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                           int32_t *cls, int32_t *sep, mc_error *error)
{
    MC_TRY(mc_build_find(tokenizer, "cls_token", mc_special_text(config, "cls_token"), cls, error));
    return mc_build_find(tokenizer, "sep_token", mc_special_text(config, "sep_token"), sep, error);
}

mc_status mc_tokenizer_make_bert(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                                 const json_t *added_tokens, mc_error *error)
{
    mc_normalizer *const steps = &tokenizer->normalizer;
    const json_t *const values = config->values;
    int32_t cls, sep;
    steps->clean = true;
    MC_TRY(mc_build_flag(values, "do_lower_case", true, &steps->lower, error));
    MC_TRY(mc_build_flag(values, "strip_accents", steps->lower, &steps->strip, error));
    MC_TRY(mc_build_flag(values, "tokenize_chinese_chars", true, &steps->chinese, error));
    MC_TRY(mc_build_wordpiece(tokenizer, mc_special_text(config, "unk_token"), "##", 100, error));
    MC_TRY(mc_special_add(tokenizer, config, added_tokens, error));
    MC_TRY(find_ends(tokenizer, config, &cls, &sep, error));
    return mc_build_bert_template(tokenizer, cls, sep, error);
}

mc_status mc_tokenizer_make_roberta(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                                    const json_t *added_tokens, mc_error *error)
{
    mc_bpe *const bpe = &tokenizer->bpe;
    int32_t cls, sep;
    /* RobertaTokenizer always splits by GPT-2's pattern. */
    bpe->split = true;
    MC_TRY(mc_build_flag(config->values, "add_prefix_space", false, &bpe->prefix_space, error));
    MC_TRY(mc_special_add(tokenizer, config, added_tokens, error));
    MC_TRY(find_ends(tokenizer, config, &cls, &sep, error));
    return mc_build_roberta_template(tokenizer, cls, sep, error);
}

/* ---- vocab.txt ------------------------------------------------------------------------------- */

/* Loads a text in UTF-8, without NUL. The caller frees it, also after an error. */
static mc_status load_text(const char *path, char **text, size_t *size, mc_error *error)
{
    MC_TRY(mc_file_load(path, MC_TOKENIZER_FILE_BYTES, text, size, error));
    const size_t valid = mc_utf8_valid(*text, *size);
    const char *const nul = memchr(*text, '\0', *size);
    if (valid < *size || nul)
        return mc_fail_at(error, MC_FORMAT, path, NULL, nul ? nul - *text : (int64_t)valid,
                          "expected text in UTF-8, found %s", nul ? "a NUL" : "other bytes");
    return MC_OK;
}

mc_status mc_tokenizer_read_vocab_txt(mc_tokenizer *tokenizer, const char *path,
                                      const mc_tokenizer_config *config, mc_error *error)
{
    /* vocab.txt has no settings of its own: the class decides, also where no file names it. */
    mc_tokenizer_config bert = *config;
    size_t size = 0;
    MC_TRY(check_class(config, MC_TOKENIZER_BERT, "vocab.txt", error));
    bert.class = MC_TOKENIZER_BERT;
    MC_TRY(load_text(path, &tokenizer->texts, &size, error));
    MC_TRY(mc_build_lines(tokenizer, size, error));
    return mc_tokenizer_make_bert(tokenizer, &bert, NULL, error);
}

/* ---- vocab.json and merges.txt --------------------------------------------------------------- */

/* One merge "a b" per line; lines that start with "#version" are skipped. */
static mc_status read_lines(mc_tokenizer *tokenizer, const char *text, size_t size, mc_error *error)
{
    size_t lines = 1;
    int32_t rank = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    MC_TRY(mc_bpe_reserve(&tokenizer->bpe, lines, error));
    for (const char *line = text, *const end = text + size; line < end;) {
        const char *const next = memchr(line, '\n', (size_t)(end - line));
        const char *stop = next ? next : end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        /* Also behind the first line, as in the package `tokenizers`. */
        if (strncmp(line, "#version", 8) != 0)
            MC_TRY(mc_build_merge_text(tokenizer, line, (size_t)(stop - line), rank++, error));
        line = next ? next + 1 : end;
    }
    return MC_OK;
}

static mc_status read_merges(mc_tokenizer *tokenizer, const char *path, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    mc_status status = load_text(path, &text, &size, error);
    if (status == MC_OK)
        status = mc_in_file(error, path, read_lines(tokenizer, text, size, error));
    mc_free(text);
    return status;
}

static mc_status read_vocabulary(mc_tokenizer *tokenizer, const char *path, mc_error *error)
{
    json_t *vocab = NULL;
    MC_TRY(mc_json_load(path, MC_TOKENIZER_FILE_BYTES, &vocab, error));
    const mc_status status = mc_build_vocabulary(tokenizer, vocab, error);
    json_decref(vocab);
    return mc_in_file(error, path, status);
}

mc_status mc_tokenizer_read_vocab_json(mc_tokenizer *tokenizer, const char *path,
                                       const char *merges, const mc_tokenizer_config *config,
                                       mc_error *error)
{
    mc_tokenizer_config roberta = *config;
    MC_TRY(check_class(config, MC_TOKENIZER_ROBERTA, "vocab.json and merges.txt", error));
    roberta.class = MC_TOKENIZER_ROBERTA;
    MC_TRY(read_vocabulary(tokenizer, path, error));
    mc_build_bpe(tokenizer);
    MC_TRY(read_merges(tokenizer, merges, error));
    return mc_tokenizer_make_roberta(tokenizer, &roberta, NULL, error);
}

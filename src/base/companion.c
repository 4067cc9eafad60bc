#include "base/companion.h"

#include "base/text.h"

#include <stddef.h>
#include <string.h>

static bool is_in(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

bool mc_is_code(const char *name)
{
    return mc_ends_with(name, ".py");
}

bool mc_is_companion(const char *name)
{
    /* Sorted by what writes them. A name that is missing here is neither copied nor downloaded. */
    static const char *const names[] = {
        /* tokenizers */
        "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt",
        "special_tokens_map.json", "added_tokens.json", "vocab.bpe", "bpe.codes", "dict.txt",
        "source.spm", "target.spm", "target_vocab.json", "normalizer.json", "emoji.json",
        "entity_vocab.json", "word_shape.json", "word_pronunciation.json", "tekken.json",
        "vocab-src.json", "vocab-tgt.json", "alphabet.json",
        /* what turns other things than text into inputs */
        "preprocessor_config.json", "processor_config.json", "image_processor_config.json",
        "video_preprocessor_config.json", "feature_extractor_config.json",
        "audio_tokenizer_config.json", "qformer_tokenizer_config.json",
        /* how the model is used */
        "generation_config.json", "chat_template.jinja", "chat_template.json",
        /* sentence-transformers */
        "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json",
        "sentence_roberta_config.json", "sentence_distilbert_config.json",
        "sentence_xlnet_config.json", "sentence_xlm-roberta_config.json",
        "sentence_camembert_config.json", "sentence_albert_config.json",
        /* terms of use */
        "LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE", "NOTICE.txt", "USE_POLICY.md"};
    return is_in(name, names, sizeof names / sizeof *names) || mc_is_code(name) ||
           mc_ends_with(name, ".model") ||    /* SentencePiece */
           mc_ends_with(name, ".tiktoken") || /* Qwen, Phi */
           mc_ends_with(name, ".jinja");
}

# Transplants: rows of common tokens are copied, others approximated; files; errors.

# vocabulary FOLDER BOS TOKENS: a tokenizer of words.
vocabulary()
{
    mkdir -p "$1"
    printf '{"model": {"type": "WordLevel", "vocab": {%s}}}\n' "$3" > "$1/tokenizer.json"
    printf '{"bos_token": "%s"}\n' "$2" > "$1/tokenizer_config.json"
}

vocabulary m '<s>' '"a": 0, "b": 1, "c": 2, "<s>": 3'
echo '{"model_type": "llama", "vocab_size": 4, "bos_token_id": 3}' > m/config.json
helper model m/model.safetensors model.embed_tokens.weight:4x2:1 model.norm.weight:1x2:7
vocabulary d '<bos>' '"c": 0, "a": 1, "new": 2, "b": 3, "<bos>": 4'
echo '{"model_type": "llama", "vocab_size": 5, "bos_token_id": 4}' > d/config.json
helper model d/model.safetensors model.embed_tokens.weight:5x3:1 model.norm.weight:1x3:7

# The rows of c and a are exchanged, <s> is <bos>; the row of "new" lies between its neighbours.
for method in omp common mean zero; do
    expect 0 mergecraft transplant m d -o $method -m $method -k 2
    expect 0 helper values $method/model.safetensors model.embed_tokens.weight
done
expect 0 helper values omp/model.safetensors model.norm.weight
expect 0 cat omp/config.json
cmp d/tokenizer.json omp/tokenizer.json || fail "the tokenizer is not the donor's"
expect 0 mergecraft verify omp
expect 0 mergecraft transplant m d -o one -k 2 --threads 1 -q
cmp omp/model.safetensors one/model.safetensors || fail "threads matter"
expect 0 mergecraft transplant m d -k 2 --dry-run

# Words of BERT, by the model's own tokenizer: "playing" is the mean of "play" and "##ing".
mkdir bert donor
printf '[UNK]\nplay\n##ing\n[CLS]\n[SEP]\n' > bert/vocab.txt
echo '{"model_type": "bert", "vocab_size": 5}' > bert/config.json
helper model bert/model.safetensors bert.embeddings.word_embeddings.weight:5x2:0
printf '[UNK]\nplaying\n[CLS]\n[SEP]\n' > donor/vocab.txt
echo '{"model_type": "bert", "vocab_size": 4}' > donor/config.json
helper model donor/model.safetensors bert.embeddings.word_embeddings.weight:4x2:0
expect 0 mergecraft transplant bert donor -o subword -m subword
expect 0 helper values subword/model.safetensors bert.embeddings.word_embeddings.weight

# If the model's tokenizer finds no token in a text, the row is zeros, and that is reported. This
# does not apply to a byte 0, as byte fallback writes it.
mkdir bytes sentence
printf '{"model": {"type": "BPE", "vocab": {"\\u0100": 0, "a": 1}, "merges": []},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}' \
    > bytes/tokenizer.json
echo '{"model_type": "llama", "vocab_size": 2}' > bytes/config.json
helper model bytes/model.safetensors model.embed_tokens.weight:2x2:5
printf '{"model": {"type": "BPE", "vocab": {"<0x00>": 0, "a": 1, "\342\226\201a": 2, "aa": 3,
    "b": 4}, "merges": []}}' > sentence/tokenizer.json
echo '{"model_type": "llama", "vocab_size": 5}' > sentence/config.json
helper model sentence/model.safetensors model.embed_tokens.weight:5x2:0
expect 0 mergecraft transplant bytes sentence -o byte-rows -m subword
expect 0 helper values byte-rows/model.safetensors model.embed_tokens.weight
expect 1 mergecraft transplant bytes sentence -o fail -m subword --strict

expect 1 mergecraft transplant m d -o fail
expect 1 mergecraft transplant m d -o fail -k 2 -m subword
expect 2 mergecraft transplant m d -o fail -m magic
expect 2 mergecraft transplant m -o fail
expect 2 mergecraft transplant m d
vocabulary alien '' '"x": 0, "y": 1'
cp d/config.json d/model.safetensors alien
expect 1 mergecraft transplant m alien -o fail -k 1
# Tokens without a row in the donor.
vocabulary short '<bos>' '"a": 0, "b": 1, "c": 2, "new": 3, "more": 4'
echo '{"model_type": "llama"}' > short/config.json
helper model short/model.safetensors model.embed_tokens.weight:4x3:1 model.norm.weight:1x3:7
expect 0 mergecraft transplant m short -o short-rows -k 2
expect 0 helper values short-rows/model.safetensors model.embed_tokens.weight
expect 1 mergecraft transplant m short -o fail -k 2 --strict
mkdir bare
cp d/config.json d/model.safetensors bare
expect 1 mergecraft transplant m bare -o fail -k 2

# merge --from repeats a transplant: the same files, other than the model card with its title.
for method in omp common; do
    expect 0 mergecraft merge --from $method/mergecraft.json -o again-$method -q
    for file in model.safetensors config.json tokenizer.json tokenizer_config.json; do
        cmp $method/$file again-$method/$file || fail "$file of the repeated $method differs"
    done
    grep -q "\"method\": \"$method\"" again-$method/mergecraft.json || fail "another method"
done
expect 0 mergecraft merge --from omp/mergecraft.json --dry-run
expect 2 mergecraft merge --from omp/mergecraft.json -o fail --tokenizer union
sed 's/"donor"/"other"/' omp/mergecraft.json > odd.json
expect 1 mergecraft merge --from odd.json -o fail

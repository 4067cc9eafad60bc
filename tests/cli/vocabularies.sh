# Models with different vocabularies: unions, tokens, padding, chat templates, what is rejected.

# tokenizer FOLDER TOKENS [ADDED]: a tokenizer of words, and added tokens after them.
tokenizer()
{
    mkdir -p "$1"
    printf '{"model": {"type": "WordLevel", "vocab": {%s}}, "added_tokens": [%s]}' "$2" "$3" \
        > "$1/tokenizer.json"
    printf '{"model_type": "llama", "vocab_size": %s, "eos_token_id": 0}\n' "$4" > "$1/config.json"
}
rows()
{
    expect 0 helper values "$1/model.safetensors" model.embed_tokens.weight
}

tokenizer base '"a": 0, "b": 1' '' 2
helper model base/model.safetensors model.embed_tokens.weight:2x1:0 model.norm.weight:1x1:1
tokenizer moved '"b": 0, "a": 1, "c": 2' '' 3
helper model moved/model.safetensors model.embed_tokens.weight:3x1:10 model.norm.weight:1x1:3
tokenizer chat '"a": 0, "b": 1' '{"id": 2, "content": "<|im_start|>", "special": true},
    {"id": 3, "content": "<|im_end|>", "special": true}' 8
helper model chat/model.safetensors model.embed_tokens.weight:8x1:100 model.norm.weight:1x1:5
echo '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}' \
    > chat/tokenizer_config.json

expect 1 mergecraft merge soup base moved -o fail
expect 1 mergecraft merge soup base chat -o fail

# a b c <|im_start|> <|im_end|>: rows of the only model that has the token stand in for the others.
expect 0 mergecraft merge soup moved chat base --tokenizer union -o union
rows union
expect 0 grep -o '"vocab_size": [0-9]*' union/config.json
expect 0 sh -c 'grep -o "\"content\": \"[^\"]*\"" union/tokenizer.json'
expect 0 mergecraft merge soup moved chat --base base --tokenizer base -o of-base
rows of-base
cmp base/tokenizer.json of-base/tokenizer.json || fail "an unchanged tokenizer.json differs"
expect 0 mergecraft merge soup base moved chat --tokenizer chat -o of-chat
rows of-chat
cmp chat/tokenizer.json of-chat/tokenizer.json || fail "an unchanged tokenizer.json differs"
cmp chat/tokenizer_config.json of-chat/tokenizer_config.json || fail "the configuration differs"

# Rows of single tokens, and padding.
expect 0 mergecraft merge soup base moved --tokenizer union --pad-vocab 8 \
    --token '<x>=zero' --token '<y>=moved:c' --token '<z>=moved:#1' --token 'c=zero,force' -o tokens
rows tokens
expect 1 mergecraft merge soup base moved --tokenizer union --token '<x>' -o fail
expect 1 mergecraft merge soup base moved --tokenizer union --token 'c=base' -o fail
expect 1 mergecraft merge soup base moved --tokenizer union --token '<x>=base:c' -o fail
expect 1 mergecraft merge soup base moved --tokenizer union --token '<x>=base:#2' -o fail
expect 2 mergecraft merge soup base moved --tokenizer union --token '<x>=other' -o fail
expect 2 mergecraft merge soup base moved --tokenizer other -o fail
expect 2 mergecraft merge soup base moved --tokenizer base -o fail
expect 2 mergecraft merge soup base moved --token '<x>=zero' -o fail

# Chat templates.
expect 0 mergecraft merge soup base chat --tokenizer union --chat-template chatml -o templated
expect 0 head -n 1 templated/chat_template.jinja
expect 1 mergecraft merge soup base moved --tokenizer union --chat-template chatml -o fail
expect 2 mergecraft merge soup base chat --tokenizer union --chat-template magic -o fail

# auto: of equally frequent templates the first, and that is reported. Named templates: "default"
# counts, in both forms; others are lost when the result gets one.
templated()
{
    mkdir "$1"
    cp base/*.* "$1"
    printf '{"chat_template": %s}\n' "$2" > "$1/tokenizer_config.json"
}
one='"{%- for message in messages %}one{%- endfor %}"'
two='"{%- for message in messages %}two{%- endfor %}"'
templated one "$one"
templated two "$two"
tools="{\"name\": \"tool_use\", \"template\": $one}"
templated list "[$tools, {\"name\": \"default\", \"template\": $two}]"
templated object "{\"default\": $two, \"rag\": $one, \"tool_use\": $one}"
expect 0 mergecraft merge soup one two base --chat-template auto -o tie
expect 0 cat tie/chat_template.jinja
expect 1 mergecraft merge soup one two base --chat-template auto --strict -o fail
expect 0 mergecraft merge soup one two object --chat-template auto -o most
expect 0 cat most/chat_template.jinja most/tokenizer_config.json
three='{%- for message in messages %}{%- endfor %}'
expect 0 mergecraft merge soup one list --chat-template "$three" -o listed
expect 0 cat listed/tokenizer_config.json
expect 1 mergecraft merge soup two list --chat-template auto --strict -o fail

# Added tokens that a tokenizer lists twice count once; of their attributes the first count.
tokenizer doubled '"a": 0, "b": 1' '{"id": 2, "content": "<d>", "special": true},
    {"id": 2, "content": "<d>"}' 3
cp moved/model.safetensors doubled
expect 0 mergecraft merge soup moved doubled --tokenizer union -o doubled-union
rows doubled-union
expect 0 sh -c 'grep -c "\"content\": \"<d>\"" doubled-union/tokenizer.json'

# Tokens without a row, ids that contradict each other, one id for two tokens.
tokenizer beyond '"a": 0, "b": 1, "c": 2, "d": 3' '' 3
helper model beyond/model.safetensors model.embed_tokens.weight:3x1:20 model.norm.weight:1x1:3
expect 0 mergecraft merge soup beyond base --tokenizer union -o beyond-union
rows beyond-union
expect 1 mergecraft merge soup beyond base --tokenizer union --strict -o fail
expect 1 mergecraft merge soup base beyond --tokenizer union -o fail
tokenizer twice '"a": 0, "b": 1' '{"id": 2, "content": "a"}' 3
cp moved/model.safetensors twice
expect 1 mergecraft merge soup base twice --tokenizer union -o fail
tokenizer gap '"a": 0, "b": 1' '{"id": 3, "content": "<g>"}' 4
cp moved/model.safetensors gap
expect 1 mergecraft merge soup base gap --tokenizer union -o fail

# BERT's words, lower case, with an added token: the union is scored.
for i in 1 2; do
    cp -r "$SOURCE/examples/models/rte-$i" bert$i
done
expect 0 mergecraft merge soup bert1 bert2 --tokenizer union --token '<extra>=zero' -o scored
mergecraft merge soup bert1 bert2 -o plain -q
data=$SOURCE/examples/models/data
mergecraft eval scored rte --data "$data" --predictions scored.tsv -q > scored.txt ||
    fail "the union is not scored"
mergecraft eval plain rte --data "$data" --predictions plain.tsv -q > plain.txt
cmp plain.tsv scored.tsv || fail "a token that no text has changes predictions"

# Stacks copy embeddings and head of different models: their rows must mean the same tokens, also
# those of the tokenizer.
for name in base moved; do
    mkdir s-$name
    cp $name/*.json s-$name
done
printf '{"model_type": "llama", "vocab_size": 4}' > s-base/config.json
cp -r s-base s-padded
stacked()
{
    helper model "s-$1/model.safetensors" "model.embed_tokens.weight:$2x1:$3" \
        model.layers.0.w:1x1:1 "lm_head.weight:$2x1:$4"
}
stacked base 4 0 9
stacked moved 3 10 5
stacked padded 8 0 7
stack()
{
    printf 'merge_method: passthrough\nslices:\n' > stack.yml
    for name in "$@"; do
        printf -- '- sources: [{model: %s, layer_range: [0, 1]}]\n' "$name" >> stack.yml
    done
}
stack s-base s-moved
expect 1 mergecraft merge stack.yml -o fail
stack s-base s-padded
expect 1 mergecraft merge stack.yml -o fail
stack s-moved
echo 'base_model: s-base' >> stack.yml
expect 1 mergecraft merge stack.yml -o fail
stack s-base s-moved
echo 'tokenizer_source: union' >> stack.yml
expect 0 mergecraft merge stack.yml -o stacked -q
expect 0 helper values stacked/model.safetensors lm_head.weight
stack s-base s-moved s-base
expect 0 mergecraft merge stack.yml -o stacked-2 -q

# Tokens of a recipe: models as maps; keys that have no effect.
cat > tokens.yml <<'YAML'
merge_method: linear
models: [{model: base}, {model: {model: {path: moved}}}]
parameters: {weight: 1}
tokenizer:
  source: union
  tokens:
    "a": {source: {model: {path: moved}}, force: true}
    "b": {source: {kind: model_token, model: {model: {path: moved}}, token: "c"}, force: true}
    "c": {sorce: base}
YAML
expect 0 mergecraft merge tokens.yml -o tokens-of-recipe -q
rows tokens-of-recipe
expect 0 mergecraft check tokens.yml

# The tokenizer of a model that is not merged: tokens that no merged model has get zeros.
cat > outside.yml <<'YAML'
merge_method: linear
models: [{model: base}, {model: moved}]
parameters: {weight: 1}
tokenizer_source: chat
YAML
expect 0 mergecraft merge outside.yml -o outside -q
rows outside
cmp chat/tokenizer.json outside/tokenizer.json || fail "the tokenizer is another"
expect 0 mergecraft check outside.yml --json
expect 1 mergecraft check outside.yml --strict
# Tokens with a source of their own are not reported.
sed '/tokenizer_source/d' outside.yml > given.yml
cat >> given.yml <<'YAML'
tokenizer:
  source: chat
  tokens:
    "<|im_start|>": {source: {kind: model_token, model: base, token: "b"}}
    "<|im_end|>": {source: {kind: zero}}
YAML
expect 0 mergecraft check given.yml --json
sed -i 's/: chat/: model:chat/' outside.yml
expect 1 mergecraft check outside.yml
sed -i 's/: model:chat/: nothing/' outside.yml
expect 1 mergecraft check outside.yml

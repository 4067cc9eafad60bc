# The commands of mergekit: their options, several documents, files of weights, links.
for i in 1 2 3; do model m$i $i; done
echo '{"vocab_size": 1}' > m1/tokenizer_config.json

cat > linear.yml <<'END'
merge_method: linear
models: [{model: m1, parameters: {weight: 1}}, {model: m2, parameters: {weight: 3}}]
dtype: float32
END
expect 0 mergecraft merge linear.yml -o merged -q
expect 0 mergecraft mergekit-yaml linear.yml yaml --cuda --no-lazy-unpickle --allow-crimes \
    --lora-merge-cache c --copy-tokenizer --out-shard-size 5B -j 2 --device auto --clone-tensors \
    --low-cpu-memory --read-to-gpu --multi-gpu --gpu-rich --async-write --write-threads 4 \
    --trust-remote-code --transformers-cache d --lora-merge-dtype float32 --random-seed 7 \
    --no-quiet
expect 0 ls yaml
cmp merged/model.safetensors yaml/model.safetensors || fail 'mergekit-yaml gives other bits'
mergecraft mergekit-yaml linear.yml yaml -v > log 2>&1 || fail '-v is not known'
# It writes over a model that is there, but not over other things.
expect 0 mergecraft mergekit-yaml linear.yml yaml --no-write-model-card --no-copy-tokenizer \
    --out-shard-size 24 --json
expect 0 ls yaml
# 0 means no limit.
expect 0 mergecraft mergekit-yaml linear.yml whole --out-shard-size 0 --no-write-model-card -q
expect 0 ls whole
mkdir other && touch other/file
expect 1 mergecraft mergekit-yaml linear.yml other
expect 2 mergecraft mergekit-yaml linear.yml
expect 2 mergecraft mergekit-yaml linear.yml yaml --no-safe-serialization
expect 2 mergecraft mergekit-yaml linear.yml yaml --unsafe-truncate-embeddings
expect 2 mergecraft mergekit-yaml linear.yml yaml --no-random-seed
expect 2 mergecraft mergekit-yaml linear.yml yaml --out-shard-size 5X

# Documents that come in another order than they are read.
cat > stages.yml <<'END'
merge_method: linear
models: [{model: half}, {model: m3}]
parameters: {weight: 1}
dtype: float32
---
name: half
merge_method: linear
models: [{model: quarter}, {model: m2}]
parameters: {weight: 1}
dtype: bfloat16
---
name: quarter
merge_method: linear
models: [{model: m1}, {model: m2}]
parameters: {weight: [0.3]}
dtype: bfloat16
END
expect 0 mergecraft mergekit-multi stages.yml -I between --out-path multi
expect 0 ls between
# What is there is read as it is, unless --no-lazy is given.
expect 0 mergecraft mergekit-multi stages.yml -I between --out-path multi --lazy
expect 0 mergecraft mergekit-multi stages.yml -I between --out-path multi --no-lazy
# The same bits without files in between, and with them.
expect 0 mergecraft merge stages.yml -o lazy -q
cmp multi/model.safetensors lazy/model.safetensors || fail 'stages in files give other bits'
expect 0 mergecraft merge stages.yml -o kept --keep-stages stages
cmp multi/model.safetensors kept/model.safetensors || fail 'kept stages give other bits'
cmp between/half/model.safetensors stages/half/model.safetensors || fail 'stages differ'
expect 1 mergecraft merge stages.yml -o again --keep-stages stages
expect 2 mergecraft mergekit-multi stages.yml -I between
expect 2 mergecraft mergekit-multi stages.yml --out-path multi
expect 2 mergecraft mergekit-yaml stages.yml yaml

# Files of weights: gradients have their first value, and tensors may be missing.
helper model a.safetensors layers.0.w:1x2:1 layers.1.w:1x2:3 only.w:1x1:5
helper model b.safetensors layers.0.w:1x2:11 layers.1.w:1x2:13
helper model c.safetensors layers.0.w:1x2:21 layers.1.w:1x2:23 base.w:1x1:7
cat > raw.yml <<'END'
merge_method: linear
models:
  - {model: a.safetensors, parameters: {weight: [1, 5]}}
  - {model: b.safetensors, parameters: {weight: 1}}
END
expect 1 mergecraft mergekit-pytorch raw.yml raw
expect 0 mergecraft mergekit-pytorch raw.yml raw --tensor-union
expect 0 helper values raw/model.safetensors layers.1.w
expect 0 helper values raw/model.safetensors only.w
expect 0 mergecraft mergekit-pytorch raw.yml raw -i
expect 0 mergecraft inspect raw/model.safetensors
expect 0 ls raw
cat > task.yml <<'END'
merge_method: task_arithmetic
base_model: c.safetensors
models: [{model: b.safetensors, parameters: {weight: 0.5}}]
END
expect 0 mergecraft mergekit-pytorch task.yml task
expect 0 mergecraft inspect task/model.safetensors

# A link with the name of a command is the command. An emulator does not see the name.
if [ "$(head -c 2 "$(command -v mergecraft)")" != '#!' ]; then
    ln -s "$(command -v mergecraft)" mergekit-yaml
    ./mergekit-yaml linear.yml linked -q || fail 'a link'
    cmp merged/model.safetensors linked/model.safetensors || fail 'a link gives other bits'
    ./mergekit-yaml linear.yml 2> said && fail 'a link without a folder'
    grep -q 'see mergecraft mergekit-yaml --help' said || fail "a link: $(cat said)"
fi

# --overwrite replaces a folder that holds a model and nothing else, and refuses all others before
# any work.
model a 1
model b 2
merge() { mergecraft merge soup a b -q -o "$@" --overwrite; }

# What mergecraft or save_pretrained writes.
expect 0 merge out
expect 0 merge out
mkdir saved
cp a/config.json saved/
touch saved/model-00001-of-00002.safetensors saved/model-00002-of-00002.safetensors \
    saved/model.safetensors.index.json saved/generation_config.json saved/tokenizer.model
expect 0 merge saved
[ ! -e saved/tokenizer.model ] || fail 'the old folder was not replaced'
mkdir empty
expect 0 merge empty

# Something else in it, also in a sub-folder, and code that mergecraft did not write.
for extra in thesis.txt train.py checkpoint-1/model.safetensors .git/config optimizer.pt; do
    rm -rf out
    merge out
    mkdir -p "out/$(dirname $extra)"
    echo precious > out/$extra
    expect 1 merge out
    [ "$(cat out/$extra)" = precious ] || fail "$extra is gone"
done
mkdir other
echo precious > other/LICENSE
expect 1 merge other
touch file
expect 1 merge file

# The sub-folders and the code of a result are its own; what is added to them is not.
mkdir b/1_Pooling
echo '[{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}]' > b/modules.json
echo '{}' > b/1_Pooling/config.json
expect 0 merge sentences
expect 0 merge sentences
echo precious > sentences/1_Pooling/notes
expect 1 merge sentences

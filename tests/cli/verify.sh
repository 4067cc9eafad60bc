# Results have checksums: verify finds every change, and --from makes the same bytes again.
for i in 0 1 2; do
    mkdir m$i
    helper model m$i/model.safetensors encoder.weight:100x100:$i classifier.weight:3x7:$i
    echo '{"model_type": "bert"}' > m$i/config.json
    echo "words $i" > m$i/vocab.txt
done
expect 0 mergecraft merge -q dare m1 m2 --base m0 -p p=.3 -p weights=.3,.7 --dtype bf16 \
    --seed 18446744073709551615 --passthrough 'classifier.*' --shard-size 10KB -o out
expect 0 mergecraft verify out
expect 0 mergecraft verify out --json
expect 0 mergecraft merge -q --from out/mergecraft.json -o again
for file in $(ls out); do
    [ "$file" = README.md ] || [ "$file" = mergecraft.json ] || cmp "out/$file" "again/$file" ||
        fail "$file is another one"
done
expect 0 mergecraft merge --from out/mergecraft.json --dry-run --json > plan
tail -n +2 plan | helper json parameters

# Every change of a file.
cp -r out changed-file
printf X | dd of=changed-file/vocab.txt bs=1 seek=2 conv=notrunc 2> /dev/null
echo >> changed-file/config.json
rm changed-file/README.md
touch changed-file/notes.txt
expect 1 mergecraft verify changed-file
expect 1 mergecraft verify changed-file --json

# An input that is another one than it was, and arguments that are recorded.
helper model m2/model.safetensors encoder.weight:100x100:7 classifier.weight:3x7:7
expect 1 mergecraft merge -q --from out/mergecraft.json -o third
rm -r m1
expect 1 mergecraft merge -q --from out/mergecraft.json -o fourth
expect 2 mergecraft merge --from out/mergecraft.json m0 -o fifth
expect 2 mergecraft merge --from out/mergecraft.json -p p=.5 -o fifth
expect 1 mergecraft merge --from nothing.json -o fifth
echo '[]' > broken.json
expect 1 mergecraft merge --from broken.json -o fifth
expect 1 mergecraft verify m0
expect 2 mergecraft verify
echo '{"files": [{"name": "../secret", "bytes": 1, "xxh64": "0"}]}' > m0/mergecraft.json
expect 1 mergecraft verify m0

# A method from a file: the file has to be there, since a record may come from anybody.
cat > own.c <<'C'
#include <mergecraft/method.h>
MC_LAYER_MERGE(own, .help = "the first model")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}
C
expect 0 mergecraft merge -q ./own.c m2 -o mine
expect 0 mergecraft merge -q --from mine/mergecraft.json -o mine-again
mv own.c elsewhere.c
expect 1 mergecraft merge -q --from mine/mergecraft.json -o mine-third

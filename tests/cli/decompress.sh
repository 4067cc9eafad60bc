# The models of single tasks, from a merge with emr: values, heads, names, errors, an interruption.

# task FOLDER VALUE LABEL: a model of a 3x3 weight, element i being VALUE + i, and a head.
task()
{
    mkdir -p "$1"
    helper model "$1/model.safetensors" "bert.encoder.weight:3x3:$2" \
        "classifier.weight:1x2:$(($2 * 10))"
    printf '{"model_type": "bert", "id2label": {"0": "%s"}}\n' "$3" > "$1/config.json"
}

task base 0 none
task a 1 yes
task b -1 no
task c 3 other

expect 0 mergecraft merge emr a b c --base base --exclude 'classifier.*' -o unified
expect 0 helper values unified/model.safetensors bert.encoder.weight
expect 0 mergecraft verify unified
# a and c agree with the sum of the task vectors, b does not: it is the base, with its own head.
for name in a b c; do
    expect 0 mergecraft decompress unified $name -o task-$name
    expect 0 helper values task-$name/model.safetensors bert.encoder.weight
    expect 0 helper values task-$name/model.safetensors classifier.weight
    cmp -s $name/config.json task-$name/config.json ||
        grep -A1 id2label task-$name/config.json
done
expect 0 mergecraft verify task-b
expect 0 mergecraft decompress unified 3 -o third -q --threads 1
expect 0 cmp third/model.safetensors task-c/model.safetensors
expect 0 mergecraft decompress unified 3 --dry-run
mergecraft decompress unified 3 --dry-run --json | helper json decompress.task
mergecraft decompress unified 3 --dry-run --json | helper json method

# The model of one task has no masks; nor has a unified model that an add-on has changed.
expect 0 mergecraft merge emr a b c --base base -p task=2 --exclude 'classifier.*' -q -o two
expect 1 mergecraft decompress two 1 -o out
expect 0 mergecraft merge emr a b c --base base --exclude 'classifier.*' --then lines -o then
expect 1 mergecraft decompress then 1 -o out
expect 1 mergecraft merge emr a b c --base base --exclude 'classifier.*' --then lines --strict \
    -o out

expect 2 mergecraft decompress unified -o out
expect 2 mergecraft decompress unified 1
expect 2 mergecraft decompress unified 4 -o out
expect 2 mergecraft decompress unified d -o out
expect 1 mergecraft decompress unified 1 -o out --base a
expect 1 mergecraft merge --from task-a/mergecraft.json -o out
mv base moved
expect 1 mergecraft decompress unified 1 -o out
expect 0 mergecraft decompress unified 1 -o out --base moved -q
expect 0 cmp out/model.safetensors task-a/model.safetensors

# A tensor that the merged model has beside the task's: left out, and reported.
mkdir more
cp unified/config.json unified/task_masks.safetensors more
helper model more/model.safetensors bert.encoder.weight:3x3:3 classifier.weight:1x2:1 extra:1x1:1
expect 0 mergecraft decompress more 1 -o left --base moved
expect 1 mergecraft decompress more 1 -o strict --base moved --strict
helper model more/model.safetensors bert.encoder.weight:2x3:3
expect 1 mergecraft decompress more 1 -o out --overwrite --base moved
helper model more/model.safetensors classifier.weight:1x2:1
expect 1 mergecraft decompress more 1 -o out --overwrite --base moved
printf 'broken' > more/task_masks.safetensors
expect 1 mergecraft decompress more 1 -o out --overwrite --base moved
helper model more/task_masks.safetensors bert.encoder.weight:2x3:3
expect 1 mergecraft decompress more 1 -o out --overwrite --base moved

# Files of masks that contradict themselves: a tensor that is both, and a digest without its mask.
for name in base a; do
    mkdir own-$name
    helper model own-$name/model.safetensors bert.encoder.weight:3x3:1 head.encoder.weight:1x2:10
    cp $name/config.json own-$name 2> /dev/null || cp moved/config.json own-$name
done
expect 0 mergecraft merge emr own-a --base own-base --exclude 'head.*' -q -o both
expect 0 mergecraft decompress both 1 -o out --overwrite -q
LC_ALL=C sed -i 's|"own/1/head.encoder|"own/1/bert.encoder|' both/task_masks.safetensors
expect 1 mergecraft decompress both 1 -o out --overwrite
LC_ALL=C sed -i 's|"own/1/bert.encoder|"own/1/head.encoder|; s|"masks/bert|"masks/tree|' \
    both/task_masks.safetensors
expect 1 mergecraft decompress both 1 -o out --overwrite

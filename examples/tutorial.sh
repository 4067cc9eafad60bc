#!/bin/sh
# tutorial.sh [MERGECRAFT [OUT_DIR]]: the command, step by step, on the demo models. MERGECRAFT is
# the command (default: the one in PATH). The merged models are written into the folder OUT_DIR;
# those of an earlier run are replaced.
set -eu

mergecraft=${1:-mergecraft}
out=${2:-tutorial-output}

# The examples are written as you would type them in this folder.
case $mergecraft in
*/*) mergecraft=$(cd -- "$(dirname -- "$mergecraft")" && pwd)/${mergecraft##*/} ;;
esac
mkdir -p -- "$out"
out=$(cd -- "$out" && pwd)
for folder in median my-median ties hessians soup; do
    rm -rf -- "${out:?}/$folder"
done
cd -- "$(dirname -- "$0")"

step()
{
    printf '\n# %s\n' "$*"
}

# Prints a command and runs it.
run()
{
    printf '$ mergecraft'
    printf ' %s' "$@"
    printf '\n'
    "$mergecraft" "$@"
}

# first LINES ARGUMENTS...: the same, but prints only the first lines of the output.
first()
{
    lines=$1
    shift
    run "$@" > "$out/shown"
    head -n "$lines" "$out/shown"
    rm "$out/shown"
}

step 'The methods, and the parameters of one of them.'
run methods
run methods ties

step 'The contents of a model (first lines).'
first 14 inspect models/rte-2

step 'The plan of a merge; nothing is written.'
first 5 merge median models/rte-1 models/rte-2 models/rte-3 --dry-run -o "$out/median"

step 'The median of five models, each stored in a different format.'
run merge median models/rte-1 models/rte-2 models/rte-3 models/rte-4 models/rte-5 -o "$out/median"

step 'The same by a method of our own: one C file, compiled when it is used.'
run merge ./median.c models/rte-1 models/rte-2 models/rte-3 models/rte-4 models/rte-5 \
    -o "$out/my-median"
cmp "$out/median/model.safetensors" "$out/my-median/model.safetensors"
echo 'The two results are the same, byte by byte.'

step 'A method that needs the base model, with a parameter; the classifier is averaged.'
run merge ties models/rte-1 models/rte-2 models/rte-3 --base models/base -p k=.2 \
    --passthrough 'classifier.*' -o "$out/ties"

step 'A method with side inputs, the Hessians (here the base stands in for both).'
run merge ./hessians.c models/rte-1 models/rte-2 --side hessians=models/base,models/base \
    -o "$out/hessians"

step 'Half the size: float tensors are written as bf16.'
run merge soup models/rte-1 models/rte-2 --dtype bf16 -o "$out/soup"

step 'The result is a model like any other, with a record of how it was made.'
first 10 inspect "$out/ties"
grep '"method"' "$out/ties/mergecraft.json"

step 'The accuracy of a model and of a merge, and the labels that the merge predicts.'
run eval models/rte-1 rte --data models/data
run eval "$out/median" rte --data models/data
run classify "$out/median" 'Every surgeon slept.' 'A medic slept.'

step 'A merge in memory, scored; nothing is written.'
run merge ./median.c models/rte-1 models/rte-2 models/rte-3 --eval rte --data models/data

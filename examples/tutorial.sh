#!/bin/sh
# tutorial.sh [MERGECRAFT [OUT_DIR]]: the command, step by step, on the demo models.
# MERGECRAFT is the command (by default the one in PATH); the merged models are written into the new folder OUT_DIR.
set -eu

mergecraft=${1:-mergecraft}
out=${2:-tutorial-output}

# The examples are written as they would be typed in this folder.
case $mergecraft in */*) mergecraft=$(cd -- "$(dirname -- "$mergecraft")" && pwd)/${mergecraft##*/} ;; esac
mkdir -- "$out"
out=$(cd -- "$out" && pwd)
cd -- "$(dirname -- "$0")"

step()
{
    printf '\n# %s\n' "$*"
}

# Shows a call of the command, and makes it. (A shell would expand models/rte-[1-5] in the same way.)
run()
{
    printf '$ mergecraft'
    printf ' %s' "$@"
    printf '\n'
    "$mergecraft" "$@"
}

# The same, for what would fill the screen: only the first LINES lines are shown.
first()
{
    lines=$1
    shift
    run "$@" > "$out/shown"
    head -n "$lines" "$out/shown"
    rm "$out/shown"
}

step 'Which methods are there, and what does one of them take?'
run methods
run methods ties

step 'What is in a model? (The first lines.)'
first 14 inspect models/rte-2

step 'The plan of a merge: nothing is written.'
first 5 merge median models/rte-1 models/rte-2 models/rte-3 --dry-run -o "$out/median"

step 'The median of five models, each stored in another form.'
run merge median models/rte-1 models/rte-2 models/rte-3 models/rte-4 models/rte-5 -o "$out/median"

step 'The same by a method of our own: one C file, compiled on the spot.'
run merge ./median.c models/rte-1 models/rte-2 models/rte-3 models/rte-4 models/rte-5 \
    -o "$out/my-median"
cmp "$out/median/model.safetensors" "$out/my-median/model.safetensors"
echo 'The two results are the same, byte by byte.'

step 'A method that compares with the base model, with a parameter; the classifier is averaged.'
run merge ties models/rte-1 models/rte-2 models/rte-3 --base models/base -p k=.2 \
    --passthrough 'classifier.*' -o "$out/ties"

step 'A method that needs a further list of models: the Hessians. (The base stands in for both of them.)'
run merge ./hessians.c models/rte-1 models/rte-2 --list hessians=models/base,models/base \
    -o "$out/hessians"

step 'Half the size: every float tensor is written as bf16.'
run merge soup models/rte-1 models/rte-2 --dtype bf16 -o "$out/soup"

step 'What was made is a model like any other, with a record of how it was made.'
first 10 inspect "$out/ties"
grep '"method"' "$out/ties/mergecraft.json"

step 'What is it worth? The accuracy of a parent and of a merge, and what the merge says of two sentences.'
run eval models/rte-1 rte --data models/data
run eval "$out/median" rte --data models/data
run classify "$out/median" 'Every surgeon slept.' 'A medic slept.'

step 'From an idea to its score in one step: merged in memory, nothing is written.'
run merge ./median.c models/rte-1 models/rte-2 models/rte-3 --eval rte --data models/data

#!/usr/bin/env bash
# rte.sh MERGECRAFT MODELS DATA: what merging does for five fine-tunes on RTE, and what computing in
# less than float32 does, as a Markdown table. MODELS holds NAME-base and NAME-rte-1 … NAME-rte-5;
# DATA is RTE as mergecraft eval takes it.
set -euo pipefail
command=$1
data=$3
base=$(echo "$2"/*-base)
models=("$2"/*-rte-[1-5])

# number NAME: the first number of that name in the JSON on standard input.
number()
{
    tr ',{' '\n\n' | sed -n "0,/^\"$1\":/s/^\"$1\":\([0-9.e+-]*\).*/\1/p"
}

# row NAME OPTION MERGECRAFT-ARGUMENTS...: OPTION chooses the dtype.
row()
{
    local name=$1 option=$2 dtype json
    shift 2
    printf '| %s |' "$name"
    for dtype in f32 bf16 int8; do
        json=$("$command" "$@" "$option" "$dtype" --data "$data" --json -q)
        printf ' %.4f |' "$(number accuracy <<< "$json")"
    done
    echo
}

# merge NAME ARGUMENTS...
merge()
{
    local name=$1
    shift
    row "$name" --eval-dtype merge "$@" --eval rte
}

echo '| model | f32 | bf16 | int8 |'
echo '|---|---|---|---|'
for model in "${models[@]}"; do
    row "$(basename "$model")" --dtype eval "$model" rte
done
base_options=(--base "$base" --passthrough 'classifier.*')
merge median median "${models[@]}"
merge soup soup "${models[@]}"
merge 'task, scale 1.5' task "${models[@]}" "${base_options[@]}" -p scale=1.5
merge 'ties, k .2' ties "${models[@]}" "${base_options[@]}" -p k=.2
merge 'dare, p .4' dare "${models[@]}" "${base_options[@]}" -p p=.4
merge 'max_magnitude' max_magnitude "${models[@]}" "${base_options[@]}"
merge 'stock' stock "${models[@]}" "${base_options[@]}"
merge 'trimmed_mean' trimmed_mean "${models[@]}"

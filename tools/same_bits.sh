#!/bin/sh
# same_bits.sh COMMAND OTHER: merges the demo models with both commands by every built-in method and
# fails if weights differ.
set -eu
models=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)/examples/models
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

count=0
for method in $("$1" methods --names); do
    # Some results depend on the machine's LAPACK, beyond what is promised across machines.
    ! "$1" methods "$method" --json | grep -q '"same_bits_everywhere": *false' || continue
    set -- "$1" "$2" "$models"/rte-[1-5]
    command=$1
    other=$2
    shift 2
    # Some methods take two models, some a base, some side inputs, for which models serve.
    merged=
    for arguments in "$* --base $models/base" "$*" \
        "$models/rte-1 $models/rte-2 --base $models/base" "$models/rte-1 $models/rte-2" \
        "$models/rte-1 $models/rte-2 --side fishers=$models/rte-3,$models/rte-4"; do
        # shellcheck disable=SC2086
        if "$command" merge -q --no-sync "$method" $arguments -o "$folder/$method-1" \
            2> "$folder/said"; then
            "$other" merge -q --no-sync "$method" $arguments -o "$folder/$method-2"
            merged=yes
            break
        fi
    done
    if [ -z "$merged" ] ||
        ! cmp "$folder/$method-1/model.safetensors" "$folder/$method-2/model.safetensors"; then
        cat "$folder/said" >&2
        exit 1
    fi
    count=$((count + 1))
    set -- "$command" "$other"
done
[ "$count" -ge 5 ] || { echo "same_bits.sh: only $count methods" >&2; exit 1; }
echo "the same bits with $count methods"

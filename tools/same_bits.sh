#!/bin/sh
# same_bits.sh COMMAND OTHER [all]: merges the demo models with both commands by every built-in
# method and fails if weights differ. Methods whose results depend on the machine's LAPACK are left
# out, unless both commands run on one machine: "all".
set -eu
command=$1
other=$2
which=${3-promised}
models=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)/examples/models
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Arguments to try. Some methods take two models, some a base, some side inputs, for which models
# serve; some have parameters that must be given.
one=$models/rte-1
two="$one $models/rte-2"
all="$two $models/rte-3 $models/rte-4 $models/rte-5"
base="--base $models/base"
arguments="$all $base
$all
$two $base
$two
$one $base
$all $base -p weight=.3
$all -p weight=.2
$all -p weights=.2
$all $base -p weights=.2
$two -p weight=.2
$two $base -p t=.4
$one $base -p t=.4
$two -p t=.4
$two --side fishers=$models/rte-3,$models/rte-4
$two --task rte --data $models/data --examples 8
$two $base --task rte --data $models/data --examples 8 -p steps=2"

# Statistics of encoders depend on the machine's libraries, too: the other command finds those that
# the first has computed.
XDG_CACHE_HOME=$folder/cache
export XDG_CACHE_HOME

# merge_by METHOD: merges with COMMAND and the first line of arguments that fits, and prints this
# line. Lines that do not fit are errors (1) or wrong usage (2); any other status is a crash.
merge_by()
{
    echo "$arguments" | while read -r line; do
        status=0
        # shellcheck disable=SC2086
        "$command" merge -q --no-sync "$1" $line -o "$folder/$1-1" 2>> "$folder/said" || status=$?
        case $status in
        0) echo "$line"; break ;;
        1 | 2) ;;
        *) echo "same_bits.sh: $1 $line: exit status $status" >> "$folder/said"; break ;;
        esac
    done
}

count=0
for method in $("$command" methods --names); do
    if [ "$which" != all ] &&
        "$command" methods "$method" --json | grep -q '"same_bits_everywhere": *false'; then
        continue
    fi
    : > "$folder/said"
    fitting=$(merge_by "$method")
    [ -n "$fitting" ] || { cat "$folder/said" >&2; exit 1; }
    # shellcheck disable=SC2086
    "$other" merge -q --no-sync "$method" $fitting -o "$folder/$method-2"
    cmp "$folder/$method-1/model.safetensors" "$folder/$method-2/model.safetensors"
    count=$((count + 1))
done
[ "$count" -ge 30 ] || { echo "same_bits.sh: only $count methods" >&2; exit 1; }
echo "the same bits with $count methods"

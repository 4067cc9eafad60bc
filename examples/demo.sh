#!/bin/sh
# demo.sh [BUILD_DIR [OUT_DIR]]: merges the five bundled fine-tunes by median and scores them and
# the merge. BUILD_DIR is the build folder of the project; OUT_DIR is created or replaced.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
build=${1:-$root/build/release}
out=${2:-demo-output}

# Both are relative to the current folder; the models are printed relative to the project.
case $build in /*) ;; *) build=$PWD/$build ;; esac
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$root"

echo 'Five fine-tunes of a tiny BERT on the same task, each stored in a different format, merged by'
echo
echo "    mergecraft merge median examples/models/rte-[1-5] -o ${2:-demo-output}"
echo
result=$("$build/mergecraft" merge median examples/models/rte-[1-5] -o "$out" --overwrite --json)

# number NAME: prints the number of that name in the result.
number()
{
    # The first of that name: "accuracy" is among the metrics and among their standard errors.
    printf '%s\n' "$result" | tr ',{' '\n\n' |
        sed -n "0,/^\"$1\":/s/^\"$1\":\([0-9.e+-]*\).*/\1/p"
}

echo 'Differences between the merge and each of them:'
echo
"$build/examples/compare" "$out" examples/models/rte-[1-5]
echo
merge_seconds=$(number seconds)
printf 'The merge: %s tensors, %s bytes, %s seconds, in\n%s\n' \
    "$(number tensors)" "$(number bytes_written)" "$merge_seconds" "$out"

echo
echo 'Accuracy on the task, whether one sentence follows from another:'
echo
echo "    mergecraft eval MODEL rte --data examples/models/data"
echo
printf '%-24s %9s %10s %10s\n' MODEL ACCURACY 'MERGED IN' 'SCORED IN'
for model in examples/models/rte-[1-5] "$out"; do
    result=$("$build/mergecraft" eval "$model" rte --data examples/models/data --json)
    [ "$model" = "$out" ] && name='their median' merged="$merge_seconds s" || name=$model merged=
    printf '%-24s %7s %% %10s %8s s\n' "$name" \
        "$(number accuracy | awk '{ printf "%.1f", 100 * $1 }')" "$merged" "$(number seconds)"
done

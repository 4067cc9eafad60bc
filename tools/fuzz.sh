#!/bin/sh
# Runs every fuzz target on the inputs that are kept and on what it makes of them; new inputs are not kept.
#   tools/fuzz.sh FOLDER SECONDS    FOLDER: where the fuzz_* programs are
set -eu
folder=$1
seconds=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
for program in "$folder"/fuzz_*; do
    [ -x "$program" ] || continue
    target=${program##*/fuzz_}
    mkdir "$work/$target"
    dictionary=fuzz/$target.dict
    [ -f "$dictionary" ] || dictionary=
    "$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -verbosity=0 -print_final_stats=0 \
        -artifact_prefix="$work/" ${dictionary:+-dict="$dictionary"} "$work/$target" "fuzz/corpus/$target" || {
        echo "fuzz_$target: the input that fails, in base64:"
        for found in "$work"/crash-* "$work"/timeout-* "$work"/oom-* "$work"/leak-*; do
            [ ! -f "$found" ] || base64 "$found"
        done
        exit 1
    }
    echo "$target: $seconds seconds"
    count=$((count + 1))
done
[ "$count" -gt 0 ] || {
    echo "$folder: expected fuzz_* programs, found none" >&2
    exit 1
}

#!/bin/sh
# Fuzzes every target of fuzz/targets.list, or those that are named. New inputs are not kept.
#   tools/fuzz.sh FOLDER LIMIT [TARGET...]
# FOLDER has the fuzz_* programs; LIMIT per target is 20s (seconds) or 1000000 (executions). Seed 0
# in FUZZ_SEED is chance; another with a number of executions repeats the same inputs.
set -eu
folder=$1
limit=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $limit in
*s) limit=-max_total_time=${limit%s} ;;
*) limit=-runs=$limit ;;
esac

# run_target NAME LONGEST: writes its output to $work/NAME.log
run_target()
(
    mkdir -p "$work/$1/new"
    dictionary=fuzz/$1.dict
    [ -f "$dictionary" ] || dictionary=
    # A long -timeout: its clock also runs while a program is stopped.
    "$folder/fuzz_$1" "$limit" -seed="${FUZZ_SEED:-0}" -max_len="$2" \
        ${dictionary:+-dict="$dictionary"} -rss_limit_mb=2048 -timeout=600 \
        -artifact_prefix="$work/$1/" "$work/$1/new" "fuzz/corpus/$1" > "$work/$1.log" 2>&1 ||
        : > "$work/$1.failed"
)

# report NAME
report()
{
    if [ ! -f "$work/$1.failed" ]; then
        sed -n "s/^Done \([0-9]*\) runs in \([0-9]*\) second.*/$1: \1 executions in \2 s/p" \
            "$work/$1.log"
        return
    fi
    tail -n 60 "$work/$1.log"
    echo "$1: the failing input in base64:"
    for found in "$work/$1"/*-*; do
        [ ! -f "$found" ] || base64 "$found"
    done
    failed=1
}

targets=$(sed -n 's/^\([a-z][a-z0-9_]*\)  *\([0-9]*\) .*/\1:\2/p' fuzz/targets.list)
if [ $# -gt 0 ]; then
    all=$targets
    targets=
    for name; do
        targets="$targets $(printf '%s\n' $all | grep "^$name:")"
    done
fi
failed=0
at_once=$((2 * $(nproc)))
# shellcheck disable=SC2086
set -- $targets
while [ $# -gt 0 ]; do
    group=
    while [ $# -gt 0 ] && [ "$(echo "$group" | wc -w)" -lt "$at_once" ]; do
        run_target "${1%:*}" "${1#*:}" &
        group="$group ${1%:*}"
        shift
    done
    wait
    for name in $group; do
        report "$name"
    done
done
exit $failed

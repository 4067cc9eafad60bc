#!/bin/sh
# Fuzzes every target of fuzz/targets.list, or those that are named. New inputs are not kept.
#   tools/fuzz.sh FOLDER LIMIT [TARGET...]
# FOLDER has the fuzz_* programs; LIMIT per target is 20s (seconds) or 1000000 (executions). Seed 0
# in FUZZ_SEED is chance; another with a number of executions repeats the same inputs.
set -eu
folder=$(realpath "$1")
limit=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $limit in
*s) limit=-max_total_time=${limit%s} ;;
*) limit=-runs=$limit ;;
esac

# Some containers forbid it.
fixed=
! setarch -R true 2> /dev/null || fixed='setarch -R'

# run_target NAME LONGEST: writes its output to $work/NAME.log
#
# libFuzzer also mutates by values that it sees compared, addresses among them. They are the same in
# each run if nothing is randomised and neither paths nor the environment shift the stack; and the
# inputs are in an order that does not depend on the file system.
run_target()
(
    mkdir -p "$work/$1/new"
    ln -s "$folder/fuzz_$1" "$work/$1/fuzz"
    ln -s "$PWD/fuzz/corpus/$1" "$work/$1/corpus"
    [ ! -f "fuzz/$1.dict" ] || ln -s "$PWD/fuzz/$1.dict" "$work/$1/dict"
    cd "$work/$1"
    find corpus/ -type f | LC_ALL=C sort | paste -sd, > inputs
    [ ! -f dict ] || dictionary=dict
    # A long -timeout: its clock also runs while a program is stopped.
    env -i PATH=/usr/bin:/bin ${ASAN_OPTIONS:+ASAN_OPTIONS="$ASAN_OPTIONS"} \
        $fixed ./fuzz "$limit" -seed="${FUZZ_SEED:-0}" -max_len="$2" \
        ${dictionary:+-dict=dict} -rss_limit_mb=2048 -timeout=600 -reload=0 \
        -purge_allocator_interval=-1 -seed_inputs=@inputs new > ../"$1.log" 2>&1 ||
        : > "../$1.failed"
)

# report NAME
report()
{
    if [ ! -f "$work/$1.failed" ]; then
        sed -n -e "s/^#[0-9]*.*DONE *cov: \([0-9]*\) .*/$1: \1 edges,/p" \
            -e "s/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 executions in \2 s/p" \
            "$work/$1.log" | paste -sd' '
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

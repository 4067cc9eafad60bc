#!/bin/sh
# Checks that the libraries define only names that begin with mc_: the shared one exports no others,
# and the static one has no others that could clash with names of a program.
#   tools/check_symbols.sh libmergecraft.so libmergecraft.a
set -eu

names=$(nm -D --defined-only "$1" | awk 'NF == 3 { print $3 }')
echo "$names" | grep -qx mc_plan_run || {
    echo "$1: expected mc_plan_run, found $(echo "$names" | wc -w) other exported symbols" >&2
    exit 1
}
others=$(echo "$names" | grep -v '^mc_' || true)
[ -z "$others" ] || {
    echo "$1: exports" $others >&2
    exit 1
}
others=$(nm -g --defined-only "$2" |
    awk 'NF == 3 && $3 !~ /^(mc_|__odr_asan\.|__gcov|__llvm)/ { print $3 }')
[ -z "$others" ] || {
    echo "$2: defines" $others >&2
    exit 1
}

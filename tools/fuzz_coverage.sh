#!/bin/sh
# Prints which share of each parser the committed inputs of its fuzz target reach, with memory
# failing at every allocation in turn; with a third argument also the lines that they do not reach.
# Fails below PERCENT.
#   tools/fuzz_coverage.sh FOLDER PERCENT [lines]    FOLDER: of the programs of preset fuzz-coverage
set -eu
folder=$1
least=$2
lines=${3-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tool NAME: prints the path of an llvm tool, whose name may have a version
tool()
{
    command -v "$1" || ls "$(dirname "$(readlink -f "$(command -v clang)")")/$1"
}
profdata=$(tool llvm-profdata)
cov=$(tool llvm-cov)

sed -n 's/^\([a-z][a-z0-9_]*\)  *[0-9]*  */\1 /p' fuzz/targets.list > "$work/targets"
printf '%-12s %-34s %6s %8s %8s\n' target source lines reached percent
while read -r target sources; do
    LLVM_PROFILE_FILE=$work/raw "$folder/fuzz_$target" "fuzz/corpus/$target" > "$work/log" 2>&1 || {
        cat "$work/log"
        exit 1
    }
    "$profdata" merge -o "$work/profile" "$work/raw"
    for entry in $sources; do
        # SOURCE, or SOURCE:PERCENT
        source=${entry%:*}
        wanted=$least
        [ "$source" = "$entry" ] || wanted=${entry##*:}
        "$cov" show "$folder/fuzz_$target" -instr-profile="$work/profile" "$source" > "$work/shown"
        # Each line is NUMBER|COUNT|TEXT; a line without a count is not code.
        awk -F'|' -v target="$target" -v source="$source" -v least="$wanted" -v lines="$lines" '
            $2 ~ /[0-9]/ {
                all++
                if ($2 + 0 == 0)
                    missed[++missing] = $1 "|" substr($0, length($1 $2) + 3)
            }
            END {
                percent = all ? 100 * (all - missing) / all : 0
                printf "%-12s %-34s %6d %8d %8.1f\n", target, source, all, all - missing, percent
                for (i = 1; lines != "" && i <= missing; i++)
                    print "    " missed[i]
                exit percent < least
            }' "$work/shown" || : > "$work/below"
    done
done < "$work/targets"
[ ! -f "$work/below" ] || {
    echo "expected at least $least % of the lines of each source, or what the list says" >&2
    exit 1
}

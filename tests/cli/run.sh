#!/bin/sh
# run.sh CASE COMMAND HELPER SOURCE: runs the script CASE.sh in a folder of its own. Passes if it
# exits with 0 and what it writes is what CASE.stdout and CASE.stderr say (nothing, without such a
# file). There `*` stands for any text, and a line `...` for any lines. With UPDATE=1 in the
# environment the files are written instead, unless the script fails. A case that exits with 77 is
# skipped.
case=$1
# The script runs in another folder.
command=$(readlink -e "$2") && helper=$(readlink -e "$3") && SOURCE=$(readlink -e "$4") || {
    echo "run.sh: expected CASE COMMAND HELPER SOURCE, found '$*'" >&2
    exit 1
}
cases=$SOURCE/tests/cli
folder=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT

mkdir "$folder/bin" "$folder/work" "$folder/home"
ln -s "$command" "$folder/bin/mergecraft"
ln -s "$helper" "$folder/bin/helper"
PATH=$folder/bin:$PATH
HOME=$folder/home
XDG_CACHE_HOME=$folder/home/cache
TERM=xterm
# Nobody else's Hub.
HF_HUB_OFFLINE=1
export PATH HOME XDG_CACHE_HOME TERM SOURCE HF_HUB_OFFLINE
unset HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_TOKEN NO_COLOR LC_ALL LANG LANGUAGE CC COLUMNS

cd "$folder/work" || exit 1
sh -c ". '$cases/prelude.sh'; . '$cases/$case.sh'" > ../stdout 2> ../stderr < /dev/null
status=$?

# matches EXPECTED FOUND
matches()
{
    awk '
    function pattern(text) {
        gsub(/[][\\.^$+?(){}|]/, "\\\\&", text)
        gsub(/\*/, ".*", text)
        return "^" text "$"
    }
    # Whether the expected lines from i on match the found ones from j on.
    function match_from(i, j) {
        for (; i <= expected; i++) {
            if (want[i] == "...") {
                for (; j <= found + 1; j++)
                    if (match_from(i + 1, j))
                        return 1
                return 0
            }
            if (j > found || have[j] !~ pattern(want[i]))
                return 0
            j++
        }
        return j > found
    }
    FILENAME == ARGV[1] { want[++expected] = $0; next }
    { have[++found] = $0 }
    END { exit !match_from(1, 1) }' "$1" "$2"
}

failed=0
if [ "$status" -eq 77 ]; then
    cat ../stderr
    exit 77
fi
if [ "$status" -ne 0 ]; then
    echo "$case.sh: exit status $status"
    failed=1
    [ -z "$UPDATE" ] || { cat ../stderr; exit 1; }
fi
for stream in stdout stderr; do
    expected=$cases/$case.$stream
    if [ -n "$UPDATE" ]; then
        rm -f "$expected"
        # What is another one each time.
        [ -s "../$stream" ] && sed -e "s|$folder|*|g" -e 's| in [0-9.]* s ([^)]*/s)| in * s (*)|' \
            -e 's| in [0-9.]* s\([:,]\)| in * s\1|' -e 's| in [0-9.]* s$| in * s|' \
            -e 's|"seconds":[0-9.e-]*|"seconds":*|g' \
            -e 's|"loss":[0-9.e-]*|"loss":*|g' "../$stream" > "$expected"
        continue
    fi
    [ -f "$expected" ] || expected=/dev/null
    if ! matches "$expected" "../$stream"; then
        echo "$case.$stream differs (- expected, + found):"
        diff -u "$expected" "../$stream" | tail -n +3
        failed=1
    fi
done
exit $failed

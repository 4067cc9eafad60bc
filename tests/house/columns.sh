#!/bin/sh
# columns.sh ROOT: no line of a tracked text file has more than 100 columns. Tables of Markdown,
# generated files and data are excepted.
set -eu
cd "$1"
git rev-parse --git-dir > /dev/null 2>&1 || {
    echo 'skipped: not a git repository'
    exit 77
}
if ! printf 'é' | LC_ALL=C.UTF-8 grep -qx '.'; then
    echo 'skipped: grep does not count characters in UTF-8 here'
    exit 77
fi

generated='^cli/completions/|^docs/methods\.md$|^src/tokenizer/unicode_tables\.h$'
generated="$generated|^tests/data/.*(\.txt|\.json)$|^fuzz/corpus/"

found=$(git ls-files '*.c' '*.h' '*.py' '*.md' '*.sh' '*.cmake' '*.in' '*.1' '*CMakeLists.txt' \
    Makefile .ci/run | grep -Ev "$generated" |
    LC_ALL=C.UTF-8 xargs grep -nE '^.{101}' | grep -Ev '^[^:]*\.md:[0-9]*:\|' || true)
[ -z "$found" ] || {
    printf '%s\n' "$found" | cut -c 1-120
    echo 'these lines have more than 100 columns'
    exit 1
}

#!/bin/sh
# Checks every #include against docs/architecture.md: the table between the lines "```include-order"
# and "```" lists per folder the others that it may include. Public headers belong to a folder, too.
#   tools/check_includes.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"

find src include cli python -name '*.[ch]' | LC_ALL=C sort | xargs awk '
    function complain(text) {
        printf "%s:%d: %s\n", FILENAME, FNR, text
        bad = 1
    }
    # The folder that an included file belongs to.
    function owner(path) {
        if (path in header_owner)
            return header_owner[path]
        sub(/\/.*/, "", path)
        return path
    }
    function check(path,    to) {
        to = owner(path)
        seen++
        if (from == "cli" && path ~ /\// && path !~ /^mergecraft\//)
            complain("cli may include only include/mergecraft, found \"" path "\"")
        else if (from != "cli" && path ~ /^mergecraft\// && !(path in header_owner))
            complain("the table of include order does not name \"" path "\"")
        else if (from != "cli" && from != "umbrella" && to != from && !((from, to) in allowed))
            complain(from " may not include " to ", found \"" path "\"")
    }
    BEGIN {
        architecture = "docs/architecture.md"
        while ((getline line < architecture) > 0) {
            if (line == "```include-order")
                inside = 1
            else if (line == "```")
                inside = 0
            else if (inside) {
                count = split(line, words, " ")
                folders[words[1]] = 1
                for (i = 2; i <= count; i++)
                    if (words[i] ~ /\.h$/)
                        header_owner["mergecraft/" words[i]] = words[1]
                    else
                        allowed[words[1], words[i]] = 1
                rows++
            }
        }
        if (!rows) {
            print architecture ": expected a table between ```include-order and ```, found none"
            exit bad = 1
        }
    }
    FNR == 1 {
        from = FILENAME
        if (sub(/^include\//, "", from))
            from = from in header_owner ? header_owner[from] : "unknown " from
        else if (!sub(/^src\//, "", from))
            from = "cli"
        sub(/\/.*/, "", from)
        if (from != "cli" && !(from in folders))
            complain("the table of include order does not name this file or its folder")
    }
    match($0, /^ *# *include +["<][^">]+/) {
        path = substr($0, RSTART, RLENGTH)
        quoted = path ~ /"/
        sub(/.*["<]/, "", path)
        if (quoted || path ~ /^mergecraft\//)
            check(path)
    }
    END {
        if (!bad && seen < 100) {
            printf "expected hundreds of includes, found %d\n", seen
            bad = 1
        }
        exit bad
    }'

#!/bin/sh
# links.sh ROOT: the links of the documents to files of the project are valid.
set -eu
cd "$1"
missing=0
for document in *.md docs/*.md; do
    links=$(grep -o '](\([^)]*\))' "$document" | sed 's/^](//; s/[#)].*//' |
        grep -v '^https*:' | sort -u)
    for link in $links; do
        [ -e "$(dirname "$document")/$link" ] || {
            echo "$document: links to $link, which does not exist"
            missing=1
        }
    done
done
exit $missing

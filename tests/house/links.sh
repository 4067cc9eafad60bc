#!/bin/sh
# links.sh ROOT: what the documents link to inside the project is there.
set -eu
cd "$1"
missing=0
for document in *.md docs/*.md; do
    for link in $(grep -o '](\([^)]*\))' "$document" | sed 's/^](//; s/[#)].*//' | grep -v '^https*:' | sort -u); do
        [ -e "$(dirname "$document")/$link" ] || {
            echo "$document: links to $link, which is not there"
            missing=1
        }
    done
done
exit $missing

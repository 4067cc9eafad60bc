#!/bin/sh
# links.sh ROOT: the links of the documents to files of the project, and to headings in them, are
# valid.
set -eu
cd "$1"

# anchors DOCUMENT: the anchors that GitHub gives its headings, one per line. A heading loses its
# marks and its punctuation, spaces become hyphens, and the n-th repetition gets "-n".
anchors()
{
    awk '
        /^ *(```|~~~)/ { fenced = !fenced; next }
        fenced || !/^#+ / { next }
        {
            sub(/^#+ +/, "")
            sub(/( +#+)? *$/, "")
            while (match($0, /\[[^]]*\]\([^)]*\)/)) {
                link = substr($0, RSTART + 1, RLENGTH - 1)
                sub(/\].*/, "", link)
                $0 = substr($0, 1, RSTART - 1) link substr($0, RSTART + RLENGTH)
            }
            anchor = tolower($0)
            gsub(/[]!-,.\/:-@\\[^`{|}~]/, "", anchor)
            gsub(/ /, "-", anchor)
            count = seen[anchor]++
            print count ? anchor "-" count : anchor
        }' "$1"
}

missing=0
for document in *.md */*.md examples/*/*.md; do
    links=$(awk '/^ *(```|~~~)/ { fenced = !fenced } !fenced' "$document" |
        grep -o '](\([^) ]*\)[^)]*)' | sed 's/^](//; s/[) ].*//' |
        grep -v '^[a-z]*:' | sort -u || true)
    for link in $links; do
        file=${link%%#*}
        target=$(dirname "$document")/$file
        [ -n "$file" ] || target=$document
        [ -e "$target" ] || {
            echo "$document: links to $file, which does not exist"
            missing=1
            continue
        }
        case $link in
        *.md\#* | \#*)
            anchors "$target" | grep -qxF -e "${link#*#}" || {
                echo "$document: links to $link, but $target has no such heading"
                missing=1
            }
            ;;
        esac
    done
done
exit $missing

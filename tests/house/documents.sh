#!/bin/sh
# documents.sh ROOT COMMAND: the shell blocks of README and docs that begin with "```sh run" work, in order, in a
# folder that has the examples. A block "```c NAME" before them is the file NAME.
set -eu
root=$1
command=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/home"
ln -s "$command" "$folder/bin/mergecraft"
PATH=$folder/bin:$PATH
HOME=$folder/home
XDG_CACHE_HOME=$folder/home/cache
export PATH HOME XDG_CACHE_HOME

blocks=0
for document in "$root"/README.md "$root"/CONTRIBUTING.md "$root"/docs/*.md; do
    grep -q '^```sh run$' "$document" || continue
    work=$folder/$(basename "$document" .md)
    mkdir "$work"
    ln -s "$root/examples" "$work/examples"
    cd "$work"
    awk '
        /^```c [a-z_]*\.c$/ { file = $2; next }
        /^```sh run$/ { file = "commands"; blocks++; next }
        /^```/ { file = ""; next }
        file { print > file }
        END { print blocks > "count" }' "$document"
    blocks=$((blocks + $(cat count)))
    sh -eux commands < /dev/null > shown 2>&1 || {
        echo "$document: a command fails:"
        tail -n 20 shown
        exit 1
    }
done
[ "$blocks" -ge 3 ] || {
    echo "expected several blocks of commands in the documents, found $blocks"
    exit 1
}

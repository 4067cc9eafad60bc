#!/bin/sh
# documents.sh ROOT COMMAND: the shell blocks of README, CONTRIBUTING and docs that begin with
# "```sh run" work, in order, in a folder that has the examples. A block "```c NAME" before them is
# the file NAME. README is run as its reader does: COMMAND is in build/release and not in PATH.
set -eu
root=$1
command=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/home"
ln -s "$command" "$folder/bin/mergecraft"
HOME=$folder/home
XDG_CACHE_HOME=$folder/home/cache
export HOME XDG_CACHE_HOME

# run_blocks DOCUMENT: in a folder of its own
run_blocks()
{
    work=$folder/$(basename "$1" .md)
    mkdir -p "$work/build"
    ln -s "$root/examples" "$work/examples"
    ln -s "$folder/bin" "$work/build/release"
    cd "$work"
    awk '
        /^```c [a-z_]*\.c$/ { file = $2; next }
        /^```sh run$/ { file = "commands"; blocks++; next }
        /^```/ { file = ""; next }
        file { print > file }
        END { print blocks > "count" }' "$1"
    blocks=$((blocks + $(cat count)))
    sh -eux commands < /dev/null > shown 2>&1 || {
        echo "$1: a command fails:"
        tail -n 20 shown
        exit 1
    }
}

blocks=0
run_blocks "$root/README.md"
PATH=$folder/bin:$PATH
export PATH
for document in "$root"/CONTRIBUTING.md "$root"/docs/*.md; do
    ! grep -q '^```sh run$' "$document" || run_blocks "$document"
done
[ "$blocks" -ge 8 ] || {
    echo "expected at least 8 blocks of commands in the documents, found $blocks"
    exit 1
}

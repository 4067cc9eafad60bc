#!/bin/sh
# run.sh CASE BUILD_DIR SOURCE: runs the script CASE.sh in a folder of its own; passes if it exits
# with 0.
set -eu
case=$1
BUILD=$2
SOURCE=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
XDG_CACHE_HOME=$folder/cache
export XDG_CACHE_HOME
unset CC
cd "$folder"

mergecraft=$BUILD/mergecraft
compare=$BUILD/examples/compare
tutorial=$BUILD/examples/tutorial
examples=$SOURCE/examples
models=$examples/models

fail()
{
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

# says FILE TEXT: the file has a line with that text.
says()
{
    grep -q -F -- "$2" "$1" || { cat "$1" >&2; fail "'$2' is not in $1"; }
}

# opens FOLDER: it can be opened as a model, of as many tensors as the demo models have.
opens()
{
    "$mergecraft" inspect "$1" > inspected
    says inspected 'tensors       73'
}

. "$SOURCE/tests/examples/$case.sh"

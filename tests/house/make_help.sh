#!/bin/sh
# make_help.sh ROOT: `make help` lists every target of the Makefile.
set -eu
cd "$1"
make -s help | awk '{ print $1 }' | LC_ALL=C sort > "${TMPDIR:-/tmp}/mergecraft-listed-$$"
trap 'rm -f "${TMPDIR:-/tmp}/mergecraft-listed-$$"' EXIT
sed -n 's/^\.PHONY: //p' Makefile | tr ' ' '\n' | LC_ALL=C sort |
    diff - "${TMPDIR:-/tmp}/mergecraft-listed-$$" || {
    echo 'a target has no line "NAME: ## ..." for make help'
    exit 1
}

#!/bin/sh
# methods_doc.sh ROOT GENERATOR: docs/methods.md says what the methods say.
set -eu
"$2" | diff -u "$1/docs/methods.md" - || {
    echo 'docs/methods.md is out of date: make docs'
    exit 1
}

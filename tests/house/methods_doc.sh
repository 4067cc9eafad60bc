#!/bin/sh
# methods_doc.sh ROOT GENERATOR: docs/methods.md matches the descriptors of the methods.
set -eu
"$2" | diff -u "$1/docs/methods.md" - || {
    echo 'docs/methods.md is out of date: run make docs'
    exit 1
}

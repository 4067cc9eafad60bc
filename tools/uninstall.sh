#!/bin/sh
# uninstall.sh MANIFEST PREFIX DESTDIR: removes the files that CMake's manifest lists, and the
# folders below PREFIX that are empty afterwards and belong to mergecraft.
set -eu
manifest=$1
prefix=${2%/}
destination=$3

[ -f "$manifest" ] || {
    echo "$manifest: not found: run \`make install\` with the same PREFIX first" >&2
    exit 1
}
other=$(grep -v "^$prefix/" "$manifest" | head -n 1)
[ -z "$other" ] || {
    echo "$manifest: expected files below $prefix, found $other" >&2
    exit 1
}
# CMake leaves out the newline at the end.
{ cat "$manifest" && echo; } | while read -r file; do
    [ -z "$file" ] || rm -f "$destination$file"
done
for folder in include/mergecraft lib/cmake/mergecraft lib/*/cmake/mergecraft; do
    for path in "$destination$prefix"/$folder; do
        [ ! -d "$path" ] || rmdir "$path"
    done
done
rm "$manifest"

#!/bin/sh
# version.sh ROOT VERSION COMMAND: the build, the header, the command and CHANGELOG.md have the same
# version.
set -eu
root=$1
version=$2
command=$3
# expect WHAT FOUND
expect()
{
    [ "$2" = "$version" ] || {
        echo "$1: expected version $version, found '$2'"
        exit 1
    }
}
header=$root/include/mergecraft/version.h
number()
{
    sed -n "s/^#define MC_VERSION_$1 \"*\([0-9.]*\)\"*\$/\1/p" "$header"
}
expect "$header" "$(number STRING)"
expect "$header" "$(number MAJOR).$(number MINOR).$(number PATCH)"
expect mergecraft "$("$command" --version | awk '{ print $2 }')"
expect CHANGELOG.md "$(sed -n 's/^## \([0-9.]*\).*/\1/p' "$root/CHANGELOG.md" | head -n 1)"

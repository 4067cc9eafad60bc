#!/bin/sh
# big_endian.sh ROOT CC: on a big-endian machine nothing compiles, and the error gives the reason.
set -eu
root=$1
cc=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#include <mergecraft/mergecraft.h>\n' > "$folder/program.c"

# refuses CC...: the compiler refuses the program for the right reason.
refuses()
{
    if "$@" -I "$root/include" -fsyntax-only "$folder/program.c" 2> "$folder/said"; then
        echo "accepted by: $*"
        exit 1
    fi
    grep -q 'error.*mergecraft needs a little-endian machine' "$folder/said" || {
        cat "$folder/said"
        exit 1
    }
}
"$cc" -I "$root/include" -fsyntax-only "$folder/program.c"
refuses "$cc" -U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__
# clang has them all built in; the C library's headers are the host's, and its complaints come
# beside ours.
if command -v clang > /dev/null; then
    refuses clang --target=s390x-linux-gnu
    refuses clang --target=powerpc64-linux-gnu
fi

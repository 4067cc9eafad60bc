#!/bin/sh
# headers_cxx.sh ROOT CXX: every public header compiles alone as C++17, and its functions have C
# linkage.
set -eu
root=$1
cxx=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

count=0
for header in "$root"/include/mergecraft/*.h; do
    name=mergecraft/${header##*/}
    # The address of each exported function: a mangled name would be undefined in the object.
    # mc_plugin_entry belongs to plug-ins.
    functions=$(awk '/^ *MC_API/, /;/ { print }' "$header" |
        grep -oE '\bmc_[a-z0-9_]+\(' | tr -d '(' | grep -vx mc_plugin_entry | LC_ALL=C sort -u)
    {
        printf '#include <%s>\n#include <%s>\n' "$name" "$name"
        echo 'typedef void (*pointer)(void);'
        echo 'extern pointer pointers[];'
        echo 'pointer pointers[] = {'
        for function in $functions; do
            echo "    (pointer)$function,"
            count=$((count + 1))
        done
        echo '    0};'
    } > "$folder/alone.cc"
    "$cxx" -std=c++17 -Wall -Wextra -Wno-cast-function-type -Werror -I "$root/include" -c \
        -o "$folder/alone.o" "$folder/alone.cc"
    if nm -u "$folder/alone.o" | grep _Z; then
        echo "$name: expected C linkage (MC_BEGIN_DECLS), found C++ names"
        exit 1
    fi
done
[ "$count" -ge 50 ] || {
    echo "expected many exported functions, found $count"
    exit 1
}

#!/bin/sh
# headers.sh ROOT CC: every public header compiles alone, as C17 with and without GNU extensions,
# and in C++.
set -eu
root=$1
cc=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
count=0
for header in "$root"/include/mergecraft/*.h; do
    name=mergecraft/${header##*/}
    # Twice: guards work.
    printf '#include <%s>\n#include <%s>\n' "$name" "$name" > "$folder/alone.c"
    for standard in c17 gnu17; do
        "$cc" -std=$standard -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror \
            -I "$root/include" -fsyntax-only "$folder/alone.c"
    done
    count=$((count + 1))
done
[ "$count" -gt 10 ]

# A C++ program sees all of them with C linkage.
if command -v c++ > /dev/null; then
    printf '#include <mergecraft/mergecraft.h>\n#include <mergecraft/plugin.h>\n%s\n' \
        'const mc_method *first(void) { return mc_method_at(0); }' > "$folder/program.cpp"
    c++ -std=c++17 -Wall -Wextra -Werror -I "$root/include" -c -o "$folder/program.o" \
        "$folder/program.cpp"
    nm -u "$folder/program.o" | grep -qw mc_method_at
    ! grep -L MC_BEGIN_DECLS "$root"/include/mergecraft/*.h | grep -v mergecraft/mergecraft.h
fi

cat > "$folder/own.c" <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(own, .help = "x")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}
END
"$cc" -std=gnu17 -Wall -Wextra -Werror -DMC_PLUGIN -I "$root/include" -fsyntax-only "$folder/own.c"

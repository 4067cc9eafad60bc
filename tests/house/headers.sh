#!/bin/sh
# headers.sh ROOT CC: every public header compiles alone, as C17 with and without GNU extensions.
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

cat > "$folder/own.c" <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(own, .help = "x")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}
END
"$cc" -std=gnu17 -Wall -Wextra -Werror -DMC_PLUGIN -I "$root/include" -fsyntax-only "$folder/own.c"

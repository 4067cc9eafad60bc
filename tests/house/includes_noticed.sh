#!/bin/sh
# includes_noticed.sh ROOT: the check of the include order finds what breaks it.
set -eu
checker=$1/tools/check_includes.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -r "$1/src" "$1/include" "$1/cli" "$folder"
mkdir "$folder/docs"
cp "$1/docs/architecture.md" "$folder/docs"

# breaks FILE INCLUDE EXPECTED
breaks()
{
    cp "$folder/$1" "$folder/saved"
    printf '#include %s\n' "$2" >> "$folder/$1"
    found=$("$checker" "$folder" 2>&1) && {
        echo "$1 may include $2"
        exit 1
    }
    case $found in
    *"$3"*) ;;
    *)
        echo "expected '$3', found '$found'"
        exit 1
        ;;
    esac
    mv "$folder/saved" "$folder/$1"
}
breaks src/methods/mergecraft/median.c '"checkpoint/reader.h"' 'methods may not include checkpoint'
breaks src/base/text.c '"tensor/source.h"' 'base may not include tensor'
breaks src/tensor/dtype.c '<mergecraft/merge.h>' 'tensor may not include merge'
breaks cli/main.c '"base/memory.h"' 'cli may include only include/mergecraft'
breaks include/mergecraft/error.h '<mergecraft/model.h>' 'base may not include model'
"$checker" "$folder"

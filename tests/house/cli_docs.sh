#!/bin/sh
# cli_docs.sh ROOT GENERATOR [write]: completion files and the generated parts of the manual pages
# match the option tables; with `write` they are written again.
set -eu
root=$1
generator=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

# check FILE WORD INPUT
check()
{
    "$generator" "$2" < "$3" > "$folder/new"
    if [ "${mode-}" = write ]; then
        cmp -s "$1" "$folder/new" || cp "$folder/new" "$1"
    else
        diff -u "$1" "$folder/new" || status=1
    fi
}
mode=${3-}
check "$root/cli/completions/mergecraft.bash" bash /dev/null
check "$root/cli/completions/_mergecraft" zsh /dev/null
check "$root/cli/completions/mergecraft.fish" fish /dev/null
for page in "$root"/docs/man/*.1; do
    check "$page" man "$page"
done
[ "$status" -eq 0 ] || echo 'a completion file or a manual page is out of date: run make docs'
exit "$status"

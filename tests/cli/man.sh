# Every subcommand has a manual page without mistakes. OPTIONS are generated: see
# tests/house/cli_docs.sh.
pages=$SOURCE/docs/man
for verb in '' $(subcommands); do
    [ "$verb" != help ] || continue
    page=$pages/mergecraft${verb:+-$verb}.1
    [ -f "$page" ] || fail "$page is missing"
    grep -q "^\.\\\\\" options ${verb:-help}:" "$page" || fail "$page has no generated options"
    if command -v groff > /dev/null; then
        groff -man -mdoc -ww -Tutf8 "$page" 2>&1 > /dev/null | grep . >&2 &&
            fail "$page has mistakes"
    fi
    for other in $(sed -n 's/^\.Xr \([a-z-]*\) 1.*/\1/p' "$page"); do
        [ -f "$pages/$other.1" ] || fail "$page refers to $other, which does not exist"
    done
done

# Every subcommand has a page that names exactly its options, and pages are without mistakes.
pages=$SOURCE/docs/man
for verb in '' merge eval classify methods inspect download; do
    page=$pages/mergecraft${verb:+-$verb}.1
    # shellcheck disable=SC2086
    mergecraft help --options $verb > options
    [ -n "$verb" ] || mergecraft help --options help >> options
    awk '{ print $1; if ($2 != "-") print $2 }' options | LC_ALL=C sort -u > expected
    grep '^\.It Fl' "$page" | tr ',' '\n' | awk '{ for (i = 1; i < NF; i++) if ($i == "Fl") print "-" $(i + 1) }' |
        LC_ALL=C sort -u > found
    diff -u expected found >&2 || fail "$page"
    if command -v groff > /dev/null; then
        groff -man -mdoc -ww -Tutf8 "$page" 2>&1 > /dev/null | grep . >&2 && fail "$page has mistakes"
    fi
    for other in $(sed -n 's/^\.Xr \([a-z-]*\) 1.*/\1/p' "$page"); do
        [ -f "$pages/$other.1" ] || fail "$page points to $other, which does not exist"
    done
done

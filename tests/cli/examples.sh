# The examples of --help and of the manual work as pasted in the repository's root.
if [ ! -d "$SOURCE/examples/models/rte-1" ]; then
    echo 'the demo models are not there' >&2
    exit 77
fi
ln -s "$SOURCE/examples" examples
for verb in '' merge methods inspect help; do
    # shellcheck disable=SC2086
    mergecraft $verb --help | sed -n '/^example$/,$p' | tail -n +2 > example
    rm -rf merged
    sh -e ./example > shown 2> messages || fail "the example of '$verb' fails: $(cat messages)"
    [ -s shown ] || fail "the example of '$verb' shows nothing"
done
for page in "$SOURCE"/docs/man/*.1; do
    sed -n -e 's/^\.Dl //p' -e '/^\.Bd -literal/,/^\.Ed/{/^\./!p}' "$page" | sed 's/\\e$/\\/' > example
    rm -rf merged
    sh -e ./example > shown 2> messages || fail "the example of $page fails: $(cat messages)"
    [ -s shown ] || fail "the example of $page shows nothing"
done

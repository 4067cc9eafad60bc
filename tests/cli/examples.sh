# The examples of --help and of the manual work as pasted in the repository's root.
if [ ! -d "$SOURCE/examples/models/rte-1" ]; then
    echo 'the demo models are missing' >&2
    exit 77
fi
ln -s "$SOURCE/examples" examples
# Downloads come from a local Hub.
mkdir -p hub/google-bert hub/datasets/nyu-mll/glue/rte
cp -r "$SOURCE/examples/models/base" hub/google-bert/bert-base-uncased
cp "$SOURCE/examples/models/data/validation.parquet" \
    hub/datasets/nyu-mll/glue/rte/validation-00000-of-00001.parquet
unset HF_HUB_OFFLINE
run_example()
{
    python3 "$SOURCE/tests/hub/server.py" --root hub -- sh -e ./example > shown 2> messages
}
for verb in '' $(subcommands); do
    # shellcheck disable=SC2086
    mergecraft $verb --help | sed -n '/^example$/,$p' | tail -n +2 > example
    rm -rf merged sentiment
    run_example || fail "the example of '$verb' fails: $(cat messages)"
    [ -s shown ] || fail "the example of '$verb' prints nothing"
done
for page in "$SOURCE"/docs/man/*.1; do
    sed -n -e 's/^\.Dl //p' -e '/^\.Bd -literal/,/^\.Ed/{/^\./!p}' "$page" |
        sed 's/\\e$/\\/' > example
    rm -rf merged sentiment
    run_example || fail "the example of $page fails: $(cat messages)"
    [ -s shown ] || fail "the example of $page prints nothing"
done

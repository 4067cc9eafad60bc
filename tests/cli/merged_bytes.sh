# Merging the demo models gives the bytes that it always gave (SHA-256 per method), with one thread
# and with several in little memory.
if [ ! -d "$SOURCE/examples/models/rte-1" ]; then
    echo 'the demo models are missing' >&2
    exit 77
fi
ln -s "$SOURCE/examples/models" models
five='models/rte-1 models/rte-2 models/rte-3 models/rte-4 models/rte-5'

# merged METHOD MODELS OPTIONS...
merged()
{
    method=$1
    models=$2
    shift 2
    for run in '--threads 1' '--threads 3 --memory 1MB'; do
        rm -rf out
        # shellcheck disable=SC2086
        mergecraft merge "$method" $models -q --no-sync -o out $run "$@" ||
            fail "$method $* $run"
        found=$(sha256sum < out/model.safetensors)
        printf '%s  %s%s\n' "${found%% *}" "$method" "${*:+ $*}"
    done | uniq > lines
    [ "$(wc -l < lines)" -eq 1 ] || fail "$method: the bytes depend on threads or memory"
    cat lines
}

merged median "$five"
merged soup "$five"
merged soup "$five" -p weights=1,2,.5,-.25,3
merged trimmed_mean "$five" -p trim=.34
merged slerp 'models/rte-1 models/rte-2'
merged slerp 'models/rte-1 models/rte-2' -p tau=.3
for method in task ties dare max_magnitude stock; do
    merged $method "$five" --base models/base
done
merged task "$five" --base models/base -p signs=1,-1,1,1,-1 -p scale=.7
merged ties "$five" --base models/base -p k=.37
merged ties "$five" --base models/base --dtype bf16
merged dare "$five" --base models/base -p p=.8 -p average=models --seed 7

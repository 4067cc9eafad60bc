# HTML reports: their structure, hostile names, and what is missing.
command -v python3 > /dev/null || { echo 'needs python3' >&2; exit 77; }
models=$SOURCE/examples/models
check()
{
    python3 "$SOURCE/tests/report/check.py" "$@" || fail "check $*"
}
ln -s "$models" models

expect 0 mergecraft merge ties models/rte-1 models/rte-2 models/rte-3 --base models/base \
    --passthrough 'classifier.*' -o merged -q --report merged.html
check merged.html 'models/rte-3' '2 tensors averaged' 'classifier.weight' 'Warnings'
expect 0 mergecraft report merged -o again.html --json
cmp merged.html again.html || fail 'two reports on one merge'
mergecraft report merged | cmp - again.html || fail 'standard output'
for threads in 1 3; do
    mergecraft report merged --threads $threads | cmp - again.html || fail "$threads threads"
done

# A search, alone and with its merge; 400 tensors and 500 trials stay below two megabytes.
python3 "$SOURCE/tests/report/journal.py" 500 search.jsonl
expect 0 mergecraft report search.jsonl --no-compare -o search.html
check search.html 'trial 50: ' 'same as 1' 'stopped early' 'failed: NaN' 'parent 2'
expect 0 mergecraft report merged --journal search.jsonl -o both.html
check both.html
# shellcheck disable=SC2046
set -- $(seq -f 'encoder.layer.%g.attention.self.query.weight:8x8:1' 0 199) \
    $(seq -f 'encoder.layer.%g.output.dense.weight:8x8:2' 0 199)
for name in a b; do
    mkdir $name
    helper model $name/model.safetensors "$@"
    echo '{"model_type": "bert"}' > $name/config.json
done
mergecraft merge soup a b -o large -q 2> /dev/null
expect 0 mergecraft report large --journal search.jsonl -o large.html
[ "$(wc -c < large.html)" -le 2000000 ] || fail "$(wc -c < large.html) bytes"
check large.html 'block 199, query'

# With a search.
expect 0 mergecraft search task models/rte-1 models/rte-2 --base models/base --space scale=.1:2 \
    --trials 9 --journal found.jsonl -o best -q --report found.html \
    --objective-command 'echo $MERGECRAFT_TRIAL # {}'
check found.html 'trial 9: 9' 'What was searched' 'models/rte-2'
rm -r best found.html

# What names contain is shown and not interpreted.
python3 "$SOURCE/tests/report/journal.py" 60 hostile.jsonl hostile
expect 0 mergecraft report hostile.jsonl -o hostile.html --no-compare
check hostile.html 'k<script>alert(1)</script>' "scale\" onmouseover='alert(2)'" '🦄 &amp; שלום' \
    '</title></style><svg onload=alert(3)>' '--><!--' ']]>' '\x07\x9f'

# Models that are gone; files that are something else.
mv models gone
expect 0 mergecraft report merged -o missing.html --json
check missing.html 'The models were not compared'
mv gone models
expect 1 mergecraft report merged -o missing.html
expect 0 mergecraft report merged -o missing.html --overwrite -q
expect 1 mergecraft report models -o x.html
expect 1 mergecraft report no/such -o x.html
head -c 2000 search.jsonl > cut.jsonl
expect 0 mergecraft report cut.jsonl -o cut.html --no-compare
check cut.html 'trials so far'
echo '{"type": "trial"}' > other.jsonl
expect 1 mergecraft report other.jsonl -o x.html
echo '[1]' >> search.jsonl
expect 1 mergecraft report search.jsonl -o x.html
printf '{"models": 1}' > merged/mergecraft.json
expect 1 mergecraft report merged -o x.html
printf '{"models": [1, {}], "parameters": [2], "report": {"a": 1}, "files": [3], "tensors": "x"}' \
    > merged/mergecraft.json
expect 0 mergecraft report merged -o x.html --no-compare
check x.html
expect 2 mergecraft report
expect 2 mergecraft report merged --json
expect 2 mergecraft report search.jsonl --journal search.jsonl
expect 2 mergecraft merge soup models/rte-1 models/rte-2 --eval rte --report x.html

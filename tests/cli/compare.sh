# Comparisons with a base against numpy, and of models with each other.
cp "$SOURCE"/tests/data/compare/*.safetensors .
models='a.safetensors b.safetensors c.safetensors'

# same_numbers EXPECTED: rows of CSV on standard input, within 1e-6 (1e-8 near 0: differences are
# rounded to float32); the titles are left out.
same_numbers()
{
    tail -n +2 | awk -F, -v expected="$1" '
    { getline line < expected; count = split(line, want, ","); rows++ }
    NF != count || $1 != want[1] { print "found " $0; print "expected " line; exit 1 }
    {
        for (i = 2; i <= NF; i++) {
            off = $i - want[i]
            far = (off < 0 ? -off : off) > 1e-6 * (want[i] < 0 ? -want[i] : want[i]) + 1e-8
            if (($i ~ /nan/) != (want[i] ~ /nan/) || ($i !~ /nan/ && far)) {
                print $1 ", column " i ": expected " want[i] ", found " $i
                exit 1
            }
        }
    }
    END { if (rows != 8) { print rows " rows"; exit 1 } }' || fail 'numbers'
}
# shellcheck disable=SC2086
for threads in 1 2 3; do
    mergecraft compare $models --base base.safetensors --by tensor --csv -q --threads $threads \
        > found$threads.csv || fail "with $threads threads"
done
same_numbers "$SOURCE/tests/data/compare/expected.csv" < found1.csv
cmp found1.csv found2.csv || fail 'two threads'
cmp found1.csv found3.csv || fail 'three threads'
for level in scalar avx2; do
    # shellcheck disable=SC2086
    MERGECRAFT_CPU=$level mergecraft compare $models --base base.safetensors --by tensor --csv -q \
        > level.csv
    cmp found1.csv level.csv || fail "$level"
done
head -n 1 found1.csv

# Sums by block, by role and of all have every element.
# shellcheck disable=SC2086
for by in block role total; do
    mergecraft compare $models --base base.safetensors --by $by --json > json || fail "$by"
    helper json rows.0.name < json
    helper json total.elements < json
done
# Effective ranks, against numpy's singular values.
# shellcheck disable=SC2086
mergecraft compare $models --base base.safetensors --by tensor --rank --csv -q > ranks.csv
tail -n +2 ranks.csv | awk -F, -v expected="$SOURCE/tests/data/compare/ranks.csv" '
    { getline line < expected; split(line, want, ",") }
    $1 != want[1] { exit 1 }
    {
        for (i = 0; i < 3; i++) {
            found = $(NF - i); wanted = want[4 - i]
            off = found - wanted
            if ((found ~ /nan/) != (wanted ~ /nan/) ||
                (wanted !~ /nan/ && off * off > 1e-12 * wanted * wanted)) {
                print $1 ": expected " wanted ", found " found
                exit 1
            }
        }
    }
    END { exit NR != 8 }' || fail 'ranks'
head -n 1 ranks.csv | sed 's/.*,cosine/cosine/'
# shellcheck disable=SC2086
mergecraft compare $models --base base.safetensors --rank --json -q > json
helper json total.effective_ranks.1 < json | grep -q '^44\.03' || fail 'ranks in JSON'
# shellcheck disable=SC2086
expect 2 mergecraft compare $models --rank

# Without the tensors whose changes are huge or not finite, beside which others vanish.
ordinary='--exclude *self.[kv]* --exclude *layer.1.output*'
set -f
# shellcheck disable=SC2086
expect 0 mergecraft compare $models --base base.safetensors $ordinary
# shellcheck disable=SC2086
expect 0 mergecraft compare $models --base base.safetensors $ordinary --rank

# More columns than a terminal has room for.
# shellcheck disable=SC2086
expect 0 mergecraft compare $models $models --base base.safetensors $ordinary --by total
set +f

# Without a base.
expect 0 mergecraft compare a.safetensors a.safetensors
expect 1 mergecraft compare a.safetensors c.safetensors
helper model short.safetensors 'x:2x2:1'
helper model more.safetensors 'x:2x2:1' 'y:1x2:1'
helper model other.safetensors 'x:2x3:1' 'y:1x2:1'
expect 1 mergecraft compare short.safetensors more.safetensors
expect 1 mergecraft compare more.safetensors other.safetensors
expect 1 mergecraft compare more.safetensors other.safetensors --exclude y --json | cut -c 1-120
expect 0 mergecraft compare more.safetensors other.safetensors --exclude x

# Folders with equal weights: every key of config.json and every byte of the tokenizer counts.
model one 1
cp -R one two
echo '{"a": 1}' > one/tokenizer.json
cp one/tokenizer.json two
echo 'a card' > two/README.md
expect 0 mergecraft compare one two
echo '{"a": 2}' > two/tokenizer.json
echo 'text' > two/vocab.txt
echo '{}' > one/generation_config.json
cat > two/config.json <<'END'
{"model_type": "bert", "architectures": ["BertForSequenceClassification"], "max_length": 20,
 "id2label": {"0": "entailment", "1": "neither"}}
END
expect 1 mergecraft compare one two
mergecraft compare two one --json -q > json && fail 'equal?'
helper json identical < json
helper json report.0 < json

# Errors.
expect 2 mergecraft compare short.safetensors
expect 2 mergecraft compare short.safetensors more.safetensors --by layer
expect 2 mergecraft compare short.safetensors no/such/model

# Scoring the demo models on their task.
ln -s "$SOURCE/examples/models" models
expect 0 mergecraft eval models/rte-1 rte --data models/data
expect 0 mergecraft eval models/rte-1 rte --data models/data/validation.tsv
expect 0 mergecraft eval models/rte-1 rte --data - < models/data/validation.tsv
expect 0 mergecraft eval models/rte-4 RTE --data models/data --split dev --threads 1 -q
expect 0 env MERGECRAFT_DATA=models/data HF_HUB_OFFLINE=1 mergecraft eval models/rte-5 rte --json

# Predictions: a line for each example, which add up to the accuracy.
expect 0 mergecraft eval models/rte-1 rte --data models/data --predictions lines -q
[ "$(wc -l < lines)" -eq 600 ] || fail "$(wc -l < lines) lines"
# Probabilities differ from CPU to CPU in digits that are not shown here.
head -n 2 lines | sed -E 's/(0\.[0-9]{2})[0-9]*/\1/g'
sed -n 's/.*"label":\([01]\),"prediction":\1,.*/same/p' lines | wc -l
expect 1 mergecraft eval models/rte-1 rte --data models/data --predictions no/such/folder

# The labels say nothing: a note. Examples without labels: no score.
cp -RL models/rte-1 unnamed
sed 's/"not_entailment"/"LABEL_1"/; s/"entailment"/"LABEL_0"/' models/rte-1/config.json > \
    unnamed/config.json
expect 0 mergecraft eval unnamed rte --data models/data
printf 'sentence1\tsentence2\nEvery surgeon slept.\tA medic slept.\n' > unlabelled.tsv
expect 0 mergecraft eval models/rte-1 rte --data unlabelled.tsv --predictions lines --overwrite
sed -E 's/(0\.[0-9]{2})[0-9]*/\1/g' lines
expect 0 mergecraft eval models/rte-1 rte --data unlabelled.tsv --json

# Own data: columns by name, labels by the names of the model's or their numbers.
columns='--text a --pair b'
cat > mine.csv <<'CSV'
id,b,y,a
1,A medic slept.,entailment,Every surgeon slept.
2,x,1,"Lena, a poet"
3,x,,y
CSV
# shellcheck disable=SC2086
{
    expect 0 mergecraft eval models/rte-1 --data mine.csv $columns --label y
    expect 0 mergecraft eval models/rte-1 --data mine.csv $columns --label y --limit 2 --json
    expect 0 mergecraft eval models/rte-1 --data mine.csv $columns
    expect 0 mergecraft eval models/rte-1 --data - $columns --label y < mine.csv
    expect 1 mergecraft eval models/rte-1 --data mine.csv $columns --label label
    expect 1 mergecraft eval models/rte-1 --data mine.csv $columns --label id
    expect 2 mergecraft eval models/rte-1 --data models/data $columns --label y
    expect 2 mergecraft eval models/rte-1 rte --data mine.csv $columns
    expect 2 mergecraft eval models/rte-1 $columns
    expect 2 mergecraft eval models/rte-1 --data mine.csv $columns --split train
    expect 2 mergecraft eval models/rte-1 --data mine.csv --label y
    expect 2 mergecraft eval models/rte-1 --data mine.csv --text a --label a
    cp mine.csv kept.csv
    expect 2 mergecraft eval models/rte-1 --data mine.csv $columns --predictions mine.csv \
        --overwrite
    expect 1 mergecraft eval models/rte-1 --data mine.csv $columns --predictions kept.csv
    cmp mine.csv kept.csv || fail 'a file was replaced'
}

# What is too long is truncated.
awk 'BEGIN { print "sentence1\tsentence2\tlabel"
             for (i = 0; i < 1000; i++) printf "every surgeon "
             print "slept.\tA medic slept.\tentailment" }' > long.tsv
expect 0 mergecraft eval models/rte-1 rte --data long.tsv

# What cannot be scored.
expect 1 mergecraft eval models/base rte --data models/data
expect 1 mergecraft eval models/rte-1 mnli --data models/data/validation.tsv
expect 1 mergecraft eval models/rte-1 cola --data models/data/validation.parquet
expect 1 mergecraft eval models/rte-1 rte --data no/such/file
: > empty.tsv
expect 1 mergecraft eval models/rte-1 rte --data empty.tsv
expect 1 env -u MERGECRAFT_DATA HF_HUB_OFFLINE=1 mergecraft eval models/rte-1 rte
model other 1
expect 1 mergecraft eval other rte --data models/data
sed 's/"hidden_size": 96/"hidden_size": 64/' models/rte-1/config.json > unnamed/config.json
expect 1 mergecraft eval unnamed rte --data models/data
sed 's/"bert"/"gpt2"/; s/Bert/GPT2/' models/rte-1/config.json > unnamed/config.json
expect 1 mergecraft eval unnamed rte --data models/data
sed 's/"vocab_size": 225/"vocab_size": 5/' models/rte-1/config.json > unnamed/config.json
expect 1 mergecraft eval unnamed rte --data models/data
rm unnamed/config.json
expect 1 mergecraft eval unnamed rte --data models/data
expect 2 mergecraft eval models/rte-1
expect 2 mergecraft eval models/rte-1 rta --data models/data
expect 2 mergecraft eval models/rte-1 something
expect 2 mergecraft eval models/rte-1 rte --data models/data --split nights
expect 2 mergecraft download --dataset rta
expect 2 mergecraft download --dataset rte --split nights
expect 2 mergecraft eval models/rte-1 rte --data models/data --dtype f64

# Statistics of a model, and merges with them.
XDG_CACHE_HOME=$PWD/cache
export XDG_CACHE_HOME
rte="--task rte --data models/data"
ln -s "$SOURCE/examples/models" models
# shellcheck disable=SC2086
for n in 1 2; do
    expect 0 mergecraft observe models/rte-$n --gram --fisher $rte --examples 8 -o $n.stats
done
for method in regmean fisher; do
    expect 0 mergecraft merge $method models/rte-1 models/rte-2 --stats 1.stats,2.stats -q \
        -o $method
    # Computed, then found in the cache: the same bytes.
    for run in 1 2; do
        expect 0 mergecraft merge $method models/rte-1 models/rte-2 $rte --examples 8 -q \
            -o $method-$run
        expect 0 cmp $method/model.safetensors $method-$run/model.safetensors
    done
done
ls cache/mergecraft/statistics | wc -l
expect 0 mergecraft observe models/rte-1 --gram $rte --examples 8 --threads 1 -q
expect 0 mergecraft observe models/rte-1 --gram $rte --examples 8 -q
# Another tokenizer gives other tokens: nothing is taken from the cache.
cp -rL models/rte-1 cased
chmod -R u+w cased
sed -i 's/"lowercase": true/"lowercase": false/' cased/tokenizer.json
sed -i 's/"do_lower_case": true/"do_lower_case": false/' cased/tokenizer_config.json
expect 0 mergecraft observe cased --gram $rte --examples 8 -q --json > cased.json
grep -o '"cached": *[a-z]*' cased.json
plus="--task rte --data models/data --examples 2 -q"
expect 0 mergecraft merge regmean++ models/rte-1 models/rte-2 $plus -o plus
expect 0 mergecraft merge regmean++ cased models/rte-2 $plus -o plus-cased
cmp -s plus/model.safetensors plus-cased/model.safetensors && fail "the same tokens were used"
# Labels that the model does not have, and labels whose order is a guess.
printf 'sentence1\tsentence2\tscore\nA man sleeps.\tHe is awake.\t2.5\n' > value.tsv
expect 1 mergecraft observe models/rte-1 --fisher --form empirical --task stsb --data value.tsv
cp -rL models/rte-1 named
chmod -R u+w named
sed -i 's/"problem_type": [^,]*/"problem_type": "regression"/' named/config.json
expect 1 mergecraft observe named --fisher --form empirical $rte --examples 2
cp models/rte-1/config.json named
sed -i 's/"not_entailment"/"LABEL_1"/; s/"entailment"/"LABEL_0"/' named/config.json
for run in 1 2; do
    expect 0 mergecraft observe named --fisher --form empirical $rte --examples 2
done
# What was noticed is reported from the cache, too, and an error under --strict.
for run in 1 2; do
    expect 0 mergecraft observe models/rte-1 --gram $rte --examples 2
done
expect 1 mergecraft merge regmean models/rte-1 models/rte-2 $rte --examples 2 --strict -q -o out
expect 1 mergecraft merge regmean++ models/rte-1 models/rte-2 $rte --examples 2 --strict -q -o out
{
    printf 'sentence1\tsentence2\tlabel\n'
    yes 'A medic slept.' | head -n 200 | tr '\n' ' '
    printf '\tA man sleeps.\tentailment\n'
} > long.tsv
long="--task rte --data long.tsv"
for run in 1 2; do
    expect 1 mergecraft merge regmean++ models/rte-1 models/rte-2 $long --strict -q -o out
done
expect 1 mergecraft merge fisher models/rte-1 models/rte-2 $rte --examples 999999 --strict -q \
    -o out

# Errors name what is wrong.
expect 1 mergecraft merge regmean models/rte-2 models/rte-1 --stats 1.stats,2.stats -o out
expect 2 mergecraft merge regmean models/rte-1 models/rte-2 --stats 1.stats -o out
expect 2 mergecraft merge regmean models/rte-1 models/rte-2 --stats '' -o out
# Statistics of a tensor that no model has are left out, which is reported.
sed 's|"fishers/classifier.bias"|"fishers/classifier.bixs"|' 1.stats > foreign.stats
bias="--exclude classifier.bias --stats foreign.stats,2.stats"
expect 0 mergecraft merge fisher models/rte-1 models/rte-2 $bias -o foreign
expect 1 mergecraft merge fisher models/rte-1 models/rte-2 $bias --strict -o out
# Provenance that was edited.
sed 's/"digests":"{/"digests":"[/' 1.stats > digests.stats
sed 's/"version":"1"/"version":"2"/' 1.stats > version.stats
# The same length, so that offsets of the file stay: no digests, and those of other names.
sed 's/"digests":"{[^}]*}/"digests":"{}/' 1.stats > cut
removed=$(($(wc -c < 1.stats) - $(wc -c < cut)))
sed "s/\"digests\":\"{}/&$(printf "%${removed}s" '')/" cut > none.stats
sed '/"digests"/s/\(\\"\)bert\./\1berd./g' 1.stats > renamed.stats
for wrong in none renamed; do
    cmp -s 1.stats $wrong.stats && fail "$wrong.stats was not changed"
done
for wrong in digests version none renamed; do
    expect 1 mergecraft merge fisher models/rte-1 models/rte-2 --stats $wrong.stats,2.stats -o out
done
expect 1 mergecraft observe models/rte-1 --gram $rte -o 1.stats
expect 2 mergecraft observe models/rte-1 --gram
expect 2 mergecraft observe models/rte-1 --data rte
expect 2 mergecraft observe models/rte-1 --gram --data file.tsv
expect 2 mergecraft observe models/rte-1 --fisher --form other --data rte
expect 2 mergecraft merge regmean models/rte-1 models/rte-2 -o out
expect 2 mergecraft merge median models/rte-1 models/rte-2 --stats 1.stats -o out
expect 2 mergecraft merge median models/rte-1 models/rte-2 --data rte --examples 3 -o out

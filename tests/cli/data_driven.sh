# Methods that run the models on examples: regmean++, adamerging, greedy_soup.
XDG_CACHE_HOME=$PWD/cache
export XDG_CACHE_HOME
ln -s "$SOURCE/examples/models" models
ln -s "$SOURCE/examples/bench" bench
two="models/rte-1 models/rte-2"
rte="--task rte --data models/data --examples 8"
steps="-p steps=2 --base models/base"
# A data set per model, and heads of their own.
lists="--task rte,sst2 --data bench/data/entailment.jsonl,bench/data/sentiment.jsonl --examples 8"
heads="bench/entailment-1 bench/sentiment-1 $lists --exclude classifier.*"

# shellcheck disable=SC2086
{
    expect 0 mergecraft merge regmean++ $two $rte -q -o plus
    expect 0 mergecraft merge adamerging $two $rte $steps -q -o adapted
    expect 0 mergecraft merge adamerging $two $rte $steps -p mode=task -q -o task
    expect 0 mergecraft merge greedy_soup models/rte-1 models/rte-2 models/rte-3 --task rte \
        --data models/data -q -o soup
    tr -d ' \n' < soup/mergecraft.json | grep -o '"weights":[^]]*]'
    # From the cache, and computed again on one thread: the same bytes.
    for cache in cache other; do
        XDG_CACHE_HOME=$PWD/$cache
        expect 0 mergecraft merge regmean++ $two $rte --threads 1 -q -o plus-$cache
        expect 0 mergecraft merge adamerging $two $rte $steps --threads 1 -q -o adapted-$cache
        expect 0 cmp plus/model.safetensors plus-$cache/model.safetensors
        expect 0 cmp adapted/model.safetensors adapted-$cache/model.safetensors
    done
    expect 0 mergecraft merge regmean++ $heads -q -o plus-heads
    expect 0 mergecraft merge adamerging $heads $steps -q -o adapted-heads

    # Commas in paths, also of statistics that the user or a record names.
    XDG_CACHE_HOME=$PWD/one,two
    expect 0 mergecraft merge regmean $two $rte -q -o comma
    expect 0 mergecraft merge regmean++ $two $rte -q -o plus-comma
    expect 0 cmp plus/model.safetensors plus-comma/model.safetensors
    for i in 1 2; do
        expect 0 mergecraft observe models/rte-$i --gram $rte -q -o one,two/$i.stats > out.txt
    done
    expect 0 mergecraft merge regmean $two --stats one,two/1.stats,one,two/2.stats -q -o stats-comma
    expect 0 cmp comma/model.safetensors stats-comma/model.safetensors
    expect 0 mergecraft merge --from comma/mergecraft.json -q -o from-comma
    expect 0 cmp comma/model.safetensors from-comma/model.safetensors
    XDG_CACHE_HOME=$PWD/cache

    # Parameters of add-ons are not the method's own.
    lines="--then lines -p lines.beta=.5 --base models/base"
    expect 0 mergecraft merge regmean++ $two $rte $lines -q -o plus-lines
    expect 0 mergecraft merge adamerging $two $rte $steps $lines -q -o adapted-lines
    expect 0 mergecraft merge greedy_soup $two --task rte --data models/data $lines -q -o soup-lines
    for method in plus adapted soup; do
        cmp -s $method/model.safetensors $method-lines/model.safetensors &&
            fail "$method: lines has no effect"
    done
    expect 2 mergecraft merge greedy_soup $two -o out
    expect 2 mergecraft merge greedy_soup $two $rte -p weights=1,0 -o out
    expect 2 mergecraft merge regmean++ $two -o out
    expect 2 mergecraft merge greedy_soup $two --task rte --data models/data,models/data -o out
    expect 2 mergecraft merge adamerging $two $rte -o out
    expect 2 mergecraft merge regmean++ $two --data rte,sst2,cola -o out
    printf 'sentence1\tsentence2\nA\tB\n' > plain.tsv
    expect 2 mergecraft merge greedy_soup $two --data plain.tsv --text sentence1 --pair sentence2 \
        -o out
    printf 'sentence1\tsentence2\tlabel\n' > empty.tsv
    expect 2 mergecraft merge regmean++ $two --data empty.tsv --task rte -o out
    expect 2 mergecraft merge adamerging $two --data empty.tsv --task rte $steps -o out
    # A soup reports what its evaluation noticed, which is an error under --strict.
    {
        printf 'sentence1\tsentence2\tlabel\n'
        yes 'A medic slept.' | head -n 200 | tr '\n' ' '
        printf '\tA man sleeps.\tentailment\n'
    } > long.tsv
    expect 1 mergecraft merge greedy_soup $two --task rte --data long.tsv --strict -q -o out
    # A regression has no entropy.
    mkdir value
    cp models/rte-1/* value
    chmod u+w value/*
    sed -i 's/"problem_type": [^,]*/"problem_type": "regression"/' value/config.json
    expect 1 mergecraft merge adamerging value models/rte-2 $rte $steps -o out
    # Statistics of one merge do not fit another.
    cp "$(find cache -name '*.stats' | sort | head -n 1)" other.stats
    expect 1 mergecraft merge regmean $two --stats other.stats,other.stats -o out
}

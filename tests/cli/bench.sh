# A benchmark of the demo tasks: tables, resuming, and suites that are wrong.
XDG_CACHE_HOME=$PWD/cache
export XDG_CACHE_HOME
ln -s "$SOURCE/examples" examples
mergecraft bench examples/bench/small.yml -o results -q > first || fail "exit status $?"
cut -d '|' -f 2 first
head -n 1 first
# The number of the task that a model is made for is not a chosen parameter.
grep "^| emr" first | cut -d "|" -f 11
cmp first results/table.md || fail "the table is not what was printed"
head -n 2 results/table.csv | cut -d , -f 1-2
grep -c '"validation"' results/results.json
grep -c key results/results.jsonl
# Gram matrices of four models, of the examples that parameters are chosen on.
for file in cache/mergecraft/statistics/*; do
    head -c 4000 "$file" | grep -ao '"examples":"[0-9]*"'
done

# A second run computes nothing; one whose journal was cut short computes what is missing.
cp results/results.jsonl before
mergecraft bench examples/bench/small.yml -o results -q > second || fail "exit status $?"
cmp first second || fail "another table"
cmp before results/results.jsonl || fail "something was computed again"
head -c 900 before > results/results.jsonl
mergecraft bench examples/bench/small.yml -o results -q --threads 1 > third || fail "exit status $?"
cut -d '|' -f 1-8 first > scores
cut -d '|' -f 1-8 third | cmp scores - || fail "other scores after resuming"

# The task decides what is scored: with another one, nothing is taken from the journal.
cat > kind.yml << EOF
base: examples/models/base
tasks:
  one: {task: cola, model: examples/bench/acceptability-1,
        data: examples/bench/data/acceptability.jsonl}
methods: [{method: soup}]
EOF
mergecraft bench kind.yml -o kind -q > /dev/null || fail "exit status $?"
sed -i 's/cola/sst2/' kind.yml
mergecraft bench kind.yml -o kind -q | cut -d '|' -f 1-4 > resumed
# So is a model with another tokenizer.
cp -rL examples/bench/acceptability-1 changed
chmod -R u+w changed
sed 's|examples/bench/acceptability-1|changed|' kind.yml > changed.yml
mergecraft bench changed.yml -o kind -q > /dev/null || fail "exit status $?"
sed -i 's/"lowercase": true/"lowercase": false/' changed/tokenizer.json
sed -i 's/"do_lower_case": true/"do_lower_case": false/' changed/tokenizer_config.json
mergecraft bench changed.yml -o kind -q | cut -d '|' -f 1-4 > again
mergecraft bench changed.yml -o other -q | cut -d '|' -f 1-4 | cmp again - ||
    fail "scores of another tokenizer"
# A name stays in its cell, whatever it contains.
sed 's/{method: soup}/{name: "a|b\\nc", method: soup}/' kind.yml > cell.yml
mergecraft bench cell.yml -q | grep -o '^| a.*c |'
mergecraft bench kind.yml -o afresh -q | cut -d '|' -f 1-4 | cmp resumed - || fail "scores of cola"

# Average of the models < task arithmetic < a model per task < individual models.
awk -F '|' '{ split($7, a, " "); print $2, a[1] }' first | awk '
    { score[$1] = $NF }
    END { if (!(score["average"] < score["task"] && score["task"] < score["emr"] &&
                score["emr"] < score["individual"])) print "not in the order of the papers" }'

# What only values show is reported, also by a run that takes all from the journal.
sed 's/{method: soup}/{method: tsvm, parameters: {rank: [0.0001, 1]}}/' kind.yml > warned.yml
mergecraft bench warned.yml -o warned > /dev/null 2> warnings || fail "exit status $?"
grep -c 'warning: tsvm .*"rank": 0.0001}: .* averaged: rank keeps none of its singular' warnings
cp warned/results.jsonl before
mergecraft bench warned.yml -o warned > /dev/null 2> again || fail "exit status $?"
cmp warned/results.jsonl before || fail "something was computed again"
grep warning: warnings > expected
grep warning: again | cmp expected - || fail "a resumed run has other warnings"
# A line without them is computed again.
sed -i 's/"warnings"/"other"/' warned/results.jsonl
mergecraft bench warned.yml -o warned 2>&1 > /dev/null | grep warning: | cmp expected - ||
    fail "other warnings"
mergecraft bench warned.yml -o warned -q 2>&1 > /dev/null | grep -q . && fail "-q prints warnings"
# With --strict they are errors, whether they are in the journal or not. The merge is not lost.
sed 's/sst2/cola/' warned.yml > strict.yml
expect 1 mergecraft bench strict.yml -o strict -q --strict
cp strict/results.jsonl before
expect 1 mergecraft bench strict.yml -o strict -q --strict
cmp strict/results.jsonl before || fail "something was computed again"
sed 's/sst2/cola/' kind.yml > named.yml
mergecraft bench named.yml -o kind -q --strict > /dev/null || fail "exit status $?"

# Truncated examples, a guessed order of labels, and own scores that cannot be divided by.
cp -rL examples/bench/acceptability-1 unnamed
chmod -R u+w unnamed
sed -i 's/"unacceptable"/"LABEL_0"/; s/"acceptable"/"LABEL_1"/' unnamed/config.json
head -n 60 examples/bench/data/acceptability.jsonl |
    sed 's/"label": 0/"label": 2/; s/"label": 1/"label": 0/; s/"label": 2/"label": 1/' > wrong.jsonl
{
    printf '{"sentence": "'
    yes 'A medic slept.' | head -n 200 | tr '\n' ' '
    printf '", "label": 1}\n'
} >> wrong.jsonl
sed 's|cola|&, metric: matthews_correlation|; s|examples/bench/acceptability-1|unnamed|
    s|examples/bench/data/acceptability.jsonl|wrong.jsonl|; s/sst2/cola/' kind.yml > noticed.yml
for run in 1 2; do
    mergecraft bench noticed.yml -o noticed > /dev/null 2> noticed.$run || fail "exit status $?"
done
grep warning: noticed.1
grep warning: noticed.1 > expected
grep warning: noticed.2 | cmp - expected || fail "a resumed run has other warnings"
# Under --strict the first that is left is the error.
expect 1 mergecraft bench noticed.yml -o noticed -q --strict
sed -i '$d' wrong.jsonl
expect 1 mergecraft bench noticed.yml -o noticed -q --strict
sed -i 's/LABEL_0/unacceptable/; s/LABEL_1/acceptable/' unnamed/config.json
expect 1 mergecraft bench noticed.yml -o noticed -q --strict

suite()
{
    sed "s|\.\./models|examples/models|; s|data/|examples/bench/data/|; $1" \
        examples/bench/small.yml > wrong.yml
    shift
}
suite 's/^base:/bass:/'
expect 1 mergecraft bench wrong.yml
suite 's/method: iso_c/method: iso_d/'
expect 2 mergecraft bench wrong.yml
suite 's/task: rte/task: rta/'
expect 2 mergecraft bench wrong.yml
suite 's/validation: 0.3333/validation: 2/'
expect 1 mergecraft bench wrong.yml
suite 's/alpha: \[/alfa: [/; s|model: "|model: "examples/bench/|'
expect 2 mergecraft bench wrong.yml -q
# Suites that would give a table without sense.
suite 's/^seeds.*/seeds: []/'
expect 1 mergecraft bench wrong.yml
suite 's/^seeds.*/seeds: [1, 2, 1]/'
expect 2 mergecraft bench wrong.yml
suite 's/^seeds.*/seeds: [1, 2]/; s/{seed}/1/'
expect 2 mergecraft bench wrong.yml
suite 's/validation: 0.3333/validation: 0.0001/'
expect 2 mergecraft bench wrong.yml
suite 's/alpha: .0.5/alpha: 1, &/'
expect 1 mergecraft bench wrong.yml
suite "s/alpha: .0.5/alpha: [$(seq -s , 1000)], beta: [$(seq -s , 1000)], gamma: [0.5/"
expect 2 mergecraft bench wrong.yml
expect 1 mergecraft bench no-such.yml
expect 2 mergecraft bench

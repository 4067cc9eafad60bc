# Searches on the demo models: journal, resuming, kills, thread counts, strategies, mistakes.
ln -s "$SOURCE/examples" examples
models='examples/models/rte-1 examples/models/rte-2 examples/models/rte-3'
# search ARGUMENTS...
search()
{
    # shellcheck disable=SC2086
    mergecraft search task $models --base examples/models/base --passthrough 'classifier.*' \
        --eval rte --data examples/models/data -q "$@"
}
# lines FILE: without the times
lines()
{
    sed 's/,"seconds":[0-9.e-]*//' "$1"
}
# score_of FILE TRIAL
score_of()
{
    sed -n "s/.*\"trial\":$2,.*\"score\":\([0-9.]*\),\"scores\".*/\1/p" "$1" | head -n 1
}

# The same journal for any number of threads, and after kills at any point.
space='scale=.1:2, weights[*]=.1:1'
search --space "$space" --trials 6 --validate .3 --journal one.jsonl --threads 1 > one ||
    fail "exit status $?"
search --space "$space" --trials 6 --validate .3 --journal two.jsonl --threads 2 > two ||
    fail "exit status $?"
lines one.jsonl > one.lines
lines two.jsonl | cmp one.lines - || fail 'two threads: another journal'
cmp one two || fail 'two threads: another result'
wc -l < one.jsonl | tr -d ' '
killed=0
: > killed.jsonl
for round in $(seq "${ROUNDS:-6}"); do
    # After one more line, so that some are killed on a machine of any speed, and a bit later.
    before=$(wc -l < killed.jsonl)
    delay=$(awk -v i="$round" 'BEGIN { srand(i); printf "%.3f", rand() * .05 }')
    # Not by the function, whose shell would be killed instead.
    # shellcheck disable=SC2086
    mergecraft search task $models --base examples/models/base --passthrough 'classifier.*' \
        --eval rte --data examples/models/data -q --space "$space" --trials 6 --validate .3 \
        --journal killed.jsonl --resume > /dev/null &
    while [ "$(wc -l < killed.jsonl)" -le "$before" ] && kill -s 0 $! 2> /dev/null; do
        sleep .01
    done
    sleep "$delay"
    kill -s KILL $! 2> /dev/null || true
    status=0
    wait $! 2> /dev/null || status=$?
    [ "$status" -ne 137 ] || killed=$((killed + 1))
done
[ "$killed" -gt 0 ] || fail 'none was killed before its end'
printf '{"type":"trial","tri' >> killed.jsonl
search --space "$space" --trials 6 --validate .3 --journal killed.jsonl --resume > three ||
    fail "exit status $?"
# What was cut short is removed, unless the search had ended before.
lines killed.jsonl | cmp one.lines - || fail 'after kills: another journal'
cmp one three || fail 'after kills: another result'

# More trials later; the first ones stay.
search --space "$space" --trials 8 --validate .3 --journal killed.jsonl --resume > /dev/null ||
    fail "exit status $?"
lines killed.jsonl | head -n 8 | cmp one.lines - || fail 'more trials: others before'
grep -c '"type":"trial"' killed.jsonl

# A trial has the score of the same merge, and the best is the best of a grid.
search --space 'scale=.25:2:8' --strategy grid --journal grid.jsonl -o best > grid ||
    fail "exit status $?"
for trial in 1 4 8; do
    scale=$(awk -v i="$trial" 'BEGIN { print i / 4 }')
    # shellcheck disable=SC2086
    mergecraft merge task $models --base examples/models/base --passthrough 'classifier.*' \
        --eval rte --data examples/models/data -p "scale=$scale" --json -q 2> /dev/null > merged
    expected=$(sed 's/.*"metrics":{"accuracy":\([0-9.]*\).*/\1/' merged)
    awk -v a="$(score_of grid.jsonl "$trial")" -v b="$expected" \
        'BEGIN { exit (a - b) ^ 2 > 1e-24 }' ||
        fail "scale $scale: expected $expected, found $(score_of grid.jsonl "$trial")"
done
mergecraft verify best
best=$(sed -n 's/^best: trial \([0-9]*\),.*/\1/p' grid)
for trial in 1 2 3 4 5 6 7 8; do
    awk -v a="$(score_of grid.jsonl "$best")" -v b="$(score_of grid.jsonl "$trial")" \
        'BEGIN { exit a < b }' || fail "trial $trial is better than the best"
done
grep -c '"strategy": "grid"' best/mergecraft.json

# Which models take part.
search --space 'models=subset' --strategy greedy --journal greedy.jsonl > greedy ||
    fail "exit status $?"
grep -c '"type":"trial"' greedy.jsonl
search --space 'models=subset' --strategy grid --journal subsets.jsonl > /dev/null ||
    fail "exit status $?"
grep -c 'expected models that take part, found none' subsets.jsonl

# Stopping early, single models, a loss.
search --space 'scale=.1:2' --trials 12 --halving 3 --parents --journal halving.jsonl > /dev/null ||
    fail "exit status $?"
grep -c '"type":"parent"' halving.jsonl
[ "$(grep -c '"stopped":true' halving.jsonl)" -gt 2 ] || fail 'no trial was stopped'
search --space 'scale=.1:2' --trials 3 --journal later.jsonl > /dev/null || fail "exit status $?"
search --space 'scale=.1:2' --trials 3 --journal later.jsonl --resume --parents > /dev/null ||
    fail "exit status $?"
grep -c '"type":"trial"' later.jsonl
grep -c '"type":"parent"' later.jsonl
search --space 'scale=.1:2:4' --strategy grid --eval rte:loss --journal loss.jsonl 2> /dev/null \
    > /dev/null && fail 'metrics that cannot be combined'

# A recipe.
cat > recipe.yml <<'END'
merge_method: linear
models:
  - model: examples/models/rte-1
    parameters: {weight: "${first=0:1:3}"}
  - model: examples/models/rte-2
    parameters: {weight: "${second}"}
parameters: {normalize: true}
END
mergecraft search recipe.yml --eval rte --data examples/models/data --space 'second=.5|1' \
    --strategy grid --journal recipe.jsonl -o from-recipe -q > recipe || fail "exit status $?"
grep -c '"type":"trial"' recipe.jsonl
mergecraft merge from-recipe.yml -o again -q || fail "exit status $?"
cmp from-recipe/model.safetensors again/model.safetensors || fail 'the recipe gives another model'

# Mistakes.
search --space "$space" --trials 6 --journal one.jsonl 2> messages && fail 'the journal exists'
cat messages >&2
search --space 'scale=.1:3' --validate .3 --journal one.jsonl --resume 2> messages &&
    fail 'another space'
cat messages >&2
# A journal that was edited: the result would copy what its trial lacks.
sed '/"type":"result"/d; s/"scores":\[[^]]*\],//' grid.jsonl > edited.jsonl
search --space 'scale=.25:2:8' --strategy grid --journal edited.jsonl --resume 2> messages &&
    fail 'an edited journal'
cat messages >&2
wrong()
{
    search --journal wrong.jsonl "$@" 2> messages && fail "accepted: $*"
    head -n 1 messages >&2
}
wrong --space 'skale=0:1'
wrong --space 'scale=1:0'
wrong --space 'scale=0:1:log'
wrong --space 'scale=0:1, scale=0:2'
wrong --space 'weights[4]=0:1'
wrong --space 'scaling=mean|median'
wrong --space 'scale=0:1' --strategy nelder
wrong --space 'scale=0:1' --strategy greedy
wrong --space 'scale=0:1' --strategy coordinate --halving 2
wrong --space 'scale=0:1' --objective median
wrong --space 'scale=0:1' --validate 2
wrong --space 'scale=0:1' --eval rte:f2
wrong
[ ! -e wrong.jsonl ] || fail 'a wrong search wrote a journal'

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

# Tasks whose heads differ: each score is that of the merge that keeps the task's own head.
for task in entailment paraphrase; do
    head -n 50 examples/bench/data/$task.jsonl > $task.jsonl
done
tasks='examples/bench/entailment-1 examples/bench/paraphrase-1'
# heads ARGUMENTS...
heads()
{
    # shellcheck disable=SC2086
    mergecraft search task $tasks --base examples/models/base --exclude 'classifier.*' \
        --exclude '*.pooler.*' -q --space 'scale=.5|1' --strategy grid \
        --eval rte --data rte=entailment.jsonl \
        --eval mrpc:accuracy --data mrpc=paraphrase.jsonl "$@"
}
heads --head rte=examples/bench/entailment-1 --head mrpc=examples/bench/paraphrase-1 --parents \
    --journal heads.jsonl > heads || fail "exit status $?"
for task in rte=entailment mrpc=paraphrase; do
    # shellcheck disable=SC2086
    mergecraft merge task $tasks --base examples/models/base --exclude 'classifier.*' \
        --exclude '*.pooler.*' --keep-head examples/bench/${task#*=}-1 -p scale=.5 \
        --eval ${task%=*} --data ${task#*=}.jsonl --json -q 2> /dev/null > merged
    expected=$(sed 's/.*"metrics":{"accuracy":\([0-9.]*\).*/\1/' merged)
    scored="\"${task%=*}\",\"metric\":\"accuracy\",\"value\""
    grep '"trial":1,' heads.jsonl | grep -q "$scored:$expected," ||
        fail "$task: expected $expected, found $(cat heads.jsonl)"
    # The single model with its own head.
    mergecraft eval examples/bench/${task#*=}-1 ${task%=*} --data ${task#*=}.jsonl --json -q > own
    expected=$(sed 's/.*"metrics":{"accuracy":\([0-9.]*\).*/\1/' own)
    grep "\"parent\",\"model\":\"examples/bench/${task#*=}-1\"" heads.jsonl |
        grep -q "$scored:$expected," ||
        fail "$task: expected $expected of its own model"
done
for head in rte sst2=examples/bench/entailment-1 rte=examples/models/base; do
    heads --head "$head" --journal no.jsonl 2> messages && fail "accepted: $head"
    head -n 1 messages >&2
done
heads --head rte=examples/bench/entailment-1 --head rte=examples/bench/entailment-2 \
    --journal no.jsonl 2> messages && fail 'two heads'
head -n 1 messages >&2
heads --head rte=examples/bench/entailment-2 --journal heads.jsonl --resume 2> messages &&
    fail 'another head'
head -n 1 messages >&2

# Objectives that fail: each trial has its reason, and the search ends with the first.
# command COMMAND ARGUMENTS...
command()
{
    objective=$1
    shift
    # shellcheck disable=SC2086
    mergecraft search task $models --base examples/models/base -q --space 'scale=0:1' --trials 2 \
        --objective-command "$objective #{}" "$@"
}
for objective in 'echo nan' 'echo inf' 'echo a; exit 3' 'printf "\377\n"' 'true' 'kill -9 $$'; do
    rm -f failed.jsonl
    status=0
    command "$objective" --journal failed.jsonl 2> messages || status=$?
    [ "$status" -eq 1 ] || fail "$objective: exit status $status"
    head -n 1 messages >&2
    [ "$(grep -c '"score":null' failed.jsonl)" -eq 2 ] || fail "$objective: $(cat failed.jsonl)"
done
command 'printf "first\n1.5 \n\n"' --trials 1 --journal blank.jsonl
# A trial that fails is no reason to end the search.
command '[ $MERGECRAFT_TRIAL -ne 1 ] && echo 1' --journal mixed.jsonl

# Journals of another version, out of order, or not a file.
sed 's/"version":1/"version":2/' mixed.jsonl > version.jsonl
{ sed -n 1p mixed.jsonl; sed -n 3p mixed.jsonl; sed -n 2p mixed.jsonl; } > order.jsonl
mkdir folder.jsonl
for journal in version order folder; do
    command '[ $MERGECRAFT_TRIAL -ne 1 ] && echo 1' --journal $journal.jsonl --resume 2> messages &&
        fail "accepted: $journal.jsonl"
    head -n 1 messages >&2
done
mergecraft report version.jsonl -o version.html 2> messages && fail 'a report on another version'
cat messages >&2

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
wrong --space 'weights[0]=0:1'
wrong --space 'weights[*]=0:1, weights[1]=0:2'
wrong --space 'scale=0:1' -p scale=2
wrong --space 'scale=nan:1'
wrong --space 'scale=1:1e400'
wrong --space 'scale=.2:.8:int'
wrong --space 'scale=.1|.2|.1'
wrong --space ' , '
wrong --space 'scale=0:1' --trials 0
wrong --space 'scale=0:1' --trials -1
wrong --space 'scaling=mean|median'
wrong --space 'scale=0:1' --strategy nelder
wrong --space 'scale=0:1' --strategy greedy
wrong --space 'scale=0:1' --strategy coordinate --halving 2
wrong --space 'scale=0:1' --objective median
wrong --space 'scale=0:1' --validate 2
wrong --space 'scale=0:1' --eval rte:f2
wrong
for space in 'weights[*]=0:1' 'k@*=0:1' 'models=subset' 'first=0:1'; do
    mergecraft search recipe.yml --eval rte --data examples/models/data --space "$space" \
        --journal wrong.jsonl 2> messages && fail "accepted: $space"
    head -n 1 messages >&2
done
[ ! -e wrong.jsonl ] || fail 'a wrong search wrote a journal'

# What the best merge could only average is reported once: without and with examples that are held
# out, for one that the journal holds, and with a command. Of other trials it is not reported.
averages()
{
    # shellcheck disable=SC2086
    mergecraft search tsvm $models --base examples/models/rte-4 --trials 2 "$@" 2>&1 > /dev/null |
        grep -c 'averaged: rank keeps none of its singular' || true
}
on_rte()
{
    averages --eval rte --data examples/models/data "$@"
}
[ "$(on_rte --space 'rank=0:.01' --journal all.jsonl)" = 1 ] || fail 'averaged tensors'
[ "$(on_rte --space 'rank=0:.01' --journal all.jsonl --resume)" = 1 ] || fail 'averaged, resumed'
[ "$(on_rte --space 'rank=0:.01' --journal out.jsonl --validate .3)" = 1 ] ||
    fail 'averaged tensors, held out'
[ "$(on_rte --space 'rank=0:.01' --journal out.jsonl --validate .3 --resume)" = 1 ] ||
    fail 'averaged tensors, held out and resumed'
[ "$(on_rte --space 'rank=.5:1' --journal none.jsonl)" = 0 ] || fail 'no averaged tensors'
[ "$(averages --space 'rank=0:.01' --journal command.jsonl \
    --objective-command 'test -d {} && echo 1')" = 1 ] ||
    fail 'averaged tensors, command'
# NaN are reported once, although both the best trial and the merge into the output show them.
helper model nan.safetensors w:1x2:nan
helper model one.safetensors w:1x2:1
[ "$(mergecraft search task nan.safetensors one.safetensors --base one.safetensors --trials 2 \
    --space scale=0:1 --journal nan.jsonl --objective-command 'test -d {} && echo 1' \
    -o nan 2>&1 | grep -c '2 NaN')" = 1 ] || fail 'NaN'
# Under strict such trials fail, also if a journal has them from a search that was not strict.
strict_rte()
{
    # shellcheck disable=SC2086
    mergecraft search tsvm $models --base examples/models/rte-4 --trials 2 --eval rte \
        --data examples/models/data --space 'rank=0:.01' --strict -q "$@"
}
expect 1 strict_rte --journal strict.jsonl
expect 1 strict_rte --journal all.jsonl --resume

# A merge that is killed at any moment leaves a whole folder under its name or none (with
# --overwrite: the old or the new one). The next run ends with the same bits and nothing beside
# them. $ROUNDS times, spread over the time that a merge takes.
rounds=${ROUNDS:-20}
# The leak sanitizer complains about threads that end while it looks at them.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
mkdir a b parent
for model in a b; do
    helper model $model/model.safetensors "layer.*:400000x25:${#model}"
    echo '{"model_type": "bert"}' > $model/config.json
    echo '{}' > $model/tokenizer.json
done
model old 7

merge()
{
    mergecraft merge soup a b -o "$@" --overwrite
}

# now: milliseconds.
now()
{
    echo $(($(date +%s%N) / 1000000))
}

whole()
{
    diff -r "$1" parent/out > /dev/null 2>&1
}

merge reference/out -q
started=$(now)
merge reference/out -q
took=$(($(now) - started))

killed=0
resumed=0
for round in $(seq "$rounds"); do
    rm -rf parent
    mkdir parent
    [ $((round % 2)) -eq 0 ] || cp -r old parent/out
    sync=
    [ $((round % 4)) -lt 2 ] || sync=--no-sync
    delay=$(awk -v i="$round" -v n="$rounds" -v t="$took" \
        'BEGIN { srand(); printf "%.4f", (i - rand()) / n * t * 1.1 / 1000 }')
    # shellcheck disable=SC2086
    mergecraft merge soup a b -o parent/out --overwrite -q $sync &
    sleep "$delay"
    kill -s KILL $! 2> /dev/null
    status=0
    wait $! 2> /dev/null || status=$?
    [ "$status" -ne 137 ] || killed=$((killed + 1))
    [ "$status" -eq 137 ] || [ "$status" -eq 0 ] || fail "exit status $status"
    if [ -e parent/out ] || [ "$status" -eq 0 ]; then
        whole reference/out || { [ $((round % 2)) -eq 1 ] && whole old; } ||
            fail "killed after $delay s: what is under the name is not whole"
    elif [ $((round % 2)) -eq 1 ]; then
        fail "killed after $delay s: the old one is gone"
    fi
    [ -z "$(ls -A parent | grep -vx -e out -e .out.merging)" ] ||
        fail "left behind: $(ls -A parent)"
    merge parent/out --json > json || fail "killed after $delay s: the next run fails"
    whole reference/out || fail "killed after $delay s: the next run gives something else"
    [ "$(ls -A parent)" = out ] || fail "left behind by the next run: $(ls -A parent)"
    [ "$(tail -n 1 json | helper json bytes_resumed)" -eq 0 ] || resumed=$((resumed + 1))
done
[ "$killed" -gt 0 ] || fail 'none was killed before its end'
[ "$rounds" -lt 100 ] || [ "$resumed" -gt 0 ] || fail 'no run went on where another one was killed'

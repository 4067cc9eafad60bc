# Baking, merging and extracting adapters that are killed at any moment leave no part of a result
# under its name. The next run, on another number of threads, ends with the same bits. $ROUNDS times
# each, spread over the time that a run takes.
rounds=${ROUNDS:-4}
# The leak sanitizer complains about threads that end while it looks at them.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS

# modules FORMAT: a tensor per block; printf inserts the block.
modules()
{
    for block in 0 1 2 3 4 5; do
        # shellcheck disable=SC2059
        printf "$1 " $block
    done
}

# The values of a tensor count up from the last number, so that the two models differ.
mkdir base tuned lora1 lora2
for model in base tuned; do
    # shellcheck disable=SC2046
    helper model $model/model.safetensors \
        $(modules "model.layers.%d.mlp.up_proj.weight:600x500:${#model}")
    echo '{"model_type": "llama"}' > $model/config.json
done
for i in 1 2; do
    # shellcheck disable=SC2046
    helper model lora$i/adapter_model.safetensors \
        $(modules "base_model.model.model.layers.%d.mlp.up_proj.lora_A.weight:8x500:$i") \
        $(modules "base_model.model.model.layers.%d.mlp.up_proj.lora_B.weight:600x8:1")
    echo '{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["up_proj"]}' \
        > lora$i/adapter_config.json
done

# run VERB OPTIONS...: one of the three.
run()
{
    verb=$1
    shift
    case $verb in
    bake) set -- lora1 lora2 --base base "$@" ;;
    merge) set -- svd lora1 lora2 -p weights=.5,.25 --rank 8 "$@" ;;
    extract) set -- tuned --base base --rank 4 "$@" ;;
    esac
    exec mergecraft lora "$verb" "$@" -q
}

for verb in bake merge extract; do
    started=$(date +%s%N)
    (run $verb -o reference-$verb/out --threads 1) || fail "$verb fails"
    took=$(($(date +%s%N) - started))
    for round in $(seq "$rounds"); do
        rm -rf parent
        mkdir parent
        delay=$(awk -v i="$round" -v n="$rounds" -v t="$took" \
            'BEGIN { srand(); printf "%.4f", (i - rand()) / n * t / 1e9 }')
        run $verb -o parent/out &
        sleep "$delay"
        kill -s KILL $! 2> /dev/null
        status=0
        wait $! 2> /dev/null || status=$?
        [ "$status" -eq 137 ] || [ "$status" -eq 0 ] || fail "$verb: exit status $status"
        [ ! -e parent/out ] || diff -r reference-$verb/out parent/out ||
            fail "$verb, killed after $delay s: what is under the name is not whole"
        (run $verb -o parent/out --overwrite --threads $((1 + round % 3))) ||
            fail "$verb, killed after $delay s: the next run fails"
        diff -r reference-$verb/out parent/out ||
            fail "$verb, killed after $delay s: the next run gives something else"
        [ "$(ls -A parent)" = out ] || fail "$verb: left behind: $(ls -A parent)"
    done
done

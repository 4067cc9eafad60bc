# LoRA adapters: merging, extracting, baking; the same bits on any number of threads; errors.
adapters=$SOURCE/tests/data/adapters
models=$SOURCE/examples/models
plain=plain
cp -r "$adapters/plain/adapter" plain
cp -r "$adapters/patterns/adapter" patterns
cp -r "$adapters/plain/base" base
cp -r "$adapters/dora/adapter" dora
cp -r "$models/rte-1" tuned
cp -r "$models/rte-2" origin

# same A B: the weights of two results.
same()
{
    cmp "$1/adapter_model.safetensors" "$2/adapter_model.safetensors" || fail "$1 and $2 differ"
}

expect 0 mergecraft lora merge cat $plain $plain -p weights=.5,.25 -o cat
expect 0 mergecraft lora merge linear $plain $plain -p weights=.5 --dry-run
expect 0 mergecraft lora merge svd $plain patterns -p weights=1 --rank 2 -o svd --json
expect 0 mergecraft lora merge svd $plain patterns -p weights=1 --rank 2 -o svd-1 --threads 1 -q
same svd svd-1
for method in ties_svd dare_linear_svd knots_ties core_ties; do
    expect 0 mergecraft lora merge $method $plain $plain -p weights=1 -p density=.5 -o $method -q
    mergecraft lora merge $method $plain $plain -p weights=1 -p density=.5 -o $method-1 -q \
        --threads 1
    same $method $method-1
done
expect 0 mergecraft lora merge median $plain patterns plain --energy .9 -o median -q

# Whole tensors are averaged by the weights: .3 · (1, 2) + .7 · (11, 12).
for i in 1 11; do
    mkdir whole$i
    helper model whole$i/adapter_model.safetensors base_model.model.q.lora_A.weight:1x2:1 \
        base_model.model.q.lora_B.weight:2x1:1 base_model.model.head.weight:1x2:$i
    echo '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q"],
           "modules_to_save": ["head"]}' > whole$i/adapter_config.json
done
expect 0 mergecraft lora merge cat whole1 whole11 -p weights=.3,.7 -o whole -q
helper values whole/adapter_model.safetensors base_model.model.head.weight

expect 0 mergecraft lora bake $plain --base base -o baked
mergecraft merge mergekit:passthrough base+$plain -o merged -q
cmp baked/model.safetensors merged/model.safetensors || fail 'baked differs from merged'

expect 0 mergecraft lora extract tuned --base origin --rank 4 -o extracted
mergecraft lora extract tuned --base origin --rank 4 -o extracted-1 --threads 1 -q
same extracted extracted-1
mergecraft lora extract tuned --base origin --rank 4 -o extracted-5 --threads 3 --memory 5MiB -q
same extracted extracted-5
# One tensor alone exceeds the bound.
expect 2 mergecraft lora extract tuned --base origin --rank 4 -o out --memory 1MiB
expect 2 mergecraft lora extract tuned --base origin --energy .5 -o out --memory 1MiB
expect 2 mergecraft lora merge ties_svd $plain -p weights=1 -p density=.5 -o out --memory 2KiB
for method in svd ties_svd knots_ties core_ties median; do
    case $method in
    svd) set -- -p weights=.5 ;;
    median) set -- ;;
    *) set -- -p weights=.5 -p density=.5 ;;
    esac
    mergecraft lora merge $method $plain patterns "$@" --rank 2 -o free-$method -q
    mergecraft lora merge $method $plain patterns "$@" --rank 2 -o bound-$method -q \
        --memory 600KiB --threads 3
    same free-$method bound-$method
done
expect 0 mergecraft lora extract tuned --base origin --energy .5 --max-rank 3 --exact -o energy -q
expect 1 mergecraft lora extract tuned --base tuned -o none
expect 1 mergecraft lora merge cat $plain $plain -p weights=1 -o cat
expect 2 mergecraft lora merge cat $plain $plain -p weights=1 -o $plain --overwrite

# Files of kohya's scripts: one of the same names, with alpha. Adapters of other names do not fit.
kohya=$adapters/plain/kohya.safetensors
cp "$kohya" kohya.safetensors
expect 0 mergecraft lora merge cat kohya.safetensors kohya.safetensors -p weights=.5 -o kohya
ls kohya
helper values kohya/pytorch_lora_weights.safetensors lora_te_text_model_q.alpha
mergecraft lora bake kohya --base base -o from-two -q
mergecraft lora bake kohya.safetensors --base base -o from-one -q
cmp from-two/model.safetensors from-one/model.safetensors || fail 'two halves differ from one'
expect 0 mergecraft lora merge cat kohya.safetensors -p weights=1 -o kohya --overwrite -q
expect 1 mergecraft lora merge cat kohya.safetensors $plain -p weights=1 -o out
mkdir pipeline
echo '{}' > pipeline/model_index.json
expect 1 mergecraft lora bake kohya.safetensors --base pipeline -o out

# What only the values show: float16 holds no factor beyond 65504. Under --strict nothing is left.
# adapter FOLDER A B: one module of rank 1.
adapter()
{
    mkdir "$1"
    helper model "$1/adapter_model.safetensors" "base_model.model.q.lora_A.weight:1x2:$2" \
        "base_model.model.q.lora_B.weight:2x1:$3"
    echo '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q"]}' \
        > "$1/adapter_config.json"
}
adapter large 65520 1
adapter small 1 2
adapter odd nan inf
mkdir zeros huge
helper model zeros/model.safetensors q.weight:2x2:0
helper model huge/model.safetensors q.weight:2x2:1e12
echo '{"model_type": "llama"}' | tee zeros/config.json > huge/config.json
for what in 'merge cat large small -p weights=1' 'extract huge --base zeros' \
    'bake large --base zeros'; do
    rm -rf half
    # shellcheck disable=SC2086
    expect 0 mergecraft lora $what --dtype f16 -o half --json > json
    tail -n +2 json | helper json warnings
    grep -c 'beyond the range' half/mergecraft.json
    # shellcheck disable=SC2086
    expect 1 mergecraft lora $what --dtype f16 -o never --strict
    # shellcheck disable=SC2086
    expect 0 mergecraft lora $what --dtype bf16 -o wide --strict -q --overwrite
done
# Nor does float32 hold any number that is computed.
expect 1 mergecraft lora merge cat large small -p weights=1e38 -o never
# NaN and infinities of inputs.
expect 0 mergecraft lora merge cat small odd -p weights=1 -o not-finite --json > json
tail -n +2 json | helper json warnings
expect 1 mergecraft lora merge cat small odd -p weights=1 -o never --strict
expect 0 mergecraft lora bake odd --base zeros -o baked-odd -q
expect 1 mergecraft lora bake odd --base zeros -o never --strict
[ ! -e never ] || fail 'never was made'
ls -A | grep never && fail 'something of it is left'

expect 2 mergecraft lora
expect 2 mergecraft lora fold $plain -o out
expect 2 mergecraft lora merge cat $plain
expect 2 mergecraft lora merge cat $plain $plain -o out
expect 2 mergecraft lora merge tie $plain $plain -p weights=1 -o out
expect 2 mergecraft lora merge wudi $plain $plain -o out
expect 2 mergecraft lora merge cat $plain $plain -p weights=1 --rank 3 -o out
expect 2 mergecraft lora merge svd $plain $plain -p weights=1 --embeddings -o out
expect 2 mergecraft lora extract tuned -o out
expect 2 mergecraft lora extract tuned --base origin --energy 2 -o out
expect 2 mergecraft lora extract tuned --base origin --max-rank 2 -o out
expect 1 mergecraft lora merge linear $plain cat -p weights=1 -o out
expect 1 mergecraft lora merge svd $plain dora -p weights=1 -o out
expect 1 mergecraft lora merge svd $plain tuned -p weights=1 -o out
sed 's/"r": 2/"r": -2/; s/"lora_alpha": 6/"lora_alpha": "x"/' plain/adapter_config.json > bad.json
cp -r plain bad
mv bad.json bad/adapter_config.json
expect 1 mergecraft lora merge svd bad $plain -p weights=1 -o out
echo '{"peft_type": "LOHA"}' > bad/adapter_config.json
expect 1 mergecraft lora merge svd bad $plain -p weights=1 -o out

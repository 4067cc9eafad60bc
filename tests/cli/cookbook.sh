# The recipes of docs/recipes.md run, and give models with the right number of blocks.
mkdir -p ORG

# llama NAME VALUE: 32 blocks of three matrices.
llama()
{
    set -- "$1" "$2" model.embed_tokens.weight:4x2:1 lm_head.weight:4x2:2 model.norm.weight:1x2:1
    folder=ORG/$1
    value=$2
    shift 2
    block=0
    while [ "$block" -lt 32 ]; do
        for part in self_attn.o_proj mlp.down_proj mlp.up_proj; do
            set -- "$@" "model.layers.$block.$part.weight:2x2:$((value + block))"
        done
        block=$((block + 1))
    done
    mkdir "$folder"
    helper model "$folder/model.safetensors" "$@"
    echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32}' \
        > "$folder/config.json"
}
llama BASE 1
llama MODEL-A 3
llama MODEL-B -5
llama MODEL-C 2
mkdir ORG/ADAPTER
up=base_model.model.model.layers.0.mlp.up_proj
helper model ORG/ADAPTER/adapter_model.safetensors "$up.lora_A.weight:1x2:1" \
    "$up.lora_B.weight:2x1:1"
echo '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["up_proj"]}' \
    > ORG/ADAPTER/adapter_config.json

awk '/^```yaml$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside { print > (n ".yml") }' \
    "$SOURCE/docs/recipes.md"
n=0
while [ -f "$((n + 1)).yml" ]; do
    n=$((n + 1))
    mergecraft merge "$n.yml" -o "merged-$n" -q --strict 2> messages ||
        fail "recipe $n: $(cat messages)"
    blocks=$(helper json num_hidden_layers < "merged-$n/config.json" 2> /dev/null ||
        sed -n 's/.*"num_hidden_layers": \([0-9]*\).*/\1/p' "merged-$n/config.json")
    tensors=$(mergecraft inspect "merged-$n" --json | helper json tensor_count 2> /dev/null ||
        mergecraft inspect "merged-$n" | sed -n 's/^tensors *\([0-9]*\)$/\1/p')
    [ "$tensors" -eq "$((3 + 3 * blocks))" ] || fail "recipe $n: $tensors tensors, $blocks blocks"
done
[ "$n" -ge 12 ] || fail "only $n recipes"

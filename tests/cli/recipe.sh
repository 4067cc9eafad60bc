# Recipes: the same bits as the command line, warnings and errors with their lines, several
# documents.
for i in 1 2 3; do model m$i $i; done

cat > linear.yml <<'END'
merge_method: linear
models:
  - model: m1
    parameters: {weight: 1}
  - model: m2
    parameters: {weight: 3}
dtype: float32
END
expect 0 mergecraft merge linear.yml -o by_recipe -q
expect 0 mergecraft merge mergekit:linear m1 m2 -p weight=1,3 -o by_name -q
cmp by_recipe/model.safetensors by_name/model.safetensors || fail 'a recipe gives other bits'
cmp linear.yml by_recipe/mergekit_config.yml || fail 'the recipe is not in the result'

# Parameters by filter; the base of a task vector.
cat > filters.yml <<'END'
merge_method: task_arithmetic
base_model: m1
models:
  - model: m2
  - model: m3
parameters:
  weight:
    - filter: classifier
      value: 0
    - value: [0.5, 0.25]
END
expect 0 mergecraft merge filters.yml --dry-run

# What has no effect, and where it belongs.
cat > misplaced.yml <<'END'
merge_method: sce
base_model: m1
select_topk: 0.2
dype: float32
models:
  - model: m2
    weight: 1
    parameters: {lambda: 1, select_topk: 0.1}
  - model: m3
dtype: float32
dtype: bfloat16
END
expect 0 mergecraft merge misplaced.yml --dry-run
expect 1 mergecraft merge misplaced.yml --dry-run --strict

# Several documents: stages feed each other.
cat > stages.yml <<'END'
name: half
merge_method: linear
models: [{model: m1}, {model: m2}]
parameters: {weight: 1}
---
merge_method: linear
models: [{model: half}, {model: m3}]
parameters: {weight: 1}
dtype: float32
END
expect 0 mergecraft merge stages.yml -o staged -q
expect 0 mergecraft merge mergekit:linear m1 m2 -p weight=1 -o half -q
expect 0 mergecraft merge mergekit:linear half m3 -p weight=1 -o again -q
cmp staged/model.safetensors again/model.safetensors || fail 'stages give other bits'

# Errors name the line.
wrong()
{
    cat > wrong.yml
    expect 1 mergecraft merge wrong.yml -o never
}
wrong < /dev/null
printf 'models: [m1' | wrong
printf 'merge_method: lineer\nmodels: [{model: m1}]\n' | wrong
printf 'merge_method: pcb\nmodels: [{model: m1}]\n' | wrong
printf 'merge_method: linear\n' | wrong
printf 'merge_method: linear\nmodels:\n  - model: m1\n  - model: m2\n' | wrong
printf 'merge_method: linear\nmodels:\n  - model: m1\n  - model: m1\nparameters: {weight: 1}\n' |
    wrong
printf 'merge_method: slerp\nmodels: [{model: m1}, {model: m2}]\nparameters: {t: 0.5}\n' | wrong
wrong <<'YAML'
merge_method: slerp
base_model: m1
models: [{model: m2}, {model: m3}]
parameters: {t: 0.5}
YAML
printf 'merge_method: linear\nmodels: [{model: 7}]\nparameters: {weight: 1}\n' | wrong
printf 'merge_method: linear\nmodels: [{model: m1}]\nparameters: {weight: abc}\n' | wrong
printf 'merge_method: linear\nmodels: [{model: m1}]\nparameters: {weight: [1, {value: 2}]}\n' |
    wrong
printf 'merge_method: linear\nmodels: [{model: m1}]\nparameters: {weight: 1}\ndtype: int4\n' | wrong
printf 'merge_method: passthrough\nslices:\n- sources: [{model: m1, layer_range: [0, 1]}]\n' | wrong
printf 'merge_method: passthrough\nslices:\n- sources: [{model: m1, layer_range: [3, 1]}]\n' | wrong
printf 'base_model: m1\nexperts: [{source_model: m1}]\n' | wrong
wrong <<'YAML'
name: a
merge_method: linear
models: [{model: b}]
---
name: b
merge_method: linear
models: [{model: a}]
YAML
expect 2 mergecraft merge linear.yml m3 -o never
expect 2 mergecraft merge linear.yml -p weight=1 -o never

# check says the same without a result.
expect 0 mergecraft check linear.yml
expect 0 mergecraft check misplaced.yml
expect 1 mergecraft check misplaced.yml --strict -q
expect 0 mergecraft check stages.yml --json > json
tail -n +2 json | helper json models
expect 1 mergecraft check wrong.yml
expect 0 mergecraft check linear.yml -o new -q
expect 1 mergecraft check linear.yml -o by_name
# What models disagree about, and what cannot be merged.
for i in 1 2; do
    mkdir t$i
    cp m$i/* t$i
    printf '{"eos_token": "<%s>"}' $i > t$i/tokenizer_config.json
    printf -- '---\nlicense: l-%s\n---\n' $i > t$i/README.md
    echo "{{ messages }} template of $i" > t$i/chat_template.jinja
done
cat > conflicts.yml <<'END'
merge_method: linear
base_model: t1
models: [{model: t1}, {model: t2}, {model: m3}]
parameters: {weight: 1}
END
expect 0 mergecraft check conflicts.yml
expect 1 mergecraft check conflicts.yml --strict
sed -i '1i chat_template: auto' conflicts.yml
expect 0 mergecraft check conflicts.yml
cp -r t1 q
echo '{"quantization_config": {"quant_method": "gptq", "bits": 4}}' > q/config.json
sed 's/t2/q/' conflicts.yml > quantised.yml
expect 1 mergecraft check quantised.yml

# A recipe of the base alone is a copy of it.
for method in ties sce; do
    printf 'merge_method: %s\nbase_model: m1\nmodels: [{model: m1}]\n' $method > only.yml
    expect 0 mergecraft merge only.yml -o only-$method -q
    expect 0 helper values only-$method/model.safetensors encoder.weight
done

# Values that a method rejects, and models that cannot be opened, are errors of the recipe.
printf 'merge_method: karcher\nmodels: [{model: m1}, {model: m2}]\nparameters: {max_iter: -1}\n' |
    wrong
wrong <<'END'
merge_method: della
base_model: m3
models:
  - {model: m1, parameters: {epsilon: 0.1}}
  - model: m2
    parameters: {weight: 1, epsilon: -0.6}
parameters: {weight: 1, density: 0.5}
END
printf 'merge_method: linear\nmodels: [{model: m1}, {model: m}, {model: m/4}]\n' | wrong
printf 'merge_method: linear\nmodels: [{model: m1}, {model: m2+m4}]\n' | wrong
printf 'merge_method: linear\nmodels: [{model: m1}, {model: ""}]\n' | wrong
printf 'merge_method: linear\nmodels: [{model: m1}, {model: {model: {path: ""}}}]\n' | wrong

# Local models have no revisions.
printf 'merge_method: linear\nmodels: [{model: m1@main}, {model: m2}]\nparameters: {weight: 1}\n' \
    > revision.yml
expect 0 mergecraft check revision.yml

# Keys of models and tokens.
wrong_key()
{
    cat > key.yml
    expect 0 mergecraft check key.yml
}
wrong_key <<'YAML'
merge_method: linear
base_model: m1
models:
  - {model: m1, revision: v1.0}
  - {model: m2, lora: a}
parameters: {weight: 1}
YAML
wrong_key <<'YAML'
name: 7
merge_method: linear
models:
  - {model: m1, parameters: {weight: [{filters: classifier, value: 2}, {value: 1}]}}
  - {model: m2, parameters: {weight: {filter: "class.*", value: 3}}}
parameters: {weight: [{filter: encodr, value: 1}, {filter: "", value: 2}]}
YAML
expect 1 mergecraft check key.yml --strict

# Results of documents are written to folders: their names must not lead elsewhere.
for name in ../m4 /tmp/m4 a/../b . .. '""' a//b b/; do
    printf 'name: %s\nmerge_method: linear\nmodels: [{model: m1}]\n' "$name" | wrong
done

# A density in percent keeps everything: a warning, once for all tensors.
cat > percent.yml <<'END'
merge_method: ties
base_model: m3
models:
  - {model: m1, parameters: {density: 0.5}}
  - {model: m2, parameters: {density: 50}}
parameters: {weight: 1}
END
expect 0 mergecraft merge percent.yml --dry-run -q
expect 0 mergecraft check percent.yml
expect 1 mergecraft check percent.yml --strict

# Recipes of other tools, and parts of names of methods.
printf 'merge_method: moe\nexperts: [{source_model: m1}]\n' | wrong
printf 'genome: {models: [m1, m2]}\n' | wrong
printf 'merge_method: dare\nbase_model: m1\nmodels: [{model: m2}]\n' | wrong

# Of several merged maps with one key PyYAML takes the last.
cat > merged.yml <<'END'
merge_method: linear
models:
  - {model: m1, parameters: &a {weight: 1}}
  - {model: m2, parameters: &b {weight: 3}}
  - {model: m3, parameters: {<<: [*a, *b]}}
END
expect 0 mergecraft merge merged.yml -o merged -q
expect 0 mergecraft merge mergekit:linear m1 m2 m3 -p weight=1,3,3 -o merged-too -q
cmp merged/model.safetensors merged-too/model.safetensors || fail 'merge keys'
expect 0 mergecraft check merged.yml

# What stages before the last one report is not lost.
cat > quiet.yml <<'END'
name: first
merge_method: linear
models: [{model: m1}, {model: m2}]
parameters: {weight: [{filter: encodr, value: 1}, {value: 2}]}
---
merge_method: linear
models: [{model: first}, {model: m3}]
parameters: {weight: 1}
END
expect 0 mergecraft check quiet.yml

# Weights that sum to zero are found before the merge, with the tensor's own filters.
printf 'merge_method: linear\nmodels: [{model: m1}, {model: m2}]\nparameters: {weight: 0}\n' | wrong
wrong <<'YAML'
merge_method: multislerp
models: [{model: m1, parameters: {weight: 1}}, {model: m2, parameters: {weight: -1}}]
YAML
printf 'merge_method: linear\nmodels: [{model: m1}]\nparameters: {weight: 1}\ntokenizer: union\n' |
    wrong

# Depths of models that are stacked may differ.
deep()
{
    model "$1" 1
    printf '{"model_type": "llama", "num_hidden_layers": %s}' "$2" > "$1/config.json"
    helper model "$1/model.safetensors" model.layers.0.w:1x1:1 model.layers.1.w:1x1:2 $3
}
deep two 2
deep three 3 model.layers.2.w:1x1:3
cat > deeper.yml <<'END'
merge_method: passthrough
slices:
  - sources: [{model: two, layer_range: [0, 2]}]
  - sources: [{model: three, layer_range: [1, 3]}]
END
expect 0 mergecraft merge deeper.yml --strict -o deeper -q
expect 0 grep -o '"num_hidden_layers": [0-9]*' deeper/config.json

# Tensors that models lack are reported by every method, and so are holes in a stack.
part()
{
    model "$1" 1
    echo '{"model_type": "llama", "num_hidden_layers": 2}' > "$1/config.json"
    name=$1
    shift
    helper model "$name/model.safetensors" "$@"
}
part full model.layers.0.w:1x2:1 model.layers.1.w:1x2:2 model.layers.1.v:1x2:3 \
    model.norm.weight:1x2:4
part some model.layers.0.w:1x2:1 model.layers.1.w:1x2:2
cat > holes.yml <<'END'
merge_method: passthrough
slices:
  - sources: [{model: full, layer_range: [0, 1]}]
  - sources: [{model: some, layer_range: [1, 2]}]
END
expect 0 mergecraft check holes.yml
expect 1 mergecraft merge holes.yml --strict -o never
# The NaN of a block that a stack has twice count once.
part holed model.layers.0.w:1x2:nan model.layers.1.w:1x2:2
cat > twice.yml <<'END'
merge_method: linear
parameters: {weight: 1}
slices:
  - sources: [{model: holed, layer_range: [0, 1]}, {model: full, layer_range: [0, 1]}]
  - sources: [{model: holed, layer_range: [0, 1]}, {model: full, layer_range: [0, 1]}]
END
expect 0 mergecraft merge twice.yml -o twice -q --json > json
tail -n +2 json | helper json warnings
for method in 'slerp 0' 'nearswap 0'; do
    printf 'merge_method: %s\nbase_model: full\nmodels: [{model: some}]\nparameters: {t: %s}\n' \
        $method > lacks.yml
    expect 0 mergecraft check lacks.yml
    expect 1 mergecraft check lacks.yml --strict
done

# Shapes and kinds of values that differ are errors at the model.
part wide model.layers.0.w:1x3:1 model.layers.1.w:1x2:2
part whole model.layers.0.w:1x2:1 model.layers.1.w:1x2:2
sed -i 's/F32/I32/' whole/model.safetensors
for other in wide whole; do
    printf 'merge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: some\n- model: %s\n' \
        $other | wrong
done

# The base of a slice, not that of the recipe.
wrong <<'YAML'
merge_method: ties
base_model: full
parameters: {weight: 1}
slices:
  - base_model: wide
    sources: [{model: wide, layer_range: [0, 1]}, {model: some, layer_range: [0, 1]}]
  - sources: [{model: full, layer_range: [1, 2]}, {model: some, layer_range: [1, 2]}]
YAML

# As in mergekit, a base of a wider dtype widens the result.
expect 0 mergecraft merge mergekit:passthrough some --dtype bfloat16 -o narrow -q
cat > dtypes.yml <<'END'
merge_method: ties
base_model: some
models: [{model: narrow, parameters: {weight: 1}}]
END
expect 0 mergecraft merge dtypes.yml --dry-run

expect 2 mergecraft check

# Filters see the tensors of experts under their names in files, and under mergekit's.
mkdir moe
experts=model.layers.0.block_sparse_moe
helper model moe/model.safetensors "$experts.gate.weight:1x2:1" \
    "$experts.experts.0.w1.weight:1x2:10" "$experts.experts.0.w2.weight:1x2:20" \
    "$experts.experts.0.w3.weight:1x2:30" model.layers.0.self_attn.o_proj.weight:1x2:40 \
    model.layers.0.mlp.experts.7.down_proj.weight:1x2:50 model.norm.weight:1x2:60
echo '{"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}' > moe/config.json
cat > experts.yml <<'END'
merge_method: passthrough
models: [{model: moe}]
parameters:
  scale:
    - {filter: w3, value: 2}
    - {filter: mlp.experts.gate_up_proj, value: 3}
    - {filter: experts.down_proj, value: 4}
    - {filter: 0.mlp.gate, value: 5}
    - {filter: mlp.experts.w, value: 6}
    - {filter: layers.0.mlp.gate.weights, value: 6}
    - {value: 1}
END
mergecraft merge experts.yml -o experts -q || fail 'the filters of experts'
for tensor in "$experts.gate" "$experts.experts.0.w1" "$experts.experts.0.w2" \
    "$experts.experts.0.w3" model.layers.0.self_attn.o_proj \
    model.layers.0.mlp.experts.7.down_proj model.norm; do
    helper values experts/model.safetensors "$tensor.weight"
done > values
printf '5 10\n30 33\n80 84\n60 62\n40 41\n200 204\n60 61\n' | cmp - values ||
    fail 'a filter does not match the tensors of experts'

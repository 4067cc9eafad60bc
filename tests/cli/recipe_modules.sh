# Recipes with modules: encoder-decoder and multimodal models, slices of their blocks, what the
# configuration says of them, and modules that are not listed.
encoder_decoder()
{
    mkdir -p "$1"
    helper model "$1/model.safetensors" "shared.weight:1x1:$2" \
        "encoder.block.0.w.weight:1x1:$(($2 + 1))" "encoder.block.1.w.weight:1x1:$(($2 + 2))" \
        "encoder.final_layer_norm.weight:1x1:$(($2 + 3))" \
        "decoder.block.0.w.weight:1x1:$(($2 + 4))" "decoder.block.1.w.weight:1x1:$(($2 + 5))"
    echo '{"model_type": "t5", "num_layers": 2, "eos_token_id": [1, 2]}' > "$1/config.json"
}
encoder_decoder a 10
encoder_decoder b 20

cat > encoder.yml <<'END'
merge_method: passthrough
modules:
  encoder:
    slices:
      - sources: [{model: a, layer_range: [0, 2]}]
      - sources: [{model: b, layer_range: [1, 2]}]
END
expect 0 mergecraft merge encoder.yml -o encoder
for name in shared encoder.block.0.w encoder.block.1.w encoder.block.2.w encoder.final_layer_norm \
    decoder.block.0.w decoder.block.1.w; do
    expect 0 helper values encoder/model.safetensors $name.weight
done
# The decoder has as many blocks as before, and a list of tokens is no list of blocks.
expect 0 grep -E '_layers|\[|1|2|\]' encoder/config.json

cat > both.yml <<'END'
merge_method: linear
modules:
  encoder: {models: [{model: a, parameters: {weight: [1, 0]}}, {model: b, parameters: {weight: 1}}]}
  default: {models: [{model: a}, {model: b}], parameters: {weight: 1}}
END
expect 0 mergecraft merge both.yml -o both
for name in shared encoder.block.0.w encoder.block.1.w decoder.block.1.w; do
    expect 0 helper values both/model.safetensors $name.weight
done

multimodal()
{
    mkdir -p "$1"
    helper model "$1/model.safetensors" "language_model.model.embed_tokens.weight:1x1:$2" \
        "language_model.model.layers.0.w.weight:1x1:$(($2 + 1))" \
        "language_model.model.layers.1.w.weight:1x1:$(($2 + 2))" \
        "vision_tower.encoder.layers.0.w.weight:1x1:$(($2 + 3))" \
        "vision_tower.encoder.layers.1.w.weight:1x1:$(($2 + 4))" \
        "vision_tower.encoder.layers.2.w.weight:1x1:$(($2 + 5))" \
        "multi_modal_projector.weight:1x1:$(($2 + 6))"
    cat > "$1/config.json" <<'END'
{
  "model_type": "seen",
  "text_config": {
    "num_hidden_layers": 2,
    "layer_types": ["full", "sliding"],
    "mlp_only_layers": [1]
  },
  "vision_config": {
    "depth": 3
  }
}
END
}
multimodal c 30
multimodal d 40
cat > seen.yml <<'END'
merge_method: passthrough
modules:
  text_decoder:
    slices:
      - sources: [{model: c, layer_range: [1, 2]}]
      - sources: [{model: d, layer_range: [0, 2]}]
  vision_tower:
    slices: [{sources: [{model: d, layer_range: [1, 3]}]}]
  multi_modal_projector:
    slices: [{sources: [{model: d, layer_range: [0, 0]}]}]
END
expect 0 mergecraft merge seen.yml -o seen
for name in language_model.model.embed_tokens language_model.model.layers.0.w \
    language_model.model.layers.2.w vision_tower.encoder.layers.1.w multi_modal_projector; do
    expect 0 helper values seen/model.safetensors $name.weight
done
expect 0 cat seen/config.json

# Modules by the beginning of names.
sed 's/text_decoder/language_model/; s/vision_tower:/vision_tower.encoder:/' seen.yml > prefix.yml
expect 0 mergecraft merge prefix.yml -o prefix -q
cmp prefix/model.safetensors seen/model.safetensors || fail 'a prefix is another module'
cmp prefix/config.json seen/config.json || fail 'a prefix has another configuration'

# Filters see the tensors of their own module and slice.
cat > filters.yml <<'END'
merge_method: passthrough
modules:
  encoder:
    slices:
      - sources: [{model: a, layer_range: [0, 1]}]
        parameters: {scale: [{filter: block.0, value: 1}, {filter: block.1, value: 2}]}
      - sources: [{model: b, layer_range: [0, 1]}]
    parameters: {scale: [{filter: encoder, value: 1}, {filter: decoder, value: 3}]}
  decoder: {slices: [{sources: [{model: b, layer_range: [0, 1]}]}]}
parameters: {scale: [{filter: encoder, value: 4}, {filter: decoder, value: 1}]}
END
expect 0 mergecraft check filters.yml

wrong()
{
    cat > wrong.yml
    expect 1 mergecraft merge wrong.yml -o never
}
# Slices of a model with two stacks, a module that does not exist, no blocks of one that has some.
printf 'merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n' | wrong
sed 's/vision_tower/video_tower/' seen.yml | wrong
sed 's/\[1, 3\]/[0, 0]/' seen.yml | wrong
sed 's/\[1, 3\]/[1, 4]/' seen.yml | wrong

# Modules of sentence-transformers have folders of their own, and are merged as the model is; one
# that a model lacks is copied.
dense()
{
    mkdir -p "$1/2_Dense"
    helper model "$1/model.safetensors" "embeddings.weight:1x2:$2"
    helper model "$1/2_Dense/model.safetensors" "linear.weight:1x2:$2"
    echo '{"model_type": "bert"}' > "$1/config.json"
    echo '[{"idx": 0, "path": ""}, {"idx": 1, "path": "2_Dense"}]' > "$1/modules.json"
}
dense s 0
dense t 8
cat > dense.yml <<'END'
merge_method: linear
models: [{model: s, parameters: {weight: 1}}, {model: t, parameters: {weight: 3}}]
END
expect 0 mergecraft merge dense.yml -o dense --strict
expect 0 helper values dense/2_Dense/model.safetensors linear.weight
# A filter may be one of tensors in such a folder only.
sed 's/weight: 1/weight: [{filter: linear., value: 3}, {value: 1}]/' dense.yml > filter.yml
expect 0 mergecraft merge filter.yml -o filtered --strict
expect 0 helper values filtered/model.safetensors embeddings.weight
expect 0 helper values filtered/2_Dense/model.safetensors linear.weight
rm -r t/2_Dense
expect 0 mergecraft merge dense.yml -o copied
expect 0 helper values copied/2_Dense/model.safetensors linear.weight
expect 1 mergecraft merge dense.yml -o strict --strict

# What cannot be done is exit 1, with a line that names file and tensor, what was expected and what
# was found.
model a 1
model b 2
helper model other.safetensors encoder.weight:3x3:0 classifier.weight:1x2:0
mkdir empty
printf 'not a checkpoint' > text
head -c 40 a/model.safetensors > cut.safetensors
head -c 170 a/model.safetensors > cut2.safetensors
expect 1 mergecraft inspect empty
# Folders with weights that other programs load.
for file in tf_model.h5 flax_model.msgpack b-Q4.gguf consolidated.00.pth pytorch_model_fsdp.bin; do
    mkdir "of-$file"
    touch "of-$file/$file" "of-$file/optimizer.pt"
    expect 1 mergecraft inspect "of-$file"
done
mkdir -p of-deepspeed/global_step10
expect 1 mergecraft inspect of-deepspeed
touch empty/z.gguf empty/a.gguf empty/model.onnx
expect 1 mergecraft inspect empty
expect 1 mergecraft inspect text
expect 1 mergecraft inspect cut.safetensors
expect 1 mergecraft inspect cut2.safetensors
expect 1 mergecraft merge median a other.safetensors -o out
expect 1 mergecraft merge --json median a other.safetensors -o out
printf '{' > b/config.json
expect 1 mergecraft inspect b
mkdir out
expect 1 mergecraft merge median a -o out
expect 1 mergecraft merge median a -o text/out
expect 0 mergecraft merge -q median a -o deep/down/out
[ -z "$(ls -A out)" ] || fail 'the folder was written to'

# A model inside PEFT, saved without merging; an architecture that has such layers of its own.
mkdir inside
helper model inside/model.safetensors q.base_layer.weight:2x2:1 q.lora_A.default.weight:1x2:1 \
    q.lora_B.default.weight:2x1:1
expect 1 mergecraft merge soup inside inside -o out
echo '{"speech_lora": {"r": 1}}' > inside/config.json
expect 0 mergecraft merge soup inside inside -o own -q
# Parameters without a sensible default, and add-ons that could not be told apart.
expect 2 mergecraft merge cabs a --base a -o out
expect 2 mergecraft merge task a --base a --then boost --then lines --then boost -o out

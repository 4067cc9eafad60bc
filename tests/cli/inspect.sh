# What is in a checkpoint.
model a 1
expect 0 mergecraft inspect a
expect 0 mergecraft inspect --summary a
expect 0 mergecraft inspect a/model.safetensors --summary
expect 0 mergecraft inspect a --json
expect 0 mergecraft inspect a --json --summary
expect 0 mergecraft inspect -v --summary a
rm a/config.json
expect 0 mergecraft inspect a --summary

# What was ignored when the model was opened.
cp -r a noted
echo '{"weight_map": {"encoder.weight": "gone.safetensors"}}' > noted/model.safetensors.index.json
expect 0 mergecraft inspect noted --summary
expect 0 mergecraft inspect noted --summary --json | tail -n +2 > json
helper json notes < json
expect 0 mergecraft inspect noted --summary -q

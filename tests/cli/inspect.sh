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

# What is noticed and not an error is a warning; an error with --strict; nothing with --quiet.
model a 1
model b 2
helper model extra.safetensors encoder.weight:2x3:3 classifier.weight:1x2:3 pooler.weight:1x2:5
expect 0 mergecraft merge median a b extra.safetensors -o out
expect 0 helper values out/model.safetensors pooler.weight
expect 0 mergecraft merge median a b extra.safetensors -o quiet -q
expect 0 mergecraft merge median a b extra.safetensors -o out2 --json > json
tail -n +2 json | helper json warnings
expect 1 mergecraft merge median a b extra.safetensors -o strict --strict
# A pattern that fits nothing.
expect 0 mergecraft merge median a b -o out3 --passthrough 'classifer.*' --passthrough 'encoder.*'
expect 1 mergecraft merge median a b -o strict --passthrough 'classifer.*' --strict
[ ! -e strict ] || fail 'strict was made'

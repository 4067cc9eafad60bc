# What a merge makes, and what it says.
for i in 1 2 3 4 5; do model m$i $i; done
mkdir "with blank"
model "with blank/a" 7
expect 0 mergecraft merge median m1 m2 m3 m4 m5 -o out
expect 0 helper values out/model.safetensors encoder.weight
expect 0 helper values out/model.safetensors classifier.weight
ls out
expect 1 mergecraft merge median m1 m2 m3 -o out
expect 0 mergecraft merge median m1 m2 m3 -o out --overwrite
expect 0 helper values out/model.safetensors encoder.weight
expect 0 mergecraft merge -o out2 median m1 --passthrough 'classifier.*' m2 m4 m5 -q
expect 0 helper values out2/model.safetensors encoder.weight
expect 0 helper values out2/model.safetensors classifier.weight
expect 0 mergecraft merge -q --output=out3 --passthrough=cl* --passthrough encoder* -- \
    median m1 m2 m4
expect 0 helper values out3/model.safetensors encoder.weight
expect 0 mergecraft merge mergecraft:median "with blank/a" -qo "with blank/b"
expect 0 helper values "with blank/b/model.safetensors" encoder.weight
expect 0 mergecraft merge -q median m1/model.safetensors m2/model.safetensors -oout4
expect 0 helper values out4/model.safetensors encoder.weight

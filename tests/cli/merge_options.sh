# Options that change how a merge is done do not change the values, and those that change the result do so.
for i in 1 2 3; do model m$i $i; done
for option in '--threads 1' '--threads=3' '--memory 1MiB' '--memory 64KB' --no-sync --strict '--seed 7' \
    '--shard-size 1TB' '--dtype f32' '--dtype float32'; do
    rm -rf out
    # shellcheck disable=SC2086
    expect 0 mergecraft merge -q median m1 m2 m3 -o out $option
    expect 0 helper values out/model.safetensors encoder.weight
done
for dtype in f16 bf16 BF16; do
    expect 0 mergecraft merge -q median m1 m2 m3 -o $dtype --dtype $dtype
    expect 0 mergecraft inspect $dtype --summary
done
expect 0 mergecraft merge -q median m1 m2 m3 -o shards --shard-size 24
ls shards
expect 0 mergecraft merge -v median m1 m2 -o out_v
expect 0 mergecraft merge -qv median m1 m2 -o out_qv

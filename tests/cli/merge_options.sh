# Options that change how a merge is done do not change the values, and those that change the result
# do so.
for i in 1 2 3; do model m$i $i; done
for option in '--threads 1' '--threads=3' '--memory 1MiB' '--memory 64KB' --no-sync --strict \
    '--seed 7' \
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
# How far so small a merge is may be said or not: it is over at once.
expect 0 mergecraft merge -v median m1 m2 -o out_v 2> said
grep '^note:' said >&2
expect 0 mergecraft merge -qv median m1 m2 -o out_qv

# The seed decides what a random method draws, and nothing else does.
for i in 0 1 2; do
    mkdir big$i
    helper model big$i/model.safetensors encoder.weight:100x100:$i
done
random()
{
    mergecraft merge dare big1 big2 --base big0 -q --overwrite -o random "$@" || fail "dare $*"
    cat random/model.safetensors
}
random --seed 1 > first
random --seed 1 --threads 1 --memory 64KB | cmp - first || fail 'the same seed gives another result'
random > without
random --seed 0 | cmp - without || fail '0 is not the default'
for seed in 2 18446744073709551615; do
    random --seed $seed | cmp -s - first && fail "seed $seed gives the result of seed 1"
done
expect 0 mergecraft merge median m1 m2 m3 --base m1 -o with_base
expect 0 helper values with_base/model.safetensors encoder.weight

# Reading the models for statistics of all tensors counts as progress: 32 bytes are written.
model s 1
model t 2
model u 3
expect 0 mergecraft merge ties t u --base s -p trim=model --threads 1 -v -o surveyed 2> progress
grep -q '^ *100 % .*finishing' progress || fail "$(cat progress)"
! grep -q 'of 32 B' progress || fail "$(cat progress)"

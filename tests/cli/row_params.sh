# Parameters of blocks, roles and patterns of names: each tensor has the bits that its value gives.
ln -s "$SOURCE/examples/models" models

task()
{
    mergecraft merge task models/rte-[1-3] --base models/base -q "$@" || fail "exit status $?"
}

# differing A B: the tensors whose values differ.
differing()
{
    mergecraft compare "$1" "$2" --by tensor | sed -n 's/^bert\.\([^ ]*\) .*/\1/p'
}

# The tensors of `mixed` that differ from scale=1, which must have the bits of scale=.5.
task -p scale=1 -o one
task -p scale=.5 -o half
halved()
{
    differing one mixed > chosen
    differing half mixed > others
    grep -xFf chosen others && fail "$1: neither scale=1 nor scale=.5"
    echo "$1:" $(cat chosen)
    rm -r mixed
}
for where in 1/mlp embedding 0-1/attention-out '*.[01].output.dense.*' pooler; do
    case $where in
    pooler) task -p scale=1 -p 'scale@bert.pooler.*=.5' -o mixed ;;
    *) task -p scale=1 -p "scale@$where=.5" -o mixed ;;
    esac
    halved "$where"
done
# If several match a tensor, the last applies; the value of all others may stand anywhere.
task -p scale@1=2 -p scale@1/norm=3 -p 'scale@*=1' -p scale@1=.5 -p scale@1/mlp=1 -p scale=1 \
    -o mixed
cp -r mixed recorded
halved 'overridden'
mergecraft merge --from recorded/mergecraft.json -o again -q || fail "exit status $?"
cmp recorded/model.safetensors again/model.safetensors || fail '--from gives another merge'
rm -r again

# The record and the card have them.
task -p scale=1 -p 'weights[2]@1/mlp=.5' -p 'weights@0/norm=1,2,3' -o mixed
grep -o '"[a-z]*\(\[2\]\)*@[^,]*' mixed/mergecraft.json
grep '@' mixed/README.md

# Searches over them: one dimension per block, role and model.
mergecraft search task models/rte-[1-3] --base models/base --eval rte --data models/data \
    --space 'scale@*=.5:1.5, weights[*]@mlp=0:1, scale@embedding=.5|1' --trials 2 -q \
    --journal blocks.jsonl -o best > /dev/null || fail "exit status $?"
sed -n '2s/.*"parameters":\({[^}]*}\).*/\1/p' blocks.jsonl
params=$(sed -n '$s/.*"parameters":{\([^}]*\)}.*/\1/p' blocks.jsonl | tr -d '"' | tr ':,' '= ')
# Its best merge is the merge with these parameters.
set --
for param in $params; do set -- "$@" -p "$param"; done
task "$@" -o again
cmp best/model.safetensors again/model.safetensors || fail 'search and merge differ'

# Mistakes.
wrong()
{
    mergecraft merge "$@" -o wrong 2> messages && fail "accepted: $*"
    head -n 1 messages >&2
}
set -- models/rte-[1-3] --base models/base
wrong task "$@" -p scale@1/mpl=.5
wrong task "$@" -p scale@7=.5
wrong task "$@" -p scale@=.5
wrong task "$@" -p scale@5-3=.5
wrong task "$@" -p skale@1=.5
wrong task "$@" -p scale@1=x
wrong task "$@" -p 'weights[4]@1=1'
wrong ties "$@" -p trim=model -p k@0=.3
mergecraft search task "$@" --eval rte --data models/data --space 'scale@9=0:1' --trials 2 \
    --journal none.jsonl 2> messages && fail 'no such block'
cat messages >&2

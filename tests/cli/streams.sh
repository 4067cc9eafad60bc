# Standard output that cannot be written is an error; a reader that leaves is none; a name cannot
# steer a terminal.
model a 1
model b 2
esc=$(printf '\033')
expect 1 sh -c 'mergecraft inspect a >&-'
expect 1 sh -c 'mergecraft inspect a > /dev/full'
expect 1 sh -c 'mergecraft inspect a --json > /dev/full'
expect 1 sh -c 'mergecraft --help > /dev/full'
expect 1 sh -c 'mergecraft merge median a b -o out >&-'
expect 0 helper values out/model.safetensors encoder.weight
expect 0 sh -c 'mergecraft merge median a b -o out2 -q <&- >&- 2>&-'
expect 0 helper values out2/model.safetensors encoder.weight

helper model many.safetensors 'layer.*:1x3000:0'
{
    status=0
    mergecraft inspect many.safetensors || status=$?
    echo $status > status
} | head -n 1
[ "$(cat status)" = 141 ] || fail "exit status $(cat status)"

mkdir c
helper model c/model.safetensors "a${esc}[31mred:1x1:0"
expect 0 mergecraft inspect c
hostile()
{
    "$@" "no${esc}[31mred" a -o out3
}
expect 1 hostile mergecraft merge median
expect 2 hostile mergecraft merge

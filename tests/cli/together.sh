# Two merges into the same folder at once: one of them makes it, whole; the other one says why it
# did not, or comes after it.
mkdir a b
helper model a/model.safetensors 'layer.*:200000x5:1'
helper model b/model.safetensors 'layer.*:200000x5:3'
mergecraft merge -q soup a b -o reference/out

# both OPTION: how they end, in $first and $second.
both()
{
    mergecraft merge -q soup a b -o parent/out $1 2> said1 &
    one=$!
    mergecraft merge -q soup a b -o parent/out $1 2> said2 &
    other=$!
    first=0
    second=0
    wait $one || first=$?
    wait $other || second=$?
    [ $((first * second)) -eq 0 ] || fail "both fail: $(cat said1 said2)"
    for status in $first $second; do
        [ "$status" -le 1 ] || fail "exit status $status: $(cat said1 said2)"
    done
    [ -z "$(cat said1 said2 | grep -v -e 'another merge is writing' \
        -e 'exists already' -e 'File exists' -e '^hint: ')" ] ||
        fail "$(cat said1 said2)"
    [ "$(cat said1 said2 | grep -vc '^hint: ')" -eq $((first + second)) ] ||
        fail "$(cat said1 said2)"
    [ "$(ls -A parent)" = out ] || fail "left behind: $(ls -A parent)"
    diff -r reference/out parent/out > differences || fail "$(cat differences)"
}

for round in 1 2 3 4 5 6; do
    rm -rf parent
    both ''
    [ $((first + second)) -eq 1 ] || fail 'both are done, without --overwrite'
    both --overwrite
done

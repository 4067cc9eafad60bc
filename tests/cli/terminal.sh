# A bar and colours on a terminal only, and no wider than it.
model a 1
model b 2
esc=$(printf '\033')
expect 0 helper terminal 80 mergecraft inspect a --summary > plain
grep -q "$esc" plain && fail 'colours without a title'
expect 0 helper terminal 80 mergecraft inspect a > coloured
grep -q "$esc\[1mTENSOR" coloured || fail 'no colours on a terminal'
NO_COLOR=1 helper terminal 80 mergecraft inspect a > plain
grep -q "$esc" plain && fail 'colours in spite of NO_COLOR'
TERM=dumb helper terminal 80 mergecraft inspect a > plain
grep -q "$esc" plain && fail 'colours on a dumb terminal'
for columns in 10 25 40 80 200; do
    rm -rf out
    helper terminal $columns mergecraft merge median a b -o out > shown || fail "exit status $?"
    tr '\r' '\n' < shown | sed "s/$esc\[K//" > lines
    grep '%' lines | awk -v columns=$columns 'length >= columns { exit 1 }' ||
        fail 'a bar is too wide'
    tail -n 1 shown | grep -q "$esc\[Kout: 2 tensors" || grep -q '^out: 2 tensors' lines ||
        fail 'no summary'
done
rm -rf out
helper terminal 80 mergecraft merge median a b -o out -q > shown
[ ! -s shown ] || fail 'something is shown in spite of --quiet'

# Where predictions can be written to. What cannot be is found before anything is merged or scored.
ln -s "$SOURCE/examples/models" models
head -n 4 models/data/validation.tsv > data.tsv
score()
{
    mergecraft eval models/rte-1 rte --data data.tsv --predictions "$@"
}
# Probabilities differ from CPU to CPU in digits that are not shown here.
digits()
{
    sed -E 's/(0\.[0-9]{2})[0-9]*/\1/g; s/ in [0-9.]* s:/ in * s:/'
}
score lines -q > /dev/null
# Standard output, whatever it is; a pipe; a device. By links, so that a command that replaces them
# does no harm.
ln -s /proc/self/fd/1 stdout
score stdout | digits
score stdout > file || fail "exit status $?"
digits < file
head -n 3 file | cmp - lines || fail 'standard output has other lines'
mkfifo pipe
cat pipe > through &
score pipe > /dev/null
wait
cmp through lines || fail 'the pipe has other lines'
[ -p pipe ] || fail 'the pipe was replaced'
ln -s /dev/full full
expect 1 score full
[ -L full ] && [ -L stdout ] || fail 'a device was replaced'
# A link stays, and what it leads to is replaced.
mkdir other
echo old > other/lines
ln -s other/lines link
expect 1 score link
[ "$(cat other/lines)" = old ] || fail 'a file was replaced without --overwrite'
score link --overwrite > /dev/null
[ -L link ] && cmp other/lines lines || fail 'the link was replaced'
[ "$(ls -A other)" = lines ] || fail "left behind: $(ls -A other)"

# What cannot be written.
cp data.tsv kept
expect 1 score no/such/file
expect 1 score other
expect 2 score ''
expect 2 score -
expect 2 score ./data.tsv
cmp kept data.tsv || fail 'the examples were replaced'
expect 1 mergecraft merge soup models/rte-1 models/rte-2 --eval rte --data data.tsv \
    --predictions no/such/file -o out
expect 2 mergecraft merge soup models/rte-1 models/rte-2 --eval rte --data data.tsv \
    --predictions data.tsv -o out
[ ! -e out ] || fail 'out was made'

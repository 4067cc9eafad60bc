# What the demo models say of texts.
ln -s "$SOURCE/examples/models" models

# Probabilities differ from CPU to CPU in digits that are not shown here.
shows()
{
    expect 0 "$@" > shown
    sed -E 's/([01]\.[0-9]{2})[0-9]*/\1/g' shown
}
shows mergecraft classify models/rte-1 'Every surgeon slept.' 'A medic slept.'
shows mergecraft classify models/rte-1 'Every surgeon slept.' 'A medic slept.' --top-k 1
shows mergecraft classify models/rte-1 'Every surgeon slept.' --json
shows mergecraft classify models/rte-1 ''
printf '%s\t%s\n%s\t%s\r\n\nA medic slept.' 'Every surgeon slept.' 'A medic slept.' \
    'No surgeon slept.' 'A medic slept.' > lines
shows mergecraft classify models/rte-1 --top-k 1 < lines
shows mergecraft classify models/rte-1 < lines
shows mergecraft classify models/rte-1 --json < lines
shows mergecraft classify models/rte-1 < /dev/null
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "surgeon " }' > long
shows mergecraft classify models/rte-1 --top-k 1 < long
shows mergecraft classify models/rte-1 --top-k 1 -q < long
printf '\377\376 broken \300 text\n' > broken
shows mergecraft classify models/rte-1 --top-k 1 < broken
# More lines than are computed at a time: the same as one by one.
yes 'Every surgeon slept.	A medic slept.' | head -n 600 > many
mergecraft classify models/rte-1 < many | sort -u | sed -E 's/([01]\.[0-9]{2})[0-9]*/\1/g'
# Ctrl-C while it waits for more lines, as at a terminal, ends it: it has printed what it was given.
mkfifo pipe
(
    status=0
    sh -c 'echo $$ > pid; exec env --default-signal=INT \
        mergecraft classify models/rte-1 < pipe > answers' || status=$?
    echo $status > status
) &
exec 8> pipe
head -n 256 many >&8
answered()
{
    [ "$(wc -l < answers)" -eq 256 ]
}
wait_until answered
sleep .2
kill -s INT "$(cat pid)"
wait_until test -s status
exec 8>&-
cat status
expect 1 mergecraft classify no-such-model text
expect 1 mergecraft classify models/base text
expect 2 mergecraft classify
expect 2 mergecraft classify models/rte-1 a b c
expect 2 mergecraft classify models/rte-1 a --top-k 0

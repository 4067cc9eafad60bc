# Every strategy finds a planted optimum, through --objective-command, in a number of trials.
model base 1
model a 2
model b 5

# The best is at k = 0.2, scale = 1.1; coordinates are scaled to the width of their ranges.
cat > score.sh <<'END'
echo "$MERGECRAFT_PARAMETERS" |
    awk -F '[:,}]' '{ print "score"; print -(($2 - .2) / .45) ^ 2 - (($4 - 1.1) / 1.7) ^ 2 }'
END

# finds STRATEGY TRIALS DISTANCE [LEVELS]: in units of the width of the ranges
finds()
{
    rm -f found.jsonl
    mergecraft search ties a b --base base --space "k=.05:.5${4-}, scale=.3:2${4-}" --seed 1 \
        --strategy "$1" --trials "$2" --objective-command 'sh score.sh {}' \
        --journal found.jsonl -q > found || fail "$1: exit status $?"
    sed 's/.*score \(-\{0,1\}[^:]*\):.*/\1/' found |
        awk -v distance="$3" '{ exit -$1 > distance * distance }' || fail "$1: $(cat found)"
    [ "$(grep -c '"type":"trial"' found.jsonl)" -eq "$2" ] || fail "$1: another number of trials"
}
finds random 64 .1
finds grid 49 .1 :7
finds coordinate 30 .02
finds crs 60 .1
finds esch 120 .15
finds nelder-mead 30 .02
finds bobyqa 15 .01

# From the weights of the merged model: scale = 0.8 gives 1 + 0.8 * 2.5 = 3 as the first element.
mergecraft search task a b --base base --space 'scale=0:2' --strategy bobyqa --trials 15 \
    --objective-command 'helper values {}/model.safetensors encoder.weight | cut -d " " -f 1 |
        awk "{ print (\$1 - 3) ^ 2 }"' --minimize --journal weights.jsonl -o best -q > found ||
    fail "exit status $?"
helper values best/model.safetensors encoder.weight | awk '{ exit ($1 - 3) ^ 2 > 1e-4 }' ||
    fail "from weights: $(cat found)"

# A search in the command of a search: each command sees the values of its own trial.
cat > inner.sh <<'END'
mergecraft search task a b --base base --space 'scale=1:2:2' --strategy grid \
    --journal inner.jsonl -q > nested \
    --objective-command 'echo "$MERGECRAFT_PARAMETERS" >> inner; echo 1 {} | cut -c 1'
rm inner.jsonl
echo "$MERGECRAFT_PARAMETERS" | tr -c '0-9.\n' ' '
END
mergecraft search task a b --base base --space 'scale=.25:.75:2' --strategy grid \
    --objective-command 'sh inner.sh {}' --journal outer.jsonl -q > found || fail "$(cat found)"
sed 's/^/nested: /' inner
# A command that fails, prints nothing, or takes too long; what it started ends with it.
cat > fails.sh <<'END'
case $MERGECRAFT_TRIAL in
1) exit 3 ;;
2) echo no number ;;
3) sleep 1000 & echo $! > sleeper; wait ;;
*) echo 5 ;;
esac
END
mergecraft search task a b --base base --space 'scale=0:2' --trials 5 --time-limit 1 \
    --objective-command 'sh fails.sh {}' --journal fails.jsonl -q || fail "exit status $?"
sed -n 's/.*"error":"\([^"]*\)".*/\1/p' fails.jsonl
# A zombie that nobody collects has ended, too.
grep -q '^State:.[RSD]' "/proc/$(cat sleeper)/status" 2> /dev/null &&
    fail 'a process of the command is left'
expect 1 mergecraft search task a b --base base --space 'scale=0:2' --trials 2 \
    --objective-command 'false {}' --journal all.jsonl
expect 2 mergecraft search task a b --base base --space 'scale=0:2' \
    --objective-command 'wc -c' --journal wrong.jsonl

# Models of a Hub, which is the one of tests/hub: what a full disk and Ctrl-C leave of a large
# download, and how it goes on.
command -v python3 > /dev/null || { echo 'needs python3' >&2; exit 77; }
mkdir -p root/org/big
helper model root/org/big/model.safetensors 'layer.*:500000x10:1'
echo '{"model_type": "bert"}' > root/org/big/config.json
echo '{}' > root/org/big/tokenizer.json
printf -- '---\nlicense: mit\ntags: [a]\n---\n' > root/org/big/README.md
size=$(wc -c < root/org/big/model.safetensors)

# It ends with its standard input, which is open for as long as this shell is.
mkfifo hold
python3 "$SOURCE/tests/hub/server.py" --root root --log log --until-eof < hold > endpoint &
server=$!
exec 9> hold
wait_until test -s endpoint
unset HF_HUB_OFFLINE http_proxy HTTP_PROXY all_proxy ALL_PROXY
HF_ENDPOINT=$(cat endpoint)
export HF_ENDPOINT

# cache NAME [TIMES]: an empty one from now on, and a server that sends 1 MB/s the first time: the
# numbers tell the faults apart.
cache()
{
    HF_HOME=$PWD/$1
    export HF_HOME
    number=$((number + 1))
    printf '{"faults": {"model.safetensors": {"kind": "slow", "rate": %d, "times": %d}}}' \
        $((1000000 + number)) "${2:-1}" > root/org/big/.hub.json
    : > log
}

# What has arrived of the large file so far, more than the small ones have.
unfinished()
{
    find "$HF_HOME" -name '*.incomplete' -size +16
}

begun()
{
    [ -n "$(unfinished)" ]
}

# kept SIZE: the file is not there, but its beginning; the next run gets the rest, and leaves
# nothing.
kept()
{
    [ "$(unfinished | wc -l)" -eq 1 ] || fail "of the file there is: $(unfinished)"
    [ -z "$(find "$HF_HOME" -name model.safetensors)" ] || fail 'what is not complete has its name'
    arrived=$(wc -c < "$(unfinished)")
    head -c "$arrived" root/org/big/model.safetensors | cmp - "$(unfinished)" ||
        fail 'it is none of the file'
    mergecraft download org/big --json > json || fail 'the next run fails'
    [ "$(helper json downloads.0.bytes_received < json)" -eq $((size - arrived)) ] ||
        fail "$arrived of $size arrived, then: $(cat json)"
    grep -q "bytes=$arrived-" log || fail 'the next run does not go on'
    cmp root/org/big/model.safetensors \
        "$(helper json downloads.0.folder < json | tr -d '"')/model.safetensors" ||
        fail 'the file is another one'
    [ -z "$(find "$HF_HOME" -name '*.incomplete')" ] || fail 'something was left behind'
}

# Only headers travel to be looked at; they are gone when their files are named.
cache inspected
expect 0 mergecraft inspect org/big --summary
mergecraft inspect org/big --json | helper json files

# A recipe is checked by headers, too: of 20 MB less than 100 KB travel.
cache checked
printf 'merge_method: linear\nmodels: [{model: org/big, parameters: {weight: 1}}]\n' > hub.yml
expect 0 mergecraft check hub.yml -o new
[ "$(du -sb "$HF_HOME" | cut -f 1)" -lt 100000 ] || fail 'check downloads weights'
grep -q '"range": "bytes=0-' log || fail 'check does not ask for a range'

# A disk that is full, by the size that files may have: in blocks of 512 bytes.
limited()
(
    ulimit -f 20000
    "$@"
)
cache full
echo '{}' > root/org/big/.hub.json
expect 1 limited mergecraft download org/big
[ "$(wc -c < "$(unfinished)")" -eq 10240000 ] || fail "$(ls -l "$(unfinished)")"
kept

# Ctrl-C. A shell starts what it puts in the background with interrupts ignored, so that an outer
# one is asked to.
interrupted()
{
    printf '$ %s\n' "$*" >&2
    env --default-signal=INT "$@" &
    wait_until begun
    kill -s INT $!
    status=0
    wait $! || status=$?
    [ $status -eq 130 ] || fail "exit status $status"
}
cache stopped
interrupted mergecraft download org/big
kept
cache stopped_merge 2 # the first time is for the header
interrupted mergecraft merge soup org/big -o out
[ ! -e out ] || fail 'out was made'
kept
expect 0 mergecraft merge -q soup org/big -o out
tail -c 20000000 root/org/big/model.safetensors > expected
tail -c 20000000 out/model.safetensors | cmp - expected || fail 'the result is another one'
sed -n 1,/^license/p out/README.md

# Killed, while another one waits: that one goes on with what is there.
cache killed
mergecraft download org/big -q &
one=$!
wait_until begun
mergecraft download org/big --json > json &
other=$!
sleep .2
kill -s KILL $one
wait $other || fail 'the other one fails'
[ "$(helper json downloads.0.bytes_received < json)" -lt "$size" ] || fail "$(cat json)"
[ -z "$(find "$HF_HOME" -name '*.incomplete')" ] || fail 'something was left behind'

# On a narrow terminal no line is wider than it.
cache narrow
sed -i 's/: 1[0-9]*,/: 8000000,/' root/org/big/.hub.json
esc=$(printf '\033')
helper terminal 40 mergecraft download org/big > shown || fail 'the download'
tr -d '\r' < shown | sed "s/$esc\[[AK]//g" > lines
grep -q 'safetensors .* of 20.0 MB' lines || fail 'no line of the file'
head -n -2 lines | awk 'length >= 40 { print; exit 1 }' || fail 'a line is too wide'

# Whoever opens a model: a bar, but not when it is to be quiet.
cache seen 3
sed -i 's/: 1[0-9]*,/: 8000000,/' root/org/big/.hub.json
helper terminal 80 mergecraft classify org/big text > shown &&
    fail 'classifies without an architecture'
grep -q 'safetensors .* of 20.0 MB' shown || fail 'no bar'
cache unseen 3
sed -i 's/: 1[0-9]*,/: 8000000,/' root/org/big/.hub.json
helper terminal 80 mergecraft classify -q org/big text > shown &&
    fail 'classifies without an architecture'
grep -q 'of 20.0 MB' shown && fail 'a bar in spite of --quiet'

exec 9>&-
wait $server

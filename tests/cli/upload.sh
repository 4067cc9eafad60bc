# Uploads to the Hub of tests/hub: small and large files, resuming, errors.
command -v python3 > /dev/null || { echo 'needs python3' >&2; exit 77; }
mkdir -p root/org/model
mkfifo hold
python3 "$SOURCE/tests/hub/server.py" --root root --log log --until-eof < hold > endpoint &
server=$!
exec 9> hold
wait_until test -s endpoint
unset HF_HUB_OFFLINE http_proxy HTTP_PROXY all_proxy ALL_PROXY
HF_ENDPOINT=$(cat endpoint)
HF_TOKEN=hf_write_1
export HF_ENDPOINT HF_TOKEN

# stable COMMAND...: commits and the address of the server differ each time.
stable()
{
    sed -E "s|$HF_ENDPOINT|ENDPOINT|g; s/[0-9a-f]{40}/COMMIT/g; s/127.0.0.1:[0-9]*/SERVER/g"
}
upload()
{
    expect 0 mergecraft upload "$@" | stable
}
# same REPOSITORY: it has what the folder has.
same()
{
    diff -r -x '.*' -x dangling.txt out "root/$1" > differences || fail "$(cat differences)"
}
requests()
{
    grep -c "\"method\": \"$1\"" log || true
}

model out 1
mkdir out/sub
printf '{}\n' > out/sub/config.json
: > out/empty.safetensors
printf 'secret\n' > out/.env
ln -s nowhere out/dangling.txt

# A repository that does not exist: nothing is made by a dry run.
upload out org/new --private --dry-run
[ ! -e root/org/new ] || fail 'a dry run made the repository'
upload out org/new --private -m 'First version'
same org/new
grep -q '"is_private": true' root/org/new/.hub.json || fail 'it is public'
[ ! -e root/org/new/.env ] || fail 'a hidden file was sent'
grep -q '"path": "/api/models/org/new/commit/main"' log || fail 'no commit'

# Once more: nothing is sent, nothing committed. Then one small file.
: > log
upload out org/new
[ "$(requests PUT)" -eq 0 ] || fail 'a large file was sent again'
printf '{"a": 1}\n' > out/sub/config.json
upload out org/new
upload out org/new --dry-run --json
same org/new
[ "$(requests PUT)" -eq 0 ] || fail 'a large file was sent again'
# The same weights under another name, and in another repository: the storage has them.
cp out/model.safetensors out/copy.safetensors
upload out org/new
upload out org/model
same org/model
[ "$(requests PUT)" -eq 0 ] || fail 'a large file was sent again'

# Branches.
upload out org/model --branch next
diff -r -x '.*' -x dangling.txt out root/.branches/org/model/next ||
    fail 'the branch has other files'
upload out org/model@next

# In parts, verified; a busy server; an ignored file; a public repository that should be private.
helper model out/model.safetensors 'layer.*:3000x10:1'
echo '{"multipart": 50000, "verify": true, "ignore": ["config.json"], "faults": {
    "put": {"kind": "status", "code": 503, "times": 2},
    "batch": {"kind": "status", "code": 500, "times": 1},
    "commit": {"kind": "status", "code": 429, "times": 1}}}' > root/org/model/.hub.json
: > log
upload out org/model
cmp out/model.safetensors root/org/model/model.safetensors || fail 'the parts are others'
[ "$(requests PUT)" -eq 5 ] || fail "$(requests PUT) requests for 3 parts and 2 failures"
grep -q '/verify/' log || fail 'not verified'
expect 1 mergecraft upload out org/model --private

# What was sent before a failure is not sent again.
helper model out/model.safetensors 'layer.*:3000x10:7'
echo '{"faults": {"commit": {"kind": "status", "code": 400}}}' > root/org/model/.hub.json
expect 1 mergecraft upload out org/model 2>&1 | stable
: > log
echo '{}' > root/org/model/.hub.json
upload out org/model
[ "$(requests PUT)" -eq 0 ] || fail 'a large file was sent again'
# A reply that is lost: the commit is there, and the next call sees it.
printf '{"a": 2}\n' > out/sub/config.json
echo '{"faults": {"commit": {"kind": "drop", "times": 1}}}' > root/org/model/.hub.json
mergecraft upload out org/model > shown 2>&1 && fail 'an upload without a reply'
[ "$(grep -c /commit/ log)" -eq 2 ] || fail 'a commit was sent twice'
upload out org/model

# Refused.
helper model out/model.safetensors 'layer.*:3000x10:8'
echo '{"lfs_error": "too large for you"}' > root/org/model/.hub.json
expect 1 mergecraft upload out org/model
echo '{"xet": true}' > root/org/model/.hub.json
expect 1 mergecraft upload out org/model
echo '{}' > root/org/model/.hub.json
expect 1 env HF_TOKEN=hf_read mergecraft upload out org/model
expect 1 mergecraft upload out forbidden/new
expect 2 env -u HF_TOKEN HF_HOME="$PWD" mergecraft upload out org/model
expect 2 env HF_HUB_OFFLINE=1 mergecraft upload out org/model
expect 2 mergecraft upload out model
expect 2 mergecraft upload out org/model@0123456789012345678901234567890123456789
expect 2 mergecraft upload out org/model@next --branch other
expect 2 mergecraft upload out
expect 2 mergecraft upload out/config.json org/model
expect 1 mergecraft upload nowhere org/model
mkdir nothing
expect 1 mergecraft upload nothing org/model
touch "$(printf 'nothing/caf\351')"
expect 2 mergecraft upload nothing org/model
# The token is for the endpoint only.
grep '"host": "127.0.0.2"' log | grep -q hf_write && fail 'the storage got the token'

exec 9>&-
wait $server

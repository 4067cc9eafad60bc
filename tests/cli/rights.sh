# What may not be read or written: one line that says so, and nothing is left behind. Rights do not
# bind root, but for a root without capabilities they do.
unprivileged()
{
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --bounding-set=-all "$@"
    else
        "$@"
    fi
}

for i in a b closed unlisted blind weights config vocabulary; do
    model $i 1
    echo x > $i/vocab.txt
done
helper model single.safetensors encoder.weight:2x3:1 classifier.weight:1x2:1
mkdir shut
chmod 000 closed
chmod 300 unlisted
chmod 600 blind
chmod 000 weights/model.safetensors config/config.json vocabulary/vocab.txt single.safetensors
for i in closed unlisted blind weights config vocabulary; do
    expect 1 unprivileged mergecraft merge soup a $i -o out/new
done
expect 1 unprivileged mergecraft inspect single.safetensors
expect 1 unprivileged mergecraft inspect closed
expect 1 unprivileged mergecraft inspect config
[ ! -e out ] || fail "left behind: $(find out)"

# Targets.
chmod 555 shut
expect 1 unprivileged mergecraft merge soup a b -o shut/out
expect 1 unprivileged mergecraft merge soup a b -o shut/deep/down/out
mergecraft merge -q soup a -o kept/out
cp -r kept/out expected
chmod 555 kept
expect 1 unprivileged mergecraft merge soup a b -o kept/out --overwrite
chmod 755 kept
chmod 000 kept/out
expect 1 unprivileged mergecraft merge soup a b -o kept/out --overwrite
chmod 755 kept/out
diff -r expected kept/out > differences || fail "$(cat differences)"
[ "$(ls -A kept)" = out ] && [ -z "$(ls -A shut)" ] || fail "left behind: $(find kept shut)"
chmod 700 closed unlisted blind shut

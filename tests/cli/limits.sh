# Too little room, by the size that files may have and by the size of the disk: one line, and
# nothing is left behind.
mkdir a b
helper model a/model.safetensors 'layer.*:100000x10:1'
helper model b/model.safetensors 'layer.*:100000x10:3'
head -c 2000000 /dev/zero > b/tokenizer.json

# In blocks of 512 bytes; the signal that comes with it does not kill.
limited()
(
    ulimit -f 4000
    "$@"
)
expect 1 limited mergecraft merge -q soup a b -o limited/out
[ ! -e limited ] || fail "left behind: $(ls -A limited)"
expect 0 mergecraft merge -q soup a b -o limited/out

# More shards than files that may be open, read and written.
few()
(
    ulimit -n 24
    "$@"
)
mkdir c d
helper model c/model.safetensors 'layer.*:1000x100:1'
helper model d/model.safetensors 'layer.*:1000x100:3'
expect 0 few mergecraft merge -q soup c d -o shards --shard-size 4KB
[ -e shards/model-00100-of-00100.safetensors ] || fail 'not 100 shards'
expect 0 few mergecraft merge -q soup shards c -o again
expect 0 mergecraft merge -q soup c d -o first
expect 0 mergecraft merge -q soup first c -o second
cmp again/model.safetensors second/model.safetensors || fail 'the shards are another model'

# A disk of its own needs a right, or a name space in which one has it. Where there is neither, the
# error is only made up (tests/merge/resume.c).
apart=none
for option in -m -rm; do
    [ "$apart" != none ] || ! unshare $option sh -c 'mount -t tmpfs -o size=1m none .' \
        2> /dev/null || apart=$option
done

# on_disk OPTIONS: the weights have room, all in all there is too little; then there is more.
on_disk()
{
    rm -rf disk
    mkdir disk
    unshare $apart sh -c '
        mount -t tmpfs -o "$1" none disk || exit 9
        mergecraft merge -q soup a b -o disk/parent/out 2> said && exit 8
        [ -z "$(ls -A disk)" ] || exit 7
        mergecraft merge -q soup a -o disk/out || exit 6
        ls -A disk/out > before
        mergecraft merge -q soup a b -o disk/out --overwrite 2>> said && exit 5
        [ "$(ls -A disk)" = out ] && ls -A disk/out | cmp -s - before || exit 4
        mount -o remount,size=20m,nr_inodes=100 disk || exit 3
        mergecraft merge -q soup a b -o disk/out --overwrite || exit 2' sh "$1" ||
        fail "on a disk of $1: step $?: $(cat said)"
    [ "$(grep -c 'No space left on device\|expected room for' said)" -eq 2 ] &&
        [ "$(wc -l < said)" -eq 2 ] ||
        fail "on a disk of $1: $(cat said)"
}
if [ "$apart" != none ]; then
    on_disk size=5500k
    on_disk size=20m,nr_inodes=7
fi

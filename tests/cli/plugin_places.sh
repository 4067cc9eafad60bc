# Compiled methods are cached in the home folder, or in a private folder below TMPDIR if that is
# missing or cannot be written to. Ctrl-C ends the compiler, and the command says so.
mkdir tmp m
chmod 1777 tmp
helper model m/model.safetensors 'x:2x3:1'
cat > own.c <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(own, .help = "the first model")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}
END
TMPDIR=$PWD/tmp
export TMPDIR
private=tmp/mergecraft-$(id -u)

# cached FOLDER: it holds one compiled method
cached()
{
    [ "$(find "$1" -name '*.so' | wc -l)" -eq 1 ] || fail "expected one compiled method in $1"
}
expect 0 env -u XDG_CACHE_HOME -u HOME mergecraft merge -q ./own.c m -o without-home
cached "$private"
[ "$(stat -c %a "$private")" = 700 ] || fail "$private is open to others"
rm -r "$private"
expect 0 env -u XDG_CACHE_HOME HOME=/nonexistent mergecraft merge -q ./own.c m -o no-such-home
cached "$private"
rm -r "$private"
# Where the file system refuses, whatever the rights say.
expect 0 env -u XDG_CACHE_HOME HOME=/proc mergecraft merge -q ./own.c m -o no-real-home
cached "$private"
rm -r "$private"
if [ "$(id -u)" -ne 0 ]; then
    mkdir -m 500 read-only
    env XDG_CACHE_HOME="$PWD/read-only" mergecraft merge -q ./own.c m -o read-only-home ||
        fail 'a read-only home'
    cached "$private"
    rm -r "$private"
fi
expect 0 env XDG_CACHE_HOME="$PWD/cache" mergecraft merge -q ./own.c m -o home
cached cache
[ ! -e "$private" ] || fail "$private was made without need"

# A folder that others can write to is not used.
mkdir -m 777 "$private"
chmod 777 "$private"
expect 1 env -u XDG_CACHE_HOME -u HOME mergecraft merge -q ./own.c m -o open-to-others

# A method without a return value is an error and not a random status.
cat > silent.c <<'END'
#include <mergecraft/method.h>
MC_LAYER_MERGE(silent, .help = "the first model")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
}
END
expect 1 env XDG_CACHE_HOME="$PWD/cache" mergecraft merge -q ./silent.c m -o silent

# Ctrl-C while compiling ends the compiler and all that it started, and the command.
printf '#!/bin/sh\ntouch started\nsleep 60 &\necho $! > asleep\nwait\n' > slow
chmod +x slow
env --default-signal=INT XDG_CACHE_HOME="$PWD/cold" CC=./slow mergecraft merge ./own.c m -o slowly &
merge=$!
wait_until test -s asleep
kill -s INT $merge
since=$(date +%s%N)
status=0
wait $merge || status=$?
[ $status -eq 130 ] || fail "exit status $status"
[ $(($(date +%s%N) - since)) -lt 5000000000 ] || fail 'it took long'
wait_until sh -c "! grep -q sleep /proc/$(cat asleep)/cmdline"

printf '#!/bin/sh\nkill -INT $$\n' > interrupted
chmod +x interrupted
expect 130 env CC=./interrupted mergecraft merge ./own.c m -o interrupted-merge

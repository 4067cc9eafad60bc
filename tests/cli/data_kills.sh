# Merges with statistics, killed or interrupted at any moment: nothing incomplete appears under the
# name, and the next run ends with the same bits. So do statistics that are computed and cached.
XDG_CACHE_HOME=$PWD/cache
export XDG_CACHE_HOME
# The leak sanitizer complains about threads that end while it looks at them.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
ln -s "$SOURCE/examples/models" models
mkdir parent
data="--task rte --data models/data --examples 4"

# stopped SIGNAL DELAY ARGUMENTS...: runs a merge into parent/out and stops it.
stopped()
{
    signal=$1
    delay=$2
    shift 2
    env --default-signal=INT mergecraft merge "$@" -o parent/out -q 2> messages &
    sleep "$delay"
    kill -s "$signal" $! 2> /dev/null
    status=0
    wait $! 2> /dev/null || status=$?
    case $status in 0 | 130 | 137) ;; *) fail "exit status $status: $(cat messages)" ;; esac
}

for method in regmean fisher; do
    # shellcheck disable=SC2086
    set -- "$method" models/rte-1 models/rte-2 $data
    mergecraft merge "$@" -o "$method" -q
    for delay in 0 .02 .05 .1; do
        for signal in KILL INT; do
            # With delay 0 the statistics are computed again, too.
            [ "$delay" != 0 ] || rm -rf cache
            stopped "$signal" "$delay" "$@"
            [ ! -e parent/out ] ||
                cmp "$method/model.safetensors" parent/out/model.safetensors ||
                fail "$method, $signal after $delay s: what is under the name is not whole"
            mergecraft merge "$@" -o parent/out -q --overwrite ||
                fail "$method, $signal after $delay s: the next run fails"
            cmp "$method/model.safetensors" parent/out/model.safetensors ||
                fail "$method, $signal after $delay s: the next run gives something else"
            [ "$(ls -A parent)" = out ] || fail "left behind: $(ls -A parent)"
            rm -r parent/out
        done
    done
done

# Statistics under a name of the user's: what a killed run left is used up by the next one.
set -- observe models/rte-1 --gram --fisher --task rte --data models/data --examples 64 -q
mergecraft "$@" -o whole.stats > /dev/null
mkdir stats
for delay in 0 .02 .05 .1 .2; do
    mergecraft "$@" -o stats/own --overwrite > /dev/null 2>&1 &
    sleep "$delay"
    kill -s KILL $! 2> /dev/null
    wait $! 2> /dev/null || true
    [ ! -e stats/own ] || cmp whole.stats stats/own ||
        fail "observe, killed after $delay s: what is under the name is not whole"
    echo left > stats/own.partial
    mergecraft "$@" -o stats/own --overwrite > /dev/null ||
        fail "observe, killed: the next run fails"
    cmp whole.stats stats/own || fail "observe, killed: the next run gives something else"
    [ "$(ls -A stats)" = own ] || fail "left behind: $(ls -A stats)"
done

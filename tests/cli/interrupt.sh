# The first interrupt stops a merge cleanly; the same command goes on where it was. The second one
# kills.
mkdir m
helper model m/model.safetensors 'layer.*:2000000x10:1'
cat > slow.c <<'END'
#include <mergecraft/method.h>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* Fast in the first layers, then so slow that nobody can miss it; "fast": fast everywhere. */
MC_LAYER_MERGE(slow, .help = "the first model, taking its time")
{
    const struct timespec moment = {.tv_nsec = 1000000}, long_moment = {.tv_sec = 1};
    while (access("stuck", F_OK) == 0) {
        close(open("entered", O_WRONLY | O_CREAT, 0600));
        nanosleep(&moment, NULL);
    }
    if (access("fast", F_OK) != 0) {
        const bool far = strcmp(layer->name, "layer.6") >= 0;
        if (far)
            close(open("far", O_WRONLY | O_CREAT, 0600));
        nanosleep(far ? &long_moment : &moment, NULL);
    }
    memcpy(layer->out, layer->models[0], layer->count * sizeof *layer->out);
    return MC_OK;
}
END
mergecraft methods slow.c > /dev/null || fail 'the method does not compile'

# A shell starts what it puts in the background with interrupts ignored, so that an outer one is
# asked to.
interrupted()
{
    signal=$1
    rm -f messages far
    env --default-signal=INT mergecraft merge slow.c m -o out -v --threads 1 --memory 1MB \
        2> messages &
    wait_until test -e far
    wait_until grep -q ' %' messages
    kill -s "$signal" $!
    status=0
    wait $! || status=$?
    [ $status -eq 130 ] || fail "exit status $status"
    tail -n 1 messages
    [ ! -e out ] || fail 'out was made'
}
interrupted INT
interrupted TERM
touch fast
expect 0 mergecraft merge -q slow.c m -o out --threads 1 --memory 1MB --json > json
resumed=$(tail -n +2 json | helper json bytes_resumed)
written=$(tail -n +2 json | helper json bytes_written)
[ "$resumed" -gt 0 ] || fail 'nothing was resumed'
[ $((resumed + written)) -eq 80000000 ] || fail "$resumed and $written are not all"
tail -c 80000000 m/model.safetensors > expected
tail -c 80000000 out/model.safetensors | cmp - expected || fail 'the result is another one'
[ "$(find . -maxdepth 1 -name '.*' ! -name . | wc -l)" -eq 0 ] || fail 'something was left behind'

# A method that does not come back: only the second signal ends it, at once.
rm -rf out fast
touch stuck
env --default-signal=INT mergecraft merge -q slow.c m -o out 2> messages &
wait_until test -e entered
merge=$!
kill -s INT $merge
sleep .3
kill -s 0 $merge || fail 'the first interrupt did not wait'
# Again and again: two at once are one to a process that has not been told of the first.
while sleep .3; do kill -s INT $merge; done &
again=$!
status=0
wait $merge || status=$?
kill $again
[ $status -eq 130 ] || fail "exit status $status"
[ ! -s messages ] || fail "messages: $(cat messages)"

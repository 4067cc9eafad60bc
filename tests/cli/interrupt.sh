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

# A method that does not return, as one inside LAPACK: the command is ended and says what it keeps.
rm -rf out fast
touch stuck
env --default-signal=INT mergecraft merge -q slow.c m -o out --json 2> messages > json &
wait_until test -e entered
kill -s INT $!
status=0
wait $! || status=$?
[ $status -eq 130 ] || fail "exit status $status"
cat messages json
[ -d .out.merging ] || fail 'nothing was kept'
rm stuck
touch fast
expect 0 mergecraft merge -q slow.c m -o out
tail -c 80000000 out/model.safetensors | cmp - expected || fail 'the result is another one'

# The second signal ends it at once: of TERM, which shows as 143. Again and again, since two at once
# are one to a process that has not been told of the first.
rm -rf out fast entered
touch stuck
mergecraft merge -q slow.c m -o out 2> messages &
merge=$!
wait_until test -e entered
(while kill -s TERM $merge; do sleep .02; done) 2> kills &
again=$!
status=0
wait $merge 2> kills || status=$?
kill $again 2> kills
[ $status -eq 143 ] || fail "exit status $status"
[ ! -s messages ] || fail "messages: $(cat messages)"

# Evaluations, texts from standard input, and compilers end, too.
ended()
{
    kill -s TERM "$1"
    status=0
    wait "$1" || status=$?
    [ $status -eq 130 ] || fail "exit status $status"
    tail -n 1 messages
}
rte=$SOURCE/examples/models/rte-1
head -n 1 "$SOURCE/examples/models/data/validation.tsv" > long.tsv
for i in $(seq 60); do tail -n +2 "$SOURCE/examples/models/data/validation.tsv"; done >> long.tsv
mergecraft eval "$rte" rte --data long.tsv --threads 1 -v > scores 2> messages &
wait_until grep -q ' %' messages
ended $!
[ ! -s scores ] || fail "scores: $(cat scores)"
mkfifo texts
mergecraft classify "$rte" < texts > labels 2> messages &
classify=$!
exec 9> texts
sed -n 's/^[^	]*	\([^	]*\)	.*/\1/p' long.tsv > lines
(cat lines lines lines lines >&9) 2> broken &
wait_until test -s labels
ended $classify
exec 9>&-
cat > compiler <<'END'
#!/bin/sh
echo $$ > compiling
exec sleep 100
END
chmod +x compiler
sed 's/taking/trying/' slow.c > other.c
CC=$PWD/compiler mergecraft merge other.c m -o compiled 2> messages &
wait_until test -s compiling
ended $!
wait_until sh -c "! kill -s 0 $(cat compiling)"

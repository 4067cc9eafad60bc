# An input that is cut off or replaced while it is merged: an error and no crash, and nothing is
# left behind.
cat > waits.c <<'C'
#include <mergecraft/method.h>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* It does not wait in the trial that it gets on a small tile first. */
MC_LAYER_MERGE(waits, .help = "the first model, when it may")
{
    const struct timespec moment = {.tv_nsec = 10000000};
    const bool trial = layer->count < 1000;
    if (!trial)
        close(open("entered", O_WRONLY | O_CREAT, 0600));
    while (!trial && access("go", F_OK) != 0)
        nanosleep(&moment, NULL);
    memcpy(layer->out, layer->models[0], layer->count * sizeof *layer->out);
    return MC_OK;
}
C
mergecraft methods waits.c > /dev/null || fail 'the method does not compile'

# while_merging COMMAND...
while_merging()
{
    rm -rf m entered go
    mkdir m
    helper model m/model.safetensors 'layer.*:1000000x4:1'
    cp m/model.safetensors other
    expect 1 mergecraft merge -q waits.c m -o parent/out --threads 2 --memory 1MB &
    merge=$!
    wait_until test -e entered
    "$@"
    touch go
    wait $merge || fail 'the merge'
    [ ! -e parent ] || fail "left behind: $(find parent)"
}
while_merging truncate -s 5000 m/model.safetensors
while_merging truncate -s 0 m/model.safetensors
while_merging mv other m/model.safetensors
while_merging rm m/model.safetensors
while_merging touch m/model.safetensors

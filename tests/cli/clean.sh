# What an interrupted merge leaves behind is removed, unless a merge is writing to it.
mkdir m
helper model m/model.safetensors 'layer.*:200000x10:1'
cat > slow.c <<'END'
#include <mergecraft/method.h>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

MC_LAYER_MERGE(slow, .help = "the first model, waiting for the file \"fast\"")
{
    const struct timespec moment = {.tv_nsec = 1000000};
    close(open("entered", O_WRONLY | O_CREAT, 0600));
    while (access("fast", F_OK) != 0)
        nanosleep(&moment, NULL);
    memcpy(layer->out, layer->models[0], layer->count * sizeof *layer->out);
    return MC_OK;
}
END
mergecraft methods slow.c > /dev/null || fail 'the method does not compile'

mergecraft merge slow.c m -o made/out --threads 1 2> /dev/null &
wait_until test -e entered
expect 1 mergecraft clean made/out
kill -KILL $!
wait $! 2> /dev/null || true
[ -d made/.out.merging ] || fail 'nothing was left behind'
expect 0 mergecraft clean made/out
[ -z "$(ls -A made)" ] || fail "left behind: $(ls -A made)"
expect 0 mergecraft clean made/out other

# The hidden folder itself may be named; links in it are not followed.
mkdir -p .other.merging/inner kept
touch kept/file
ln -s ../kept .other.merging/link
expect 0 mergecraft clean .other.merging/ --json
[ -e kept/file ] || fail 'a link was followed'
expect 2 mergecraft clean ..
expect 2 mergecraft clean

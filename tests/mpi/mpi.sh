#!/bin/sh
# mpi.sh BUILD_DIR MPIEXEC FLAG: merges by several processes give the bytes of one, whatever fails.
set -eu
build=$(CDPATH= cd -- "$1" && pwd)
launcher=$2
flag=$3
top=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
models=$top/examples/models
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# More processes than CPUs, as root in a container: what Open MPI refuses by default.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

fail()
{
    echo "mpi.sh: $*" >&2
    exit 1
}

# on COUNT ARGUMENTS...: the command on so many processes.
on()
{
    number=$1
    shift
    "$launcher" "$flag" "$number" "$build/mergecraft-mpi" "$@"
}

# same REFERENCE FOLDER: everything but the name of the output is equal.
same()
{
    for file in "$1"/*.safetensors "$1"/*.json "$1"/tokenizer* "$1"/vocab.txt; do
        case $file in */mergecraft.json | *\**) continue ;; esac
        cmp "$file" "$2/${file##*/}"
    done
}

# ---- every built-in method, on 2, 3 and 5 processes in turn, with one thread each or two ----
cat > "$folder/several" << EOF
#!/bin/sh
turn=\$(cat "$folder/turn")
echo \$((turn + 1)) > "$folder/turn"
case \$((turn % 3)) in 0) number=2 ;; 1) number=3 ;; *) number=5 ;; esac
exec "$launcher" "$flag" \$number "$build/mergecraft-mpi" "\$@" --threads \$((turn % 2 + 1))
EOF
chmod +x "$folder/several"
echo 0 > "$folder/turn"
sh "$top/tools/same_bits.sh" "$build/mergecraft" "$folder/several" all

# ---- shards, statistics, statistics of the whole model: every number of processes ----
arguments="$models/rte-1 $models/rte-2 $models/rte-3 --base $models/base --shard-size 300kB -q
--no-sync"
for method in ties mergekit:della_linear; do
    options=
    [ "$method" = ties ] || options="-p weight=.4 -p density=.6 -p epsilon=.1"
    [ "$method" != ties ] || options="-p trim=model"
    # shellcheck disable=SC2086
    "$build/mergecraft" merge "$method" $arguments $options -o "$folder/one" 2> /dev/null
    for number in 1 2 3 5; do
        for threads in 1 2; do
            # shellcheck disable=SC2086
            on $number merge "$method" $arguments $options --threads $threads \
                -o "$folder/several-$number" 2> /dev/null
            same "$folder/one" "$folder/several-$number"
            rm -rf "$folder/several-$number"
        done
    done
    rm -rf "$folder/one"
done

# ---- a recipe of stages and slices ----
cat > "$folder/recipe.yml" << EOF
name: both
merge_method: linear
models:
  - model: $models/rte-1
    parameters: {weight: 0.3}
  - model: $models/rte-2
    parameters: {weight: 0.7}
dtype: float32
---
name: stack
merge_method: passthrough
slices:
  - sources: [{model: both, layer_range: [0, 2]}]
  - sources: [{model: $models/rte-3, layer_range: [1, 2]}]
dtype: float16
EOF
(cd "$folder" && "$build/mergecraft" merge recipe.yml -o one -q --no-sync 2> /dev/null &&
    on 3 merge recipe.yml -o by-three -q --no-sync 2> /dev/null)
same "$folder/one" "$folder/by-three"
rm -rf "$folder/one"

# ---- killed processes: nothing half-written, and any number of processes resumes ----
"$build/mergecraft" merge soup "$models"/rte-[1-5] -q --no-sync -o "$folder/one" 2> /dev/null
cat > "$folder/slow.c" << 'EOF'
/* The mean, by a method that takes its time and is killed where a file says so. */
#include <mergecraft/method.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
MC_LAYER_MERGE(slow, .help = "mean")
{
    const char *const fuse = getenv("FUSE");
    if (fuse && layer->count > 100 && unlink(fuse) == 0)
        raise(SIGKILL);
    for (size_t i = 0; i < layer->count; i++) {
        mc_real sum = 0;
        for (size_t m = 0; m < layer->model_count; m++)
            sum += layer->models[m][i];
        layer->out[i] = sum / (mc_real)layer->model_count;
    }
    return MC_OK;
}
EOF
export FUSE="$folder/fuse"
"$build/mergecraft" merge "$folder/slow.c" "$models"/rte-[1-5] -q --no-sync -o "$folder/mean" \
    2> /dev/null
for number in 2 3 5 3; do
    touch "$FUSE"
    ! on $number merge "$folder/slow.c" "$models"/rte-[1-5] -q --no-sync -o "$folder/killed" \
        > /dev/null 2>&1 || fail "expected a failure of a killed process"
    [ ! -e "$folder/killed" ] || fail "a killed run left a folder under its final name"
done
on 2 merge "$folder/slow.c" "$models"/rte-[1-5] -q --no-sync -o "$folder/killed" 2> /dev/null
same "$folder/mean" "$folder/killed"
[ ! -e "$folder/.killed.merging" ] || fail "something is left of the hidden folder"

# ---- a process that outlives its process 0 holds its journal: the next run waits for it ----
mkdir "$folder/.held.merging"
: > "$folder/.held.merging/journal.1"
: > "$folder/.held.merging/run.1"
flock "$folder/.held.merging/journal.1" sleep 1 &
holder=$!
while flock -n "$folder/.held.merging/journal.1" true; do
    sleep .01
done
on 2 merge soup "$models"/rte-[1-2] -q --no-sync -o "$folder/held" 2> /dev/null
! kill -s 0 $holder 2> /dev/null || fail "a run began while a process of another one wrote"
[ ! -e "$folder/held/run.1" ] && [ ! -e "$folder/held/journal.1" ] || fail "a journal is left"

# ---- one process fails: one line names it and its machine ----
cat > "$folder/fails.c" << 'EOF'
#include <mergecraft/method.h>
#include <string.h>
MC_LAYER_MERGE(fails, .help = "fails for the last block")
{
    if (strstr(layer->name, "layer.1.output.dense.weight"))
        return mc_fail(layer->error, MC_USAGE, "this tensor is not to my taste");
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = layer->models[0][i];
    return MC_OK;
}
EOF
! on 3 merge "$folder/fails.c" "$models"/rte-[1-2] -q -o "$folder/failed" > /dev/null \
    2> "$folder/said" || fail "expected a failure"
grep -q "mergecraft-mpi: process [0-9] of 3 on $(hostname): .*not to my taste" "$folder/said" ||
    fail "the message names no process: $(cat "$folder/said")"
[ ! -e "$folder/failed" ] || fail "a failed run left a folder"

# ---- wrong usage is reported once ----
! on 3 merge tis "$models"/rte-[1-2] -o "$folder/wrong" > /dev/null 2> "$folder/said" ||
    fail "expected an unknown method"
[ "$(grep -c "unknown method 'tis'" "$folder/said")" -eq 1 ] ||
    fail "expected one message: $(cat "$folder/said")"

# ---- a folder that is not shared ----
mkdir "$folder/a" "$folder/b"
! "$launcher" "$flag" 2 sh -c '
    cd "$1/a"
    [ "${OMPI_COMM_WORLD_RANK-${PMI_RANK-0}}" = 0 ] || cd "$1/b"
    shift
    exec "$@"' sh "$folder" "$build/mergecraft-mpi" merge soup "$models"/rte-[1-2] -q -o out \
    > /dev/null 2> "$folder/said" || fail "expected a folder that is not shared"
grep -q 'process 1 on .*file system that all processes share' "$folder/said" ||
    fail "expected the folder's message: $(cat "$folder/said")"
[ ! -e "$folder/a/out" ] && [ ! -e "$folder/a/.out.merging" ] || fail "a folder is left"

# ---- a search: the trials of one process, on any number of them ----
# The fingerprint has the build of the program, which is another one here.
lines()
{
    sed 's/,"seconds":[0-9.e-]*//; s/,"fingerprint":"[0-9a-f]*"//' "$1"
}
# searches NAME ARGUMENTS...
searches()
{
    name=$1
    shift
    set -- search task "$models/rte-1" "$models/rte-2" "$models/rte-3" --base "$models/base" \
        --passthrough 'classifier.*' --eval rte --data "$models/data" -q "$@"
    "$build/mergecraft" "$@" --journal "$folder/$name" -o "$folder/best" > "$folder/said" \
        2> /dev/null
    lines "$folder/$name" > "$folder/$name.lines"
    for number in 2 3; do
        on $number "$@" --journal "$folder/$name.$number" -o "$folder/best-of-several" \
            > "$folder/told" 2> /dev/null
        lines "$folder/$name.$number" | cmp "$folder/$name.lines" -
        sed 's/best-of-several:/best:/' "$folder/told" | cmp "$folder/said" -
        same "$folder/best" "$folder/best-of-several"
        rm -rf "$folder/best-of-several"
    done
    rm -rf "$folder/best"
}
searches random --space 'scale=.1:2,weights[*]=.1:1' --trials 5 --validate .3
searches coordinate --space 'scale=.1:2' --trials 4 --strategy coordinate --parents
searches halving --space 'scale=.1:2' --trials 6 --halving 2
# What three processes have begun, two resume: the first three lines are those of trial 1 and 2.
head -n 3 "$folder/random.3" > "$folder/random.cut"
on 2 search task "$models/rte-1" "$models/rte-2" "$models/rte-3" --base "$models/base" \
    --passthrough 'classifier.*' --eval rte --data "$models/data" -q --resume --trials 5 \
    --space 'scale=.1:2,weights[*]=.1:1' --validate .3 --journal "$folder/random.cut" > /dev/null \
    2> "$folder/said" || fail "a search was not resumed: $(cat "$folder/said")"
lines "$folder/random.cut" | cmp "$folder/random.lines" -

# ---- the dry run shows the shares ----
on 3 merge soup "$models"/rte-[1-2] --dry-run --json -q -o "$folder/dry" 2> /dev/null |
    python3 -c '
import json, sys
plan = json.load(sys.stdin)
shares = [one["bytes_written"] for one in plan["processes"]]
assert len(shares) == 3 and sum(shares) == plan["bytes_written"], shares
assert max(shares) <= 1.05 * sum(shares) / 3, shares'
echo "the same bytes on several processes"

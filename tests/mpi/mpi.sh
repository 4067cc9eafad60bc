#!/bin/sh
# mpi.sh BUILD_DIR MPIEXEC FLAG [matrix]: merges by several processes give the bytes of one,
# whatever fails. matrix: every built-in method by every number of processes and threads, and
# nothing else.
set -eu
# Runs itself with a trace of all commands and messages, which is printed if the test fails: it may
# fail on a machine that nobody can look at.
if [ -z "${MPI_SH_TRACED-}" ]; then
    log=$(mktemp)
    MPI_SH_TRACED=1 sh -x "$0" "$@" 2> "$log" && rm "$log" && exit
    echo "mpi.sh: failed; the end of its trace:" >&2
    tail -n 150 "$log" >&2
    rm "$log"
    exit 1
fi
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

# ---- every built-in method, by 1, 2, 3 and 5 processes in turn, with one thread each or two ----
cat > "$folder/several" << EOF
#!/bin/sh
turn=\${TURN-\$(cat "$folder/turn")}
echo \$((turn + 1)) > "$folder/turn"
case \$((turn % 4)) in 3) number=5 ;; *) number=\$((turn % 4 + 1)) ;; esac
exec "$launcher" "$flag" \$number "$build/mergecraft-mpi" "\$@" --threads \$((turn / 4 % 2 + 1))
EOF
chmod +x "$folder/several"
echo 0 > "$folder/turn"
if [ "${4-}" = matrix ]; then
    for TURN in 0 1 2 3 4 5 6 7; do
        export TURN
        sh -x "$top/tools/same_bits.sh" "$build/mergecraft" "$folder/several" all
    done
    exit
fi
sh -x "$top/tools/same_bits.sh" "$build/mergecraft" "$folder/several" all

# ---- every number of processes and threads ----
# matrix ARGUMENTS...: a merge by the command and by all of them.
matrix()
{
    "$build/mergecraft" merge "$@" -q --no-sync -o "$folder/one"
    for number in 1 2 3 5; do
        for threads in 1 2; do
            on $number merge "$@" -q --no-sync --threads $threads -o "$folder/several-$number"
            same "$folder/one" "$folder/several-$number"
            rm -rf "$folder/several-$number"
        done
    done
    rm -rf "$folder/one"
}

# A model with another vocabulary, and an adapter: statistics of the whole model, a union, shards.
cp -r "$models/rte-2" "$folder/other"
word=$(tail -n 1 "$folder/other/vocab.txt")
sed "s/\"$word\"/\"quagga\"/" "$models/rte-2/tokenizer.json" > "$folder/other/tokenizer.json"
sed "s/^$word\$/quagga/" "$models/rte-2/vocab.txt" > "$folder/other/vocab.txt"
"$build/mergecraft" lora extract "$models/rte-3" --base "$models/base" --rank 2 -q --no-sync \
    -o "$folder/adapter"
matrix ties "$models/rte-1" "$models/base+$folder/adapter" "$folder/other" --base "$models/base" \
    --tokenizer union -p trim=model --shard-size 300kB

# A recipe of stages and slices, with random numbers and an adapter.
cat > "$folder/recipe.yml" << EOF
name: both
merge_method: della_linear
base_model: $models/base
models:
  - model: $models/rte-1
    parameters: {weight: 0.3, density: 0.6, epsilon: 0.1}
  - model: $models/base+$folder/adapter
    parameters: {weight: 0.7, density: 0.6, epsilon: 0.1}
dtype: float32
---
name: stack
merge_method: passthrough
slices:
  - sources: [{model: both, layer_range: [0, 2]}]
  - sources: [{model: $models/rte-3, layer_range: [1, 2]}]
dtype: float16
EOF
matrix "$folder/recipe.yml"

# ---- killed processes: nothing half-written, and any number of processes resumes ----
cat > "$folder/slow.c" << 'EOF'
/* The mean, by a method that is killed near the end where a file says so. */
#include <mergecraft/method.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
MC_LAYER_MERGE(slow, .help = "mean")
{
    const char *const fuse = getenv("FUSE");
    if (fuse && strstr(layer->name, "layer.1.output.dense.weight") && unlink(fuse) == 0)
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
set -- merge "$folder/slow.c" "$models"/rte-[1-5] --no-sync --shard-size 100kB --threads 1
"$build/mergecraft" "$@" -q -o "$folder/mean"
# killed COMMAND...: it ends before the merge does.
killed()
{
    touch "$FUSE"
    ! "$@" -q -o "$folder/killed" > "$folder/said" 2>&1 ||
        fail "expected a failure of a killed process"
    [ ! -e "$folder/killed" ] || fail "a killed run left a folder under its final name"
}
for number in 2 3 5; do
    killed on $number "$@"
    grep -Eq "(rank [0-9]+ .* on node |RUNNING AT )$(hostname)" "$folder/said" ||
        fail "the launcher does not name the machine of a killed process: $(cat "$folder/said")"
done
# The command resumes what processes have begun, and they what the command has begun.
journal=$(cut -d ' ' -f 4 "$folder/.killed.merging/journal" | head -n 1)
"$build/mergecraft" "$@" -q --json -o "$folder/killed" > "$folder/said"
grep -q '"bytes_resumed":[1-9]' "$folder/said" || fail "nothing was resumed: $(cat "$folder/said")"
same "$folder/mean" "$folder/killed"
rm -rf "$folder/killed"
killed "$build/mergecraft" "$@"
[ "$(cut -d ' ' -f 4 "$folder/.killed.merging/journal" | head -n 1)" = "$journal" ] ||
    fail "the journals of mergecraft and mergecraft-mpi have different fingerprints"
on 2 "$@" -q -o "$folder/killed"
same "$folder/mean" "$folder/killed"
[ ! -e "$folder/.killed.merging" ] || fail "something is left of the hidden folder"

# ---- what killed processes have found is reported by the run that resumes, and an error ----
cat > "$folder/found.c" << 'EOF'
/* Values beyond float16, and biases that are only averaged; killed as slow.c. */
#include <mergecraft/method.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
MC_LAYER_MERGE(found, .help = "a large mean")
{
    const char *const fuse = getenv("FUSE");
    if (fuse && strstr(layer->name, "layer.1.output.dense.weight") && unlink(fuse) == 0)
        raise(SIGKILL);
    if (strstr(layer->name, "bias"))
        mc_layer_averaged(layer, "it is a bias");
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (layer->models[0][i] + layer->models[1][i]) * 1e6f;
    return MC_OK;
}
EOF
cat > "$folder/spoil.c" << 'EOF'
#include <mergecraft/method.h>
#include <math.h>
MC_LAYER_MERGE(spoil, .help = "some NaN")
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (layer->first + (int64_t)i) % 1000 ? layer->models[0][i] : (mc_real)NAN;
    return MC_OK;
}
EOF
"$build/mergecraft" merge "$folder/spoil.c" "$models"/rte-[1-2] -q --no-sync -o "$folder/spoilt"
set -- merge "$folder/found.c" "$folder/spoilt" "$models/rte-2" --no-sync --shard-size 100kB \
    --threads 1 --dtype float16
# warnings JSON: those of a run.
warnings()
{
    sed 's/.*"warnings":\(\[[^]]*\]\).*/\1/' "$1"
}
"$build/mergecraft" "$@" -q --json -o "$folder/calm" > "$folder/calm.json"
for part in 'NaN and 0 infinite' 'beyond the range of float16' 'averaged: it is a bias'; do
    warnings "$folder/calm.json" | grep -q "$part" || fail "expected a warning: $part"
done
! "$build/mergecraft" "$@" -q --strict -o "$folder/strict" 2> "$folder/calm.strict" ||
    fail "expected an error"
# The number of processes that are killed, and of those that resume.
rm -rf "$folder/killed"
for numbers in 2:1 5:3; do
    killed on ${numbers%:*} "$@"
    # A failed run clears its folder.
    cp -r "$folder/.killed.merging" "$folder/.strict.merging"
    ! on ${numbers#*:} "$@" -q --strict -o "$folder/strict" 2> "$folder/said" ||
        fail "expected an error"
    grep -qF "$(sed 's/.*: model/model/' "$folder/calm.strict" | head -n 1)" "$folder/said" ||
        fail "expected $(cat "$folder/calm.strict"), found $(cat "$folder/said")"
    on ${numbers#*:} "$@" -q --json -o "$folder/killed" > "$folder/killed.json"
    grep -q '"bytes_resumed":[1-9]' "$folder/killed.json" || fail "nothing was resumed"
    [ "$(warnings "$folder/calm.json")" = "$(warnings "$folder/killed.json")" ] ||
        fail "other warnings: $(warnings "$folder/killed.json")"
    same "$folder/calm" "$folder/killed"
    rm -rf "$folder/killed"
done

# ---- a process that outlives its process 0 holds its journal: the next run waits for it ----
mkdir "$folder/.held.merging"
: > "$folder/.held.merging/journal.1"
: > "$folder/.held.merging/run.1"
: > "$folder/writing"
# shellcheck disable=SC2016
flock "$folder/.held.merging/journal.1" \
    sh -c 'while [ -e "$0" ]; do sleep .01; done' "$folder/writing" &
while flock -n "$folder/.held.merging/journal.1" true; do
    sleep .01
done
on 2 merge soup "$models"/rte-[1-2] -q --no-sync -o "$folder/held" &
run=$!
sleep 1
[ ! -e "$folder/held" ] || fail "a run ended while a process of another one wrote"
rm "$folder/writing"
wait $run
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
# A process that waits some seconds for the others in vain names itself and ends all.
grep -q "unknown method 'tis'" "$folder/said" &&
    [ "$(grep -c "^mergecraft[a-z-]*: unknown method 'tis'" "$folder/said")" -le 1 ] ||
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

# ---- a model, or a build of the library, that differs on one machine ----
for place in a b; do
    cp -r "$models/rte-1" "$folder/$place/model"
done
id=$(sed -n 's/.*return "\([0-9a-f]*\)".*/\1/p' "$build/build_id.c")
ln -s "$build/mergecraft-mpi" "$folder/a/program"
LC_ALL=C sed "s/$id/$(echo "$id" | tr 0-9a-f 1-9a-f0)/" "$build/mergecraft-mpi" \
    > "$folder/b/program"
chmod +x "$folder/b/program"
# differs EXPECTED PROGRAM MODEL: process 1 works in another folder.
differs()
{
    ! "$launcher" "$flag" 2 sh -c '
        cd "$1/a"
        [ "${OMPI_COMM_WORLD_RANK-${PMI_RANK-0}}" = 0 ] || cd "$1/b"
        exec "$2" merge soup "$3" "$4" -q -o "$1/differs"' sh "$folder" "$2" "$3" \
        "$models/rte-2" > /dev/null 2> "$folder/said" || fail "expected: $1"
    grep -q "process 1.* on $(hostname): .*$1" "$folder/said" ||
        fail "expected: $1; found: $(cat "$folder/said")"
    [ ! -e "$folder/differs" ] && [ ! -e "$folder/.differs.merging" ] || fail "a folder is left"
}
differs 'model.safetensors' "$build/mergecraft-mpi" model
differs 'same build of mergecraft' ./program "$models/rte-1"

# ---- a search: the trials of one process, on any number of them ----
lines()
{
    sed 's/,"seconds":[0-9.e-]*//' "$1"
}
# searches NAME PROCESSES ARGUMENTS...
searches()
{
    name=$1
    number=$2
    shift 2
    set -- search task "$models/rte-1" "$models/rte-2" "$models/rte-3" --base "$models/base" \
        --passthrough 'classifier.*' --eval rte --data "$models/data" -q "$@"
    "$build/mergecraft" "$@" --journal "$folder/$name" -o "$folder/best" > "$folder/said"
    lines "$folder/$name" > "$folder/$name.lines"
    on "$number" "$@" --journal "$folder/$name.$number" -o "$folder/best-of-several" \
        > "$folder/told"
    lines "$folder/$name.$number" | cmp "$folder/$name.lines" -
    sed 's/best-of-several:/best:/' "$folder/told" | cmp "$folder/said" -
    same "$folder/best" "$folder/best-of-several"
    rm -rf "$folder/best-of-several"
    rm -rf "$folder/best"
}
searches random 3 --space 'scale=.1:2,weights[*]=.1:1' --trials 4 --validate .3
searches grid 2 --space 'scale=.5:1.5:3' --strategy grid
searches coordinate 2 --space 'scale=.1:2' --trials 3 --strategy coordinate --parents
searches halving 3 --space 'scale=.1:2' --trials 4 --halving 2
# What three processes have begun, two resume: the first three lines are those of trial 1 and 2.
head -n 3 "$folder/random.3" > "$folder/random.cut"
on 2 search task "$models/rte-1" "$models/rte-2" "$models/rte-3" --base "$models/base" \
    --passthrough 'classifier.*' --eval rte --data "$models/data" -q --resume --trials 4 \
    --space 'scale=.1:2,weights[*]=.1:1' --validate .3 --journal "$folder/random.cut" > /dev/null \
    2> "$folder/said" || fail "a search was not resumed: $(cat "$folder/said")"
lines "$folder/random.cut" | cmp "$folder/random.lines" -

# ---- the dry run shows the shares, a run what each process did ----
check='
import json, sys
plan = json.load(sys.stdin)
shares = [one["bytes_written"] for one in plan["processes"]]
assert len(shares) == 3 and sum(shares) == plan["bytes_written"], shares
assert max(shares) <= 1.05 * sum(shares) / 3, shares
assert sum(one["bytes_read"] for one in plan["processes"]) >= .99 * plan["bytes_read"], plan
for i, one in enumerate(plan["processes"]):
    assert one["rank"] == i and one["memory"] > 1e5, one
    assert len(sys.argv) == 1 or one["host"] == sys.argv[1] and one["seconds"] >= 0, one'
on 3 merge soup "$models"/rte-[1-2] --dry-run --json -q -o "$folder/dry" | python3 -c "$check"
on 3 merge soup "$models"/rte-[1-2] --json -q --no-sync -o "$folder/run" |
    python3 -c "$check" "$(hostname)"
rm -rf "$folder/run"
on 2 merge soup "$models"/rte-[1-2] -v --no-sync -o "$folder/run" |
    grep -q "^ *1  $(hostname) " || fail "--verbose prints no line per process"
echo "the same bytes on several processes"

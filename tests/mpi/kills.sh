#!/bin/sh
# kills.sh BUILD_DIR MPIEXEC FLAG [ROUNDS]: kills a process of a merge at some moment, again and
# again. No folder appears before the merge is complete, and any number of processes resumes it.
set -eu
build=$(CDPATH= cd -- "$1" && pwd)
launcher=$2
flag=$3
rounds=${4:-100}
models=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)/examples/models
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

# The processes write their ids, so that none but these is killed.
cat > "$folder/process" << EOF
#!/bin/sh
echo \$\$ > "$folder/pid.\${OMPI_COMM_WORLD_RANK-\${PMI_RANK-0}}"
exec "$build/mergecraft-mpi" "\$@"
EOF
chmod +x "$folder/process"
set -- merge ties "$models/rte-1" "$models/rte-2" "$models/rte-3" --base "$models/base" -q \
    --shard-size 200kB --no-sync
"$build/mergecraft" "$@" -o "$folder/one" 2> /dev/null
killed=0
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    number=$((round % 4 + 2))
    rm -f "$folder"/pid.*
    # mpirun may wait for ever for processes that are killed while they start.
    timeout -s KILL 20 "$launcher" "$flag" $number "$folder/process" "$@" -o "$folder/out" \
        > /dev/null 2>&1 &
    run=$!
    victim=$folder/pid.$((round * 7 % number))
    while [ ! -s "$victim" ] && kill -s 0 $run 2> /dev/null; do
        sleep .005
    done
    sleep "$(awk -v i="$round" 'BEGIN { srand(i); printf "%.3f", .1 + rand() * .5 }')"
    kill -s KILL "$(cat "$victim")" 2> /dev/null || true
    if wait $run; then
        "$build/mergecraft" verify "$folder/out" > /dev/null
        rm -rf "$folder/out"
    else
        killed=$((killed + 1))
        [ ! -e "$folder/out" ] || "$build/mergecraft" verify "$folder/out" > /dev/null
    fi
    rm -rf "$folder/out"
done
"$launcher" "$flag" 3 "$build/mergecraft-mpi" "$@" -o "$folder/out" 2> /dev/null
for file in "$folder"/one/*.safetensors "$folder"/one/*.index.json; do
    cmp "$file" "$folder/out/${file##*/}"
done
[ ! -e "$folder/.out.merging" ] || { echo "kills.sh: the hidden folder is left"; exit 1; }
echo "$killed of $rounds merges were killed"

#!/usr/bin/env bash
# check_onednn.sh BUILD BUILD3: repeats the encoder tests against the oldest and the newest oneDNN
# that the supported systems ship: that of this machine (BUILD, made by `make build`), and Debian
# 13's, unpacked into build/onednn-newest with the C library that it needs (BUILD3 is for any oneDNN
# 3). Forty runs on all CPUs, beside them forty bound to one: threads that take turns on one CPU
# once uncovered a kernel that read outside its input. Only CPUs with AMX run the kernels in
# question; a note says if this CPU has none.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
build3=$2
runs=${RUNS:-40}
root=build/onednn-newest
packages='libdnnl-dev libdnnl3.6 libc6 libgcc-s1 libgomp1 libstdc++6'

unpack()
{
    local apt=$PWD/$root/apt
    rm -rf "$root"
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/packages" "$apt/parts"
    : > "$apt/status"
    # The mirror that this machine's apt uses.
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' | head -n 1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$mirror trixie main" > "$apt/sources.list"
    cat > "$apt/apt.conf" << CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/parts";
CONF
    export APT_CONFIG=$apt/apt.conf
    apt-get update -qq
    # shellcheck disable=SC2086
    (cd "$apt/packages" && apt-get download -qq $packages)
    for package in "$apt"/packages/*.deb; do
        dpkg -x "$package" "$root"
    done
    rm -rf "$apt"
    unset APT_CONFIG
    : > "$root/.complete"
}

# repeat NAME COMMAND...: fails at the first run that fails, and prints that one.
repeat()
{
    local name=$1 log
    shift
    log=$(mktemp)
    for ((i = 1; i <= runs; i++)); do
        if ! "$@" > "$log" 2>&1; then
            grep -v '^\[ *\(RUN\|OK\)' "$log"
            echo "$name: run $i of $runs failed"
            rm -f "$log"
            return 1
        fi
    done
    rm -f "$log"
    echo "$name: $runs runs passed"
}

both_ways()
{
    local name=$1 cpu
    shift
    cpu=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
    repeat "$name, all CPUs" "$@" &
    repeat "$name, CPU $cpu only" taskset -c "$cpu" "$@"
    wait $!
}

if grep -q '^flags.*amx_bf16' /proc/cpuinfo; then
    echo "this CPU has AMX"
else
    echo "note: this CPU has no AMX, whose kernels these runs are for; they test the others"
fi

both_ways "oneDNN of this system" "$build/tests/nn/test_nn_encoder"

[ -e "$root/.complete" ] || unpack
library=$(find "$root/usr/lib" -name libdnnl.so)
# BUILD3 loads it under this name. Debian's name has the minor version, too.
ln -sf libdnnl.so "$(dirname "$library")/libdnnl.so.3"
# Debian 13's libraries come first; what else the tests need is this system's.
loader=$(find "$root" -name 'ld-linux-x86-64.so.2' -type f)
folders=$(dirname "$loader"):$(dirname "$library"):/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/lib
newest=("$loader" --library-path "$folders")

cc tests/nn/amx_tail.c -I "$root/usr/include" -L "$(dirname "$library")" -ldnnl \
    -Wl,--allow-shlib-undefined -o build/onednn-newest/amx_tail
echo "the fault of oneDNN by itself (tests/nn/amx_tail.c):"
OMP_NUM_THREADS=1 "${newest[@]}" build/onednn-newest/amx_tail || echo "this version has the fault"
"${newest[@]}" "$build3"/tests/nn/test_nn_product > /dev/null 2>&1 ||
    { echo "test_nn_product failed with Debian 13's oneDNN"; exit 1; }
both_ways "oneDNN of Debian 13" "${newest[@]}" "$build3"/tests/nn/test_nn_encoder

#!/bin/sh
# nodes.sh BUILD_DIR: merges on three machines that do not exist: network namespaces with addresses
# and host names of their own, which talk by TCP only. By hand, as root, with Open MPI 4 and
# iproute2.
set -eu
build=$(CDPATH= cd -- "$1" && pwd)
models=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)/examples/models
folder=$(mktemp -d)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

remove()
{
    for node in 1 2 3; do
        ip netns del mc$node 2> /dev/null || true
    done
    ip link del mcbridge 2> /dev/null || true
    rm -rf "$folder"
}
trap remove EXIT

ip link add mcbridge type bridge
ip addr add 10.77.0.254/24 dev mcbridge
ip link set mcbridge up
for node in 1 2 3; do
    ip netns add mc$node
    ip link add mclink$node type veth peer name e0 netns mc$node
    ip link set mclink$node master mcbridge up
    ip -n mc$node link set lo up
    ip -n mc$node addr add 10.77.0.$node/24 dev e0
    ip -n mc$node link set e0 up
    echo "10.77.0.$node slots=2" >> "$folder/hosts"
done

# What ssh would do: the command on the host with this address.
cat > "$folder/agent" << 'EOF'
#!/bin/sh
host=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec ip netns exec "mc${host##*.}" unshare -u sh -c "hostname node${host##*.}; $*"
EOF
chmod +x "$folder/agent"

on_nodes()
{
    mpirun -n 6 --hostfile "$folder/hosts" --mca plm_rsh_agent "$folder/agent" \
        --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
        --mca btl tcp,self "$build/mergecraft-mpi" "$@"
}

set -- "$models/rte-1" "$models/rte-2" "$models/rte-3" --base "$models/base" -q
for method in soup ties mergekit:sce tsvm; do
    "$build/mergecraft" merge $method "$@" -o "$folder/one" 2> /dev/null
    on_nodes merge $method "$@" --threads 1 -o "$folder/six" 2> /dev/null
    cmp "$folder/one/model.safetensors" "$folder/six/model.safetensors"
    rm -rf "$folder/one" "$folder/six"
    echo "$method: the same bytes from three nodes"
done
# A process that fails is named with its node.
! on_nodes merge soup "$models/rte-1" "$models/absent" -o "$folder/out" > "$folder/said" 2>&1
grep -q absent "$folder/said"

#!/bin/sh
# arm64_sysroot.sh FOLDER: unpacks Debian's arm64 libraries for building and testing into FOLDER,
# once. Packages are only unpacked, not installed: this changes nothing on the machine and needs no
# rights.
set -eu
folder=$1
packages='libc6 libgcc-s1 libgomp1 libstdc++6 libcmocka-dev libcmocka0 libcurl4-openssl-dev
    libdnnl-dev libgfortran5 libjansson-dev libjansson4 libopenblas0-pthread libsnappy-dev
    libsnappy1v5 libssl-dev libyaml-dev libyaml-0-2 libzstd-dev libzstd1 zlib1g-dev zlib1g'

# The name of this file contains a checksum of the list: a new list is unpacked again.
complete=$folder/.complete-$(printf '%s' "$packages" | cksum | cut -d ' ' -f 1)
[ ! -e "$complete" ] || exit 0
if ! command -v apt-get > /dev/null; then
    echo "arm64_sysroot.sh: expected apt-get, to fetch Debian's arm64 libraries" >&2
    exit 1
fi
rm -rf "$folder"
mkdir -p "$folder/apt/state/lists/partial" "$folder/apt/cache/archives/partial" \
    "$folder/apt/packages"
apt=$(cd "$folder/apt" && pwd)
: > "$apt/status"
cat > "$apt/apt.conf" << CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
CONF
APT_CONFIG=$apt/apt.conf
export APT_CONFIG
apt-get update -qq
# shellcheck disable=SC2086
(cd "$apt/packages" && apt-get download -qq $packages)
for package in "$apt"/packages/*.deb; do
    dpkg -x "$package" "$folder"
done
rm -rf "$apt"
# An installed package would have made this link: Debian lets several BLAS libraries coexist.
ln -s openblas-pthread/libopenblas.so.0 "$folder/usr/lib/aarch64-linux-gnu/libopenblas.so.0"
: > "$complete"

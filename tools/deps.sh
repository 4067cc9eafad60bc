#!/bin/sh
# Installs the packages that building and testing need (Debian 12 and 13, Ubuntu 24.04). On other
# systems prints what is missing. Words add the packages of some checks:
#   tools/deps.sh [format] [clang] [llvm] [c++] [arm64] [valgrind] [tidy] [python] [wheel] [mpi]
set -eu

missing=
need()
{
    missing="$missing $1"
}

command -v cc > /dev/null || need gcc
printf '#include <stdio.h>\nint main(void) { return 0; }\n' > /tmp/mergecraft-deps-$$.c
cc -c -o /dev/null /tmp/mergecraft-deps-$$.c 2> /dev/null || need libc6-dev
rm -f /tmp/mergecraft-deps-$$.c
command -v cmake > /dev/null || need cmake
command -v ninja > /dev/null || need ninja-build
command -v make > /dev/null || need make
command -v pkg-config > /dev/null || need pkg-config
command -v python3 > /dev/null || need python3 # the Hub server of the tests
pkg-config --exists jansson 2> /dev/null || need libjansson-dev
pkg-config --exists yaml-0.1 2> /dev/null || need libyaml-dev
pkg-config --exists zlib 2> /dev/null || need zlib1g-dev
pkg-config --exists snappy 2> /dev/null || need libsnappy-dev
pkg-config --exists libzstd 2> /dev/null || need libzstd-dev
pkg-config --exists libcurl 2> /dev/null || need libcurl4-openssl-dev
pkg-config --exists libcrypto 2> /dev/null || need libssl-dev
[ -e /usr/include/dnnl.h ] || need libdnnl-dev
ldconfig -p | grep -qE 'lib(openblas|lapack)\.so' || need libopenblas0-pthread
ldconfig -p | grep -q 'libnlopt\.so\.' || need libnlopt0
pkg-config --exists cmocka 2> /dev/null || need libcmocka-dev
for extra in "$@"; do
    case $extra in
    format) command -v clang-format > /dev/null || need clang-format ;;
    clang) command -v clang > /dev/null || need clang ;;
    llvm) command -v llvm-cov > /dev/null || need llvm ;;
    wheel) [ -e /usr/lib/*/libopenblas.so ] || need libopenblas-dev ;;
    python)
        python3 -c 'import venv, ensurepip' 2> /dev/null || need python3-venv
        headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
        [ -e "$headers/Python.h" ] || need python3-dev
        ;;
    c++) command -v g++ > /dev/null || need g++ ;;
    arm64)
        command -v aarch64-linux-gnu-gcc > /dev/null ||
            need 'gcc-aarch64-linux-gnu libc6-dev-arm64-cross'
        command -v qemu-aarch64 > /dev/null || need qemu-user
        ;;
    valgrind) command -v valgrind > /dev/null || need valgrind ;;
    mpi) command -v mpicc > /dev/null || need 'libopenmpi-dev openmpi-bin' ;;
    tidy) command -v clang-tidy > /dev/null || need clang-tidy ;;
    *)
        echo "tools/deps.sh: expected format, clang, llvm, c++, arm64, valgrind, tidy, python," \
            "wheel or mpi, found '$extra'" >&2
        exit 2
        ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "missing (names of Debian packages):$missing" >&2
    exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$sudo apt-get install -y --no-install-recommends $missing > /dev/null 2>&1 || {
    $sudo apt-get update -q
    $sudo apt-get install -y --no-install-recommends $missing
}

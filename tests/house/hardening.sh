#!/bin/sh
# hardening.sh CC COMMAND LIBRARY: the built files have the usual protections, as readelf sees them.
set -eu
cc=$1
command=$2
library=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# lacks FILE FUNCTION: prints the first missing protection; fails if there is none. Control-flow
# protection is looked for at the beginning of a function: the file as a whole is marked only if the
# start files of the C library are.
lacks()
{
    LC_ALL=C readelf -hldW "$1" > "$folder/elf"
    LC_ALL=C readelf --dyn-syms -W "$1" > "$folder/symbols"
    has 'Type: *DYN' || { echo 'position independence' && return; }
    has 'GNU_RELRO' || { echo 'read-only relocations (relro)' && return; }
    has 'BIND_NOW|FLAGS_1.* NOW' || { echo 'full relro (-z now)' && return; }
    has 'GNU_STACK .* RW ' || { echo 'a stack that is not executable' && return; }
    ! has 'LOAD .* (RWE|W E)' ||
        { echo 'segments that are not both writable and executable' && return; }
    ! has 'TEXTREL' || { echo 'code without relocations' && return; }
    ! has 'RPATH|RUNPATH' || { echo 'no path to libraries of its own' && return; }
    grep -q '__stack_chk_fail' "$folder/symbols" || { echo 'stack protector' && return; }
    grep -Eq '__[a-z]+_chk(@|$)' "$folder/symbols" || { echo 'FORTIFY_SOURCE' && return; }
    [ "$(uname -m)" != x86_64 ] ||
        objdump -d --no-show-raw-insn --disassemble="$2" "$1" | grep -q endbr64 ||
        { echo 'control-flow protection' && return; }
    return 1
}

has()
{
    grep -Eq -- "$1" "$folder/elf"
}

# protected FILE FUNCTION
protected()
{
    if missing=$(lacks "$1" "$2"); then
        echo "$1: expected $missing, found none"
        exit 1
    fi
}
protected "$command" main
protected "$library" mc_version
LC_ALL=C readelf -dW "$command" | grep -q 'FLAGS_1.*PIE' || {
    echo "$command: expected a position-independent executable"
    exit 1
}

# The check finds each missing protection.
cat > "$folder/soft.c" <<'END'
#include <stdio.h>
int main(int n, char **a)
{
    char x[64];
    return sprintf(x, "%s", a[n - 1]);
}
END
good='-O2 -fPIE -pie -fstack-protector-all -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2'
good="$good -Wl,-z,relro,-z,now,-z,noexecstack"
[ "$(uname -m)" != x86_64 ] || good="$good -fcf-protection"

# soft EXPECTED OPTION...
soft()
{
    expected=$1
    shift
    # shellcheck disable=SC2086
    "$cc" $good "$@" -o "$folder/soft" "$folder/soft.c" 2> /dev/null
    found=$(lacks "$folder/soft" main) || found=nothing
    case $found in
    "$expected"*) ;;
    *) echo "with $*: expected that '$expected' is missing, found '$found'" && exit 1 ;;
    esac
}
soft nothing
soft position -no-pie -fno-pie
soft 'read-only' -Wl,-z,norelro
soft 'full relro' -Wl,-z,lazy
soft 'a stack' -Wl,-z,execstack
soft 'no path' -Wl,-rpath,/x
soft 'stack protector' -fno-stack-protector
soft 'FORTIFY' -D_FORTIFY_SOURCE=0
[ "$(uname -m)" != x86_64 ] || soft 'control-flow' -fcf-protection=none

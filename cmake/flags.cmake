# Compiler flags of every object. Arithmetic is as written in the source: no contraction, no
# reassociation.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG")

option(MC_WERROR "Warnings are errors" ON)
set(MC_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them")
option(MC_COVERAGE "Measure which lines run" OFF)

set(MC_WARNINGS
    -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wimplicit-fallthrough
    -Wno-missing-field-initializers)
if(CMAKE_C_COMPILER_ID MATCHES Clang)
    # Sanitizers and -O1 prevent requested vectorisation: slower, but correct.
    list(APPEND MC_WARNINGS -Wno-pass-failed)
endif()
# Files and tensors are little-endian; the code never swaps bytes.
if(CMAKE_C_BYTE_ORDER STREQUAL "BIG_ENDIAN")
    message(FATAL_ERROR "mergecraft needs a little-endian machine; the compiler targets a\
 big-endian one")
endif()
include(CheckCCompilerFlag)
set(MC_HARDENING -fstack-protector-strong)
# Control-flow protection (x86) and a guard page for large frames, if the compiler supports them.
foreach(flag IN ITEMS -fcf-protection -fstack-clash-protection)
    string(MAKE_C_IDENTIFIER "MC_HAS${flag}" known)
    check_c_compiler_flag(${flag} ${known})
    if(${known})
        list(APPEND MC_HARDENING ${flag})
    endif()
endforeach()
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT MC_SANITIZE)
    list(APPEND MC_HARDENING -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

function(mc_flags target)
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE _FILE_OFFSET_BITS=64)
    target_compile_options(
        ${target} PRIVATE ${MC_WARNINGS} ${MC_HARDENING} -ffp-contract=off -fno-math-errno
                          -fvisibility=hidden -fno-strict-aliasing)
    target_link_options(${target} PRIVATE -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
                                         -Wl,--build-id=sha1)
    if(MC_WERROR)
        target_compile_options(${target} PRIVATE -Werror)
    endif()
    if(NOT MC_SIMD)
        target_compile_definitions(${target} PRIVATE MC_SIMD=0)
    endif()
    if(MC_SANITIZE)
        target_compile_options(${target} PRIVATE -fsanitize=${MC_SANITIZE}
                                                 -fno-omit-frame-pointer -fno-sanitize-recover=all)
        target_link_options(${target} PRIVATE -fsanitize=${MC_SANITIZE})
    endif()
    if(MC_COVERAGE)
        target_compile_options(${target} PRIVATE --coverage)
        target_link_options(${target} PRIVATE --coverage)
    endif()
endfunction()

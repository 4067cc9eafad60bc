# Toolchain file for Debian's arm64 cross compiler (gcc-aarch64-linux-gnu); tests run in qemu-user.
# See `make check-arm64`.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)

# Libraries and headers, unpacked by tools/arm64_sysroot.sh. No --sysroot: the compiler brings its
# own C library.
set(MC_ARM64_ROOT ${CMAKE_CURRENT_LIST_DIR}/../build/arm64-sysroot
    CACHE PATH "Debian's arm64 libraries")
get_filename_component(MC_ARM64_ROOT ${MC_ARM64_ROOT} ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH ${MC_ARM64_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${MC_ARM64_ROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${MC_ARM64_ROOT}/usr/lib/aarch64-linux-gnu/pkgconfig)
# Libraries that other libraries need, such as snappy's C++.
set(triplet aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT
    "-Wl,-rpath-link,${MC_ARM64_ROOT}/usr/lib/${triplet}:${MC_ARM64_ROOT}/lib/${triplet}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT ${CMAKE_EXE_LINKER_FLAGS_INIT})

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${MC_ARM64_ROOT})

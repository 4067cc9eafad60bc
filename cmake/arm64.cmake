# Toolchain file: built for arm64 by Debian's cross compiler (gcc-aarch64-linux-gnu), tested by qemu-user. `make check-arm64` does all of it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)

# Libraries and their headers, as tools/arm64_sysroot.sh unpacks them. No --sysroot: the compiler has the C library's own.
set(MC_ARM64_ROOT ${CMAKE_CURRENT_LIST_DIR}/../build/arm64-sysroot CACHE PATH "Debian's arm64 libraries")
get_filename_component(MC_ARM64_ROOT ${MC_ARM64_ROOT} ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH ${MC_ARM64_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${MC_ARM64_ROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${MC_ARM64_ROOT}/usr/lib/aarch64-linux-gnu/pkgconfig)
# Libraries that libraries need, such as snappy's C++.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${MC_ARM64_ROOT}/usr/lib/aarch64-linux-gnu:${MC_ARM64_ROOT}/lib/aarch64-linux-gnu")
set(CMAKE_SHARED_LINKER_FLAGS_INIT ${CMAKE_EXE_LINKER_FLAGS_INIT})

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${MC_ARM64_ROOT})

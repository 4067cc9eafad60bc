# Installs the library, its headers, and its pkg-config file and CMake package. The command installs
# itself (cli/CMakeLists.txt).
include(CMakePackageConfigHelpers)

install(TARGETS mergecraft_shared mergecraft_static
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/mergecraft DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")

# Paths are relative to the installed file, so that the tree can be moved or staged below a DESTDIR.
file(RELATIVE_PATH MC_PC_PREFIX /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
string(REGEX REPLACE "/$" "" MC_PC_PREFIX "${MC_PC_PREFIX}")
configure_file(cmake/mergecraft.pc.in mergecraft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mergecraft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(MC_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/mergecraft)
configure_package_config_file(
    cmake/mergecraftConfig.cmake.in mergecraftConfig.cmake
    INSTALL_DESTINATION ${MC_PACKAGE_DIR}
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
# As for the SONAME: before 1.0 every minor version may be incompatible.
write_basic_package_version_file(mergecraftConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mergecraftConfig.cmake
              ${PROJECT_BINARY_DIR}/mergecraftConfigVersion.cmake
        DESTINATION ${MC_PACKAGE_DIR})

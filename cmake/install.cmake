# The library, its headers, and what pkg-config knows of it. The command installs itself (cli/CMakeLists.txt).
install(TARGETS mergecraft_shared mergecraft_static
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/mergecraft DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")

# Paths relative to the file itself, so that the tree may be moved, or installed below another prefix.
file(RELATIVE_PATH MC_PC_PREFIX /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
string(REGEX REPLACE "/$" "" MC_PC_PREFIX "${MC_PC_PREFIX}")
configure_file(cmake/mergecraft.pc.in mergecraft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mergecraft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

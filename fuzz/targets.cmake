# The targets of targets.list.
file(STRINGS ${PROJECT_SOURCE_DIR}/fuzz/targets.list lines REGEX "^[a-z]")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
             ${PROJECT_SOURCE_DIR}/fuzz/targets.list)
set(MC_FUZZ_TARGETS)
foreach(line IN LISTS lines)
    string(REGEX MATCH "^[a-z0-9_]+" target "${line}")
    list(APPEND MC_FUZZ_TARGETS ${target})
endforeach()

# An executable of a fuzz target and what drives it.
function(mc_fuzz_executable name)
    add_executable(${name} ${ARGN} ${PROJECT_SOURCE_DIR}/fuzz/files.c
                   ${PROJECT_SOURCE_DIR}/fuzz/fuzz.c)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/fuzz)
    target_link_libraries(${name} PRIVATE mergecraft_static)
    mc_flags(${name})
endfunction()

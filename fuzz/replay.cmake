# The inputs that are kept, run as ordinary tests with any compiler.
include(${CMAKE_CURRENT_LIST_DIR}/targets.cmake)
foreach(target IN LISTS MC_FUZZ_TARGETS)
    mc_fuzz_executable(replay_${target} ${CMAKE_CURRENT_LIST_DIR}/${target}.c
                       ${CMAKE_CURRENT_LIST_DIR}/replay.c)
    add_test(NAME fuzz_${target} COMMAND replay_${target}
                                         ${CMAKE_CURRENT_LIST_DIR}/corpus/${target})
    set_tests_properties(fuzz_${target} PROPERTIES TIMEOUT 600)
endforeach()

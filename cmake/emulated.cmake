# If CMAKE_CROSSCOMPILING_EMULATOR is set (qemu for another CPU, or valgrind), test scripts find
# wrapper scripts in place of the programs. MC_RUN_DIR is the build folder as test scripts see it.
set(MC_RUN_DIR ${PROJECT_BINARY_DIR})
# Timeouts of tests in seconds: valgrind is twenty times slower, qemu five.
set(MC_SCRIPT_TIMEOUT 600)
set(MC_TEST_TIMEOUT 900)
if(CMAKE_CROSSCOMPILING)
    set(MC_SCRIPT_TIMEOUT 900)
elseif(CMAKE_CROSSCOMPILING_EMULATOR)
    set(MC_SCRIPT_TIMEOUT 3600)
    set(MC_TEST_TIMEOUT 3600)
endif()
if(CMAKE_CROSSCOMPILING_EMULATOR)
    set(MC_RUN_DIR ${PROJECT_BINARY_DIR}/emulated)
endif()

function(mc_script path content)
    file(GENERATE OUTPUT ${MC_RUN_DIR}/${path} CONTENT "#!/bin/sh\nexec ${content} \"$@\"\n"
         FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                          WORLD_EXECUTE)
endfunction()

# Lets scripts find the program `target` at ${MC_RUN_DIR}/path.
function(mc_emulated target path)
    if(CMAKE_CROSSCOMPILING_EMULATOR)
        list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
        mc_script(${path} "${emulator} $<TARGET_FILE:${target}>")
    endif()
endfunction()

# Methods are compiled by `cc`: with this folder in PATH, for the emulated CPU.
if(CMAKE_CROSSCOMPILING AND CMAKE_CROSSCOMPILING_EMULATOR)
    mc_script(cc ${CMAKE_C_COMPILER})
endif()

# Where CMAKE_CROSSCOMPILING_EMULATOR names what runs the programs (qemu for another CPU, or valgrind), scripts of tests get scripts that call it
# in place of the programs. MC_RUN_DIR is the build folder as they see it.
set(MC_RUN_DIR ${PROJECT_BINARY_DIR})
# Seconds that a test may take: valgrind is twenty times slower, qemu five.
set(MC_SCRIPT_TIMEOUT 120)
set(MC_TEST_TIMEOUT 300)
if(CMAKE_CROSSCOMPILING)
    set(MC_SCRIPT_TIMEOUT 300)
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

# The program `target`, which scripts find at ${MC_RUN_DIR}/path.
function(mc_emulated target path)
    if(CMAKE_CROSSCOMPILING_EMULATOR)
        list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
        mc_script(${path} "${emulator} $<TARGET_FILE:${target}>")
    endif()
endfunction()

# Methods are compiled by `cc`: with this folder in the path, for the CPU that is emulated.
if(CMAKE_CROSSCOMPILING AND CMAKE_CROSSCOMPILING_EMULATOR)
    mc_script(cc ${CMAKE_C_COMPILER})
endif()

# One file, one folder of inputs and one target each.
set(MC_FUZZ_TARGETS safetensors index torch_zip pickle legacy params config)

# An executable of a fuzz target and what drives it.
function(mc_fuzz_executable name)
    add_executable(${name} ${ARGN} ${PROJECT_SOURCE_DIR}/fuzz/fuzz.c)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/fuzz)
    target_link_libraries(${name} PRIVATE mergecraft_static)
    mc_flags(${name})
    target_compile_options(${name} PRIVATE -Wno-missing-prototypes)
endfunction()

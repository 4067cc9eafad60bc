# Code that is compiled several times: merge methods per CPU level and real type, loops of tensor
# sources per CPU level. The source is the same plain C, so the results are the same bits. Encoder
# kernels are compiled per CPU level, too.
include(CheckCSourceCompiles)
check_c_source_compiles(
    "#if !defined(__x86_64__)\n#error\n#endif\nint main(void) { return 0; }" MC_X86_64)

set(MC_LEVELS scalar)
set(MC_LEVEL_FLAGS_scalar "")
# These kernels take half of the build time. The thread sanitizer and fuzzing builds omit them.
option(MC_SIMD "Also compile kernels for AVX2 and AVX-512" ON)
if(MC_X86_64 AND MC_SIMD)
    list(APPEND MC_LEVELS avx2 avx512)
    set(MC_LEVEL_FLAGS_avx2 -mavx2 -mf16c)
    set(MC_LEVEL_FLAGS_avx512 -mavx2 -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl
                              -mprefer-vector-width=512)
    set(MC_FUSED_FLAGS_avx2 -mfma)
    set(MC_FUSED_FLAGS_avx512 -mfma)
endif()

# The methods in src/methods/list.h, one line MC_METHOD(family, name) each, and two that are not
# in it. The family is a part of their symbols: src/methods/builtin.h.
set(method_list ${CMAKE_CURRENT_SOURCE_DIR}/src/methods/list.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${method_list})
set(MC_METHOD_SOURCES src/methods/compare.c src/methods/mean.c)
set_source_files_properties(${MC_METHOD_SOURCES} PROPERTIES COMPILE_DEFINITIONS
                                                            MC_METHOD_FAMILY=internal)
if(EXISTS ${method_list})
    file(STRINGS ${method_list} lines REGEX "^MC_METHOD\\(")
    foreach(line IN LISTS lines)
        string(REGEX MATCH "\\(([a-z0-9_]+), ([a-z0-9_]+)\\)" matched "${line}")
        set(family ${CMAKE_MATCH_1})
        set(name ${CMAKE_MATCH_2})
        set(source src/methods/${family}/${name}.c)
        list(APPEND MC_METHOD_SOURCES ${source})
        set_source_files_properties(${source} PROPERTIES COMPILE_DEFINITIONS
                                                         MC_METHOD_FAMILY=${family})
    endforeach()
endif()

function(mc_variant name sources flags)
    add_library(${name} OBJECT ${sources})
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_include_directories(${name} PRIVATE include src)
    mc_flags(${name})
    target_compile_options(${name} PRIVATE -O3 -fno-trapping-math ${flags})
endfunction()

# Sets the variable `objects` to the object files of all variants.
function(mc_add_variants objects)
    set(all)
    foreach(level IN LISTS MC_LEVELS)
        foreach(real IN ITEMS f32 f64)
            set(flags ${MC_LEVEL_FLAGS_${level}} -DMC_METHOD_VARIANT=_${real}_${level}
                      "SHELL:-include ${CMAKE_CURRENT_SOURCE_DIR}/src/methods/builtin.h")
            if(real STREQUAL "f64")
                list(APPEND flags -DMC_REAL_IS_DOUBLE)
            endif()
            mc_variant(methods_${real}_${level} "${MC_METHOD_SOURCES}" "${flags}")
            list(APPEND all $<TARGET_OBJECTS:methods_${real}_${level}>)
        endforeach()
        foreach(file IN ITEMS tensor/convert tensor/low_rank transplant/gram)
            get_filename_component(name ${file} NAME)
            mc_variant(${name}_${level} src/${file}_${level}.c "${MC_LEVEL_FLAGS_${level}}")
            list(APPEND all $<TARGET_OBJECTS:${name}_${level}>)
        endforeach()
        # Not the same bits: these use fused multiply-add if the CPU has it (src/nn/kernels.h,
        # src/linalg/gemm.h).
        set(flags ${MC_LEVEL_FLAGS_${level}} ${MC_FUSED_FLAGS_${level}} -ffp-contract=fast
                  -Wno-psabi -DMC_LEVEL=${level})
        foreach(file IN ITEMS nn/kernels linalg/gemm)
            string(REPLACE "/" "_" name ${file})
            mc_variant(${name}_${level} src/${file}_level.c "${flags}")
            list(APPEND all $<TARGET_OBJECTS:${name}_${level}>)
        endforeach()
    endforeach()
    set(${objects} ${all} PARENT_SCOPE)
endfunction()

# oneDNN, 2.x or 3.x: the header that is found decides which. Without MC_LINK_ONEDNN only the header is needed, and the library is loaded when
# an encoder is first used (src/nn/onednn.c), under the name that programs linked with it would ask for.
option(MC_LINK_ONEDNN "Link with oneDNN instead of loading it when it is needed" OFF)
find_path(DNNL_INCLUDE_DIR dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl)

set(soname)
if(DNNL_LIBRARY AND CMAKE_OBJDUMP)
    execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${DNNL_LIBRARY} OUTPUT_VARIABLE headers ERROR_QUIET)
    if(headers MATCHES "SONAME +([^ \n]+)")
        set(soname ${CMAKE_MATCH_1})
    endif()
endif()
set(MC_ONEDNN_SONAME "${soname}" CACHE STRING "Name of oneDNN's library when it is loaded; empty: as the header's version says")

# For the objects that use it.
function(mc_use_onednn target)
    target_include_directories(${target} PRIVATE ${DNNL_INCLUDE_DIR})
    if(MC_LINK_ONEDNN)
        target_compile_definitions(${target} PRIVATE MC_LINK_ONEDNN)
        find_package(OpenMP REQUIRED COMPONENTS C)
        target_link_libraries(mergecraft_needs INTERFACE ${DNNL_LIBRARY} ${OpenMP_C_LIBRARIES})
    elseif(MC_ONEDNN_SONAME)
        target_compile_definitions(${target} PRIVATE MC_ONEDNN_SONAME="${MC_ONEDNN_SONAME}")
    endif()
endfunction()

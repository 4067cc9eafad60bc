# oneDNN 2.x or 3.x, as the header says. Without MC_LINK_ONEDNN only the header is needed: the
# library is loaded when an encoder is first used (src/nn/onednn.c), under its SONAME.
option(MC_LINK_ONEDNN "Link oneDNN instead of loading it on first use" OFF)
find_path(DNNL_INCLUDE_DIR dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl)

set(soname)
if(DNNL_LIBRARY AND CMAKE_OBJDUMP)
    execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${DNNL_LIBRARY} OUTPUT_VARIABLE headers ERROR_QUIET)
    if(headers MATCHES "SONAME +([^ \n]+)")
        set(soname ${CMAKE_MATCH_1})
    endif()
endif()
set(MC_ONEDNN_SONAME "${soname}"
    CACHE STRING "Name under which oneDNN is loaded; empty: derived from the header's version")

# mc_use_onednn(target): for the objects that call oneDNN.
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

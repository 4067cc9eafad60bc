# Defines mc_build_id() in OUTPUT: a hash of the object files that LIST names, one per line.
# Programs that link the same library have the same id, and resume each other's merges.
file(STRINGS ${LIST} objects)
set(hashes)
foreach(object IN LISTS objects)
    file(SHA256 ${object} hash)
    string(APPEND hashes ${hash})
endforeach()
string(SHA256 id "${hashes}")
file(
    WRITE ${OUTPUT}
    "/* Made by cmake/build_id.cmake. */
#include \"base/build_id.h\"

const char *mc_build_id(void)
{
    return \"${id}\";
}
")

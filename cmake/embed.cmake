# cmake -DOUTPUT=x.c -DROOT=include -DFILES=a.h,b.h -P embed.cmake Writes the files as C arrays:
# compiling a method needs the headers, wherever the library is installed.
string(REPLACE "," ";" files "${FILES}")
set(arrays "")
set(table "")
foreach(name IN LISTS files)
    file(READ ${ROOT}/${name} hex HEX)
    string(MAKE_C_IDENTIFIER ${name} symbol)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND arrays "static const unsigned char ${symbol}[] = {${bytes}};\n")
    string(APPEND table "    {\"${name}\", ${symbol}, sizeof ${symbol}},\n")
endforeach()
file(WRITE ${OUTPUT}
     "#include \"merge/headers.h\"\n\n${arrays}\n"
     "const mc_header mc_headers[] = {\n${table}    {0}};\n")

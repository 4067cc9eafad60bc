#!/bin/sh
# install.sh ROOT BUILD CMAKE CC: the installation is complete. A program compiles and runs against
# the shared and the static library, by pkg-config and by CMake's find_package. Uninstalling leaves
# nothing.
set -eu
root=$1
build=$2
cmake=$3
cc=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
DESTDIR=$folder/stage "$cmake" --install "$build" --prefix /opt/mergecraft > "$folder/log"
prefix=$folder/stage/opt/mergecraft

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name mergecraft.pc)")
export PKG_CONFIG_PATH
libraries=$(pkg-config --variable=libdir mergecraft)
cat > "$folder/own.c" <<'END'
#include <mergecraft/mergecraft.h>

#include <stdio.h>

MC_LAYER_MERGE(first, .help = "the first model")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}

int main(void)
{
    const float values[2] = {1.5F, -2};
    const int64_t shape[1] = {2};
    mc_error error = MC_ERROR_NONE;
    mc_source *source = NULL;
    mc_state_dict *model = NULL, *merged = NULL;
    float out[2] = {0};
    if (mc_source_wrap(MC_F32, 1, shape, values, NULL, NULL, &source, &error) != MC_OK ||
        mc_state_dict_new(&model, &error) != MC_OK ||
        mc_state_dict_set(model, "w", source, &error) != MC_OK)
        return 1;
    const mc_state_dict *const models[2] = {model, model};
    const mc_merge_input input = {.models = models, .model_count = 2};
    if (mc_dict_map(&first, &input, &merged, NULL, &error) != MC_OK ||
        mc_source_read_f32(mc_state_dict_find(merged, "w"), 0, 2, out, &error) != MC_OK)
        return 1;
    printf("%s %zu %g %g\n", mc_version(), mc_method_count(), (double)out[0], (double)out[1]);
    mc_state_dict_free(merged);
    mc_state_dict_free(model);
    mc_source_unref(source);
    return 0;
}
END
# shellcheck disable=SC2046
"$cc" -std=gnu17 -Wall -Wextra -Werror -o "$folder/shared" "$folder/own.c" \
    $(pkg-config --cflags --libs mergecraft)
# The SONAME has the minor version as long as minor versions are incompatible.
version=$(pkg-config --modversion mergecraft)
case $version in
0.*) soname=libmergecraft.so.${version%.*} ;;
*) soname=libmergecraft.so.${version%%.*} ;;
esac
readelf -d "$folder/shared" | grep -qF "[$soname]" || {
    echo "the program does not need $soname"
    exit 1
}
LD_LIBRARY_PATH=$libraries "$folder/shared" > "$folder/shown"

mkdir "$folder/static_only"
cp "$libraries/libmergecraft.a" "$folder/static_only"
# shellcheck disable=SC2046
"$cc" -std=gnu17 -o "$folder/static" "$folder/own.c" -L"$folder/static_only" \
    $(pkg-config --static --cflags --libs mergecraft | sed "s|-L$libraries||")
"$folder/static" > "$folder/shown_static"
cmp "$folder/shown" "$folder/shown_static"
grep -q ' 1\.5 -2$' "$folder/shown"

# The same program by find_package.
mkdir "$folder/project"
cp "$folder/own.c" "$folder/project"
cat > "$folder/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(own C)
find_package(mergecraft 0.1 REQUIRED)
foreach(kind IN ITEMS mergecraft static)
    add_executable(with_${kind} own.c)
    target_link_libraries(with_${kind} PRIVATE mergecraft::${kind})
    target_compile_options(with_${kind} PRIVATE -std=gnu17)
endforeach()
END
"$cmake" -S "$folder/project" -B "$folder/project/build" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$prefix" > "$folder/log" 2>&1 &&
    "$cmake" --build "$folder/project/build" >> "$folder/log" 2>&1 || {
    cat "$folder/log"
    exit 1
}
for kind in mergecraft static; do
    "$folder/project/build/with_$kind" | cmp - "$folder/shown"
done

"$prefix/bin/mergecraft" methods --names | grep -qx median
for file in share/man/man1/mergecraft.1 share/bash-completion/completions/mergecraft \
    share/zsh/site-functions/_mergecraft share/fish/vendor_completions.d/mergecraft.fish \
    include/mergecraft/mergecraft.h; do
    [ -f "$prefix/$file" ] || {
        echo "$file is not installed"
        exit 1
    }
done

"$root/tools/uninstall.sh" "$build/install_manifest.txt" /opt/mergecraft "$folder/stage"
left=$(find "$prefix" -type f)
[ -z "$left" ] && [ ! -d "$prefix/include/mergecraft" ] || {
    echo "uninstalling leaves $left $(ls -d "$prefix/include/"*)"
    exit 1
}

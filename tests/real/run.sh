#!/usr/bin/env bash
# run.sh DATA_DIR [MERGECRAFT]: merges five real fine-tunes (DATA_DIR/models) by every method and compares with torch.
# Needs python with torch, numpy, safetensors and transformers: $PYTHON, else .venv/bin/python, else python3.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
data=$(cd "$1" && pwd)
command=$(realpath "${2:-$root/build/release/mergecraft}")
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$data/models/assemble.sh" "$work"
exec_status=0
"$python" "$here/real.py" "$command" "$work" || exec_status=$?
exit $exec_status

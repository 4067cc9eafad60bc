#!/usr/bin/env bash
# run.sh DATA_DIR [MERGECRAFT]: merges five real fine-tunes (DATA_DIR/models) by every method and
# compares with torch; and the logits of encoders. Needs python with torch, numpy, safetensors,
# pyarrow and transformers: $PYTHON, else .venv/bin/python, else python3.
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
"$python" "$here/evaluate.py" "$command" "$work" "$data/glue/rte" || exec_status=$?
"$python" "$here/search.py" "$command" "$work" "$data/glue/rte" || exec_status=$?
# The encoders, where the build has the program that runs them alone.
encoder=$(dirname "$command")/bench/bench_encoder
if [ -x "$encoder" ]; then
    "$python" "$here/logits.py" "$encoder" "$work" "$data/glue/rte/validation.parquet" ||
        exec_status=$?
fi
"$python" -W ignore "$here/observe.py" "$command" "$work" "$data/glue/rte" || exec_status=$?
"$python" "$here/hub.py" "$command" "$work" "$data/glue" || exec_status=$?
"$python" "$here/upload.py" "$command" || exec_status=$?
exit $exec_status

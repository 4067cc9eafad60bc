# Merged in memory, scored, nothing written; or written and scored.
ln -s "$SOURCE/examples/models" models
five='models/rte-1 models/rte-2 models/rte-3 models/rte-4 models/rte-5'
# shellcheck disable=SC2086
{
    expect 0 mergecraft merge median $five --eval rte --data models/data
    expect 0 mergecraft merge soup $five --eval rte --data models/data -o merged
    sed -n -e '/^model-index/,/^---/p' -e '/^## Evaluation/,$p' merged/README.md
    expect 0 mergecraft verify merged
    expect 0 mergecraft merge soup $five --eval rte --data models/data --json > json
    sed 's/"seconds":[0-9.e-]*/"seconds":0/g' json
    expect 0 mergecraft eval merged rte --data models/data
    expect 0 mergecraft merge ties $five --base models/base --passthrough 'classifier.*' \
        --eval rte --data models/data -q
    expect 0 mergecraft merge median $five --eval rte --data models/data --dry-run | tail -n 1
}
# What only the values show is reported as in a merge into a folder: a matrix of two rows has fewer
# singular directions than three models.
mergecraft merge tsvm models/rte-1 models/rte-2 models/rte-3 --base models/base --eval rte \
    --data models/data --passthrough 'classifier.*' --matrices '*token_type*' 2>&1 |
    grep -c 'was averaged: fewer singular directions than models'
# A method of one's own, and predictions.
cat > mine.c <<'END'
#include <mergecraft/method.h>
MC_LAYER_MERGE(mine, .help = "the mean")
{
    mc_tile_mean(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}
END
# shellcheck disable=SC2086
expect 0 mergecraft merge ./mine.c $five --eval rte --data models/data --predictions lines
[ "$(wc -l < lines)" -eq 600 ] || fail "$(wc -l < lines) lines"
ls
expect 2 mergecraft merge median models/rte-1 models/rte-2
expect 2 mergecraft merge median models/rte-1 models/rte-2 --eval rte --data models/data \
    --eval-dtype x
expect 2 mergecraft merge median models/rte-1 models/rte-2 -o out --data models/data
expect 2 mergecraft merge median models/rte-1 models/rte-2 --eval rtee --data models/data
expect 1 mergecraft merge median models/base models/base --eval rte --data models/data

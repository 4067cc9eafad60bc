#!/bin/sh
# hub.sh [OUT_DIR]: merges five fine-tunes of BERT on RTE from the Hub (a download of 2.6 GB) and
# scores the merges. Writes the folders median and ties in OUT_DIR, replacing earlier ones.
# mergecraft must be in PATH.
set -eu
out=${1:-hub-output}

set -- textattack/bert-base-uncased-RTE yoshitomo-matsubara/bert-base-uncased-rte \
    Ruizhou/bert-base-uncased-finetuned-rte howey/bert-base-uncased-rte \
    anirudh21/bert-base-uncased-finetuned-rte

# Prints what would be read, written and downloaded. Only headers are downloaded.
mergecraft merge median "$@" -o "$out/median" --overwrite --dry-run

mergecraft merge median "$@" -o "$out/median" --overwrite --quiet
# The base has no head for the task: the head of the models is averaged.
mergecraft merge ties "$@" --base google-bert/bert-base-uncased -p k=.1 \
    --passthrough 'classifier.*' -o "$out/ties" --overwrite --quiet

for model in "$1" "$out/median" "$out/ties"; do
    mergecraft eval "$model" rte
done

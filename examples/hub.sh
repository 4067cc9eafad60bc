#!/bin/sh
# hub.sh [OUT_DIR]: merges five fine-tunes of BERT on RTE by their names on the Hub and scores the merges: 2.6 GB are downloaded.
# OUT_DIR gets median and ties, two folders, made anew; mergecraft has to be on PATH.
set -eu
out=${1:-hub-output}

set -- textattack/bert-base-uncased-RTE yoshitomo-matsubara/bert-base-uncased-rte \
    Ruizhou/bert-base-uncased-finetuned-rte howey/bert-base-uncased-rte anirudh21/bert-base-uncased-finetuned-rte

# What would be read, written and downloaded; only headers travel.
mergecraft merge median "$@" -o "$out/median" --overwrite --dry-run

mergecraft merge median "$@" -o "$out/median" --overwrite --quiet
# The base has no head for the task: that of the first model is taken.
mergecraft merge ties "$@" --base google-bert/bert-base-uncased -p k=.1 --passthrough 'classifier.*' \
    -o "$out/ties" --overwrite --quiet

for model in "$1" "$out/median" "$out/ties"; do
    mergecraft eval "$model" rte
done

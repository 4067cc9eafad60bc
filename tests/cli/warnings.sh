# What is noticed and not an error is a warning; an error with --strict; nothing with --quiet.
model a 1
model b 2
helper model extra.safetensors encoder.weight:2x3:3 classifier.weight:1x2:3 pooler.weight:1x2:5
expect 0 mergecraft merge median a b extra.safetensors -o out
expect 0 helper values out/model.safetensors pooler.weight
expect 0 mergecraft merge median a b extra.safetensors -o quiet -q
expect 0 mergecraft merge median a b extra.safetensors -o out2 --json > json
tail -n +2 json | helper json warnings
expect 1 mergecraft merge median a b extra.safetensors -o strict --strict
# A pattern that fits nothing.
expect 2 mergecraft merge median a b -o strict --passthrough 'classifer.*' --passthrough 'encoder.*'
expect 0 mergecraft merge median a b -o out3 --passthrough 'classifer.*' --allow-unused
expect 1 mergecraft merge median a b -o strict --passthrough 'classifer.*' --allow-unused --strict
# The usual name of a head that these models do not have is not a mistyped one.
expect 0 mergecraft merge median a b -o out4 --passthrough 'score*'
expect 1 mergecraft merge median a b -o strict --passthrough 'score*' --strict
# The same model twice, under another name, too; a base that is one of the models; one model only.
ln -s a link
for models in 'a b link' 'a --base a b' 'a'; do
    # shellcheck disable=SC2086
    expect 0 mergecraft merge task --base b $models -o out -q --overwrite --json > json
    tail -n +2 json | helper json warnings
    # shellcheck disable=SC2086
    expect 1 mergecraft merge task --base b $models -o strict --strict
done
# NaN and infinity, with counts per model.
mkdir odd
helper model odd/model.safetensors encoder.weight:2x3:nan classifier.weight:1x2:inf
cp a/config.json odd
expect 0 mergecraft merge soup a odd -o out --overwrite
grep -A 3 '^## Warnings' out/README.md
expect 0 mergecraft merge soup a odd -o out --overwrite -q --json > json
tail -n +2 json | helper json warnings
expect 1 mergecraft merge soup a odd -o strict --strict
# Licences that differ.
printf -- '---\nlicense: mit\nlanguage: en\nbase_model: google-bert/bert-base-uncased\n%s---\n' \
    'tags: [nli, generated_from_trainer, merge]
datasets:
- nyu-mll/glue
metrics: [accuracy]
' > a/README.md
printf -- '---\nlicense: apache-2.0\nlanguage: [en, de]\n%s---\n' 'tags:
- rte
- nli
datasets: nyu-mll/glue
' > b/README.md
expect 0 mergecraft merge soup a b -o out --overwrite
sed -n '1,/^#/p' out/README.md
expect 1 mergecraft merge soup a b -o strict --strict
sed -i s/apache-2.0/mit/ b/README.md
expect 0 mergecraft merge soup a b -o out --overwrite --strict
grep license out/README.md
# A local model is named as an ancestor only if nothing on the Hub can have its name.
rm a/README.md b/README.md
mv b "b of mine"
expect 0 mergecraft merge soup a "b of mine" -o out --overwrite
sed -n '1,/^tags/p' out/README.md
[ ! -e strict ] || fail 'strict was made'

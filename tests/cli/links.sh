# A target that is a link: what it leads to is replaced, where it lies, and the link stays. A link
# to nothing is an error at once.
for i in 1 2 3; do model m$i $i; done
mkdir disk
ln -s disk/out out
expect 1 mergecraft merge -q median m1 -o out
expect 1 mergecraft merge -q median m1 -o out/ --overwrite
mergecraft merge -q median m1 -o disk/out
expect 1 mergecraft merge -q median m1 m2 m3 -o out
for value in 1 3; do
    expect 0 mergecraft merge -q soup m$value -o out --overwrite
    expect 0 helper values disk/out/model.safetensors classifier.weight
done
expect 0 mergecraft merge -q median m1 m2 m3 -o out/ --overwrite
expect 0 helper values disk/out/model.safetensors classifier.weight
[ -L out ] || fail 'the link is gone'
[ "$(ls -A disk)" = out ] && [ -z "$(find . -name '.*.merging')" ] ||
    fail "left behind: $(find . -name '.*')"

# The links of inputs are followed, and so found to be what is overwritten.
ln -s m1 l1
expect 0 mergecraft merge -q median l1 m2 -o out2
expect 2 mergecraft merge -q median m1 m2 -o l1 --overwrite
mkdir m1/inner
expect 2 mergecraft merge -q median m1 m2 -o l1/inner --overwrite --dry-run
# A new folder in a model leaves the model as it is.
expect 0 mergecraft merge -q median m1 m2 -o l1/merged
expect 0 mergecraft merge -q median m1 m2 -o m1/merged --overwrite
expect 0 ls m1/merged
ln -s loop loop
expect 1 mergecraft merge -q median m1 m2 -o loop --overwrite

# From a folder that was removed.
gone()
(
    mkdir gone
    cd gone
    rmdir ../gone
    "$@"
)
expect 1 gone mergecraft merge -q median "$PWD/m1" "$PWD/m2" -o out 2> said
grep -q '^mergecraft: .out.merging: cannot create the folder: No such file' said ||
    fail "$(cat said)"

# The model card calls models by the last part of their paths, also where a shell has put a slash
# behind it.
expect 0 mergecraft merge -q median "$PWD/m1/" m2// -o card
sed -n "/^| model/,/^$/p" card/README.md

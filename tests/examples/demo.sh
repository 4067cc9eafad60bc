# The demo runs twice into the same folder, and shows each model and the merge.
"$examples/demo.sh" "$BUILD" out > said
"$examples/demo.sh" "$BUILD" out > said
for i in 1 2 3 4 5; do
    says said "examples/models/rte-$i "
done
grep -q '^The merge: 73 tensors, 1353224 bytes, [0-9.e-]* seconds, in$' said || fail "$(cat said)"
grep -q '^examples/models/rte-1  *81\.8 %' said || fail "the accuracy of rte-1: $(cat said)"
grep -q '^their median  *[78][0-9]\.[0-9] %' said || fail "the accuracy of the merge: $(cat said)"
opens out
"$mergecraft" merge -q median "$models"/rte-[1-5] -o built-in
cmp built-in/model.safetensors out/model.safetensors

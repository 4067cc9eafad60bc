# The median by the built-in method, by a method in a file and by a program is the same, byte by
# byte.
"$mergecraft" merge -q median "$models"/rte-[1-5] -o built-in
"$mergecraft" merge -q "$examples/median.c" "$models"/rte-[1-5] -o from-file
"$tutorial" "$models" from-program > said
cmp built-in/model.safetensors from-file/model.safetensors
cmp built-in/model.safetensors from-program/median/model.safetensors
says said 'read back: 338306 elements, 0 differ'
opens from-program/median
opens from-program/along-the-mean

# The program's other result is .8 of the way from the base to the mean, except for the classifier,
# which is averaged.
"$mergecraft" merge -q task "$models"/rte-[1-5] --base "$models/base" -p scale=.8 \
    --passthrough 'classifier.*' -o task
"$compare" task from-program/along-the-mean > compared
awk 'NR == 2 { exit !($NF < 1e-6) }' compared || fail "$(cat compared)"

# The program runs again into the same folder. Errors are one line.
"$tutorial" "$models" from-program > said
cmp built-in/model.safetensors from-program/median/model.safetensors
"$tutorial" "$models" built-in/config.json > said 2> wrong && fail 'the tutorial wrote into a file'
says wrong 'tutorial: '
"$tutorial" "$models" only-one too-many 2> wrong && fail 'three arguments were accepted'
says wrong 'usage: '

# compare: nothing between a model and itself, something between others; errors are one line.
"$compare" "$models/rte-1" "$models/rte-1" "$models/rte-2" > said
awk 'NR == 2 { exit !($(NF - 1) == "0" && $NF == "0") }' said || fail "$(cat said)"
awk 'NR == 3 { exit !($(NF - 1) > 0 && $NF > $(NF - 1)) }' said || fail "$(cat said)"
"$compare" "$models/rte-1" "$models/rte-4" "$models/rte-5" > said
says said 'torch legacy'
says said 'F16'

"$compare" "$models/rte-1" missing > said 2> wrong && fail 'a model that is missing was accepted'
says wrong 'compare: missing: '
"$compare" "$models/rte-1" 2> wrong && fail 'one model was accepted'
says wrong 'usage: '

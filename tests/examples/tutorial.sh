# The shell tutorial runs twice, and every folder that it makes can be opened.
"$examples/tutorial.sh" "$mergecraft" made > said 2> messages
"$examples/tutorial.sh" "$mergecraft" made > said 2> messages
says said 'The two results are the same, byte by byte.'
for made in median my-median ties hessians soup; do
    opens "made/$made"
done

# Of the same weights everywhere, the weighted mean is the mean.
"$mergecraft" merge -q soup "$models/rte-1" "$models/rte-2" -o mean
"$compare" mean made/hessians > compared
awk 'NR == 2 { exit !($NF < 1e-6) }' compared || fail "$(cat compared)"

# The nearest name is offered for what does not exist.
mkdir models
model models/rte-1 1
model models/sst-1 1
cd models
expect 1 mergecraft inspect rte-2
expect 1 mergecraft inspect ./rte1
expect 1 mergecraft inspect rte-1/modl.safetensors
cd ..
expect 1 mergecraft inspect modles/rte-1
expect 1 mergecraft inspect modles/rte-2
expect 1 mergecraft inspect completely/elsewhere
expect 1 mergecraft inspect "$PWD/modles/rte-1"
expect 1 mergecraft inspect models/qqqqqqqqqq
expect 1 mergecraft merge median models/rte-1 models/rte_1 -o out
expect 1 mergecraft merge median models/rte-1 --base models/rte_1 -o out
expect 2 mergecraft merge ties models/rte-1 --base models/sst-1 -o out -p kk=1
touch mine.c
expect 1 mergecraft merge ./mime.c models/rte-1 -o out
expect 1 mergecraft merge mime.c models/rte-1 -o out
expect 2 mergecraft help inspcet
expect 2 mergecraft merge soup models/rte-1 models/sst-1 weights=.3,.7 -o out
expect 2 mergecraft eval rte models/rte-1
expect 2 mergecraft classify 'Every surgeon slept.' models/rte-1
expect 2 mergecraft merge models/rte-1 soup models/sst-1 -o out
# Other spellings, and names with more words.
for method in ISO-C subspace_boost regmean_plus; do
    expect 2 mergecraft merge $method models/rte-1 --base models/sst-1 -o out
done
expect 2 mergecraft merge ties models/rte-1 --base models/sst-1 -o out -p top_k=.2
expect 2 mergecraft merge breadcrumbs models/rte-1 --base models/sst-1 -o out -p per=tensor

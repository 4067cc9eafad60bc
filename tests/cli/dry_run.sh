# --dry-run shows the plan and makes nothing.
for i in 1 2 3; do model m$i $i; done
expect 0 mergecraft merge median m1 m2 m3 --dry-run
expect 0 mergecraft merge median m1 m2 m3 -o out --dry-run --passthrough 'classifier.*' --dtype bf16
expect 0 mergecraft merge median m1 m2 m3 -o out --dry-run --json > json
tail -n +2 json > object
helper json < object
for path in output method models base tensors bytes_read bytes_written plan plan.0.shape; do
    expect 0 helper json $path < object
done
[ ! -e out ] || fail 'a dry run made the folder'
[ "$(ls -A | grep -c '^\.')" = 0 ] || fail 'a dry run left something behind'

# merge --json: one object with what was done.
for i in 1 2 3; do model m$i $i; done
expect 0 mergecraft merge median m1 m2 m3 -o out --json > json
tail -n +2 json > object
helper json < object
for path in output method parameters models base sides warnings tensors bytes_read bytes_written \
    bytes_resumed; do
    expect 0 helper json $path < object
done
helper json seconds < object | grep -Eq '^[0-9]+\.[0-9]+$' || fail 'seconds is no number'
expect 0 mergecraft merge median m1 m2 m3 -o out2 --json -q > json
tail -n +2 json | helper json output

# With --json a mistake is told on both streams, wherever the option stands.
model a 1
expect 2 mergecraft mrege --json
expect 2 mergecraft merge --bsae --json
expect 2 mergecraft merge --json median
expect 1 mergecraft merge --json median a missing -o out
expect 1 mergecraft inspect missing --json
expect 1 mergecraft merge median a -o out -- --json --bsae

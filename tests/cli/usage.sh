# Wrong usage is exit 2, with a line that says what is wrong and a hint.
model a 1
model b 2
expect 2 mergecraft
expect 2 mergecraft mrege
expect 2 mergecraft frobnicate
expect 2 mergecraft --json merge
expect 2 mergecraft -x
expect 2 mergecraft --
expect 2 mergecraft help mrege
expect 2 mergecraft help merge inspect
expect 2 mergecraft merge
expect 2 mergecraft merge median
expect 2 mergecraft merge median a b
expect 2 mergecraft merge median a b -o
expect 2 mergecraft merge median a b -o ''
expect 2 mergecraft merge median a b -o out --bsae a
expect 2 mergecraft merge median a b -o out --zzz
expect 2 mergecraft merge median a b -o out -z
expect 2 mergecraft merge median a b -o out -qz
expect 2 mergecraft merge median a b -o out -é
expect 2 mergecraft merge median a b -o out --strict=yes
expect 2 mergecraft merge median a b -o out --dtype int8
expect 2 mergecraft merge median a b -o out --dtype f64
expect 2 mergecraft merge median a b -o out --threads 0
expect 2 mergecraft merge median a b -o out --threads 1025
expect 2 mergecraft merge median a b -o out --threads two
expect 2 mergecraft merge median a b -o out --seed -1
expect 2 mergecraft merge median a b -o out --seed 18446744073709551616
expect 2 mergecraft merge median a b -o out --shard-size 5XB
expect 2 mergecraft merge median a b -o out --shard-size 0B
expect 2 mergecraft merge median a b -o out --memory -1MB
expect 2 mergecraft merge median a b -o out --memory 0x10
expect 2 mergecraft merge median a b -o out --memory 1e3
expect 2 mergecraft merge median a b -o out --memory 1.2.3MB
expect 2 mergecraft merge median a b -o out --side hessians
expect 2 mergecraft merge median a b -o out --side hessians=
expect 2 mergecraft merge median a b -o out --side =a,b
expect 2 mergecraft merge median a b -o out --side hessians=a
expect 2 mergecraft merge median a b -o out --side hessians=a,b
expect 2 mergecraft merge medain a b -o out
expect 2 mergecraft merge frobnicate a b -o out
expect 2 mergecraft merge mergecraft:medain a b -o out
expect 2 mergecraft merge ./a b -o out
expect 2 mergecraft merge median a b -o out -p k
expect 2 mergecraft merge median a b -o out -p k=1
expect 2 mergecraft merge ties a b -o out
expect 2 mergecraft inspect
expect 2 mergecraft inspect a b
expect 2 mergecraft inspect ''
expect 2 mergecraft merge median a '' -o out
expect 2 mergecraft inspect a --sumary
expect 2 mergecraft methods median ties
expect 2 mergecraft methods medain
[ ! -e out ] || fail 'out was made'

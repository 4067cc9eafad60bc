# What there is, and what a method takes.
expect 0 mergecraft methods > list
grep -q '^METHOD  *WHAT$' list || fail 'no titles'
grep -q '^median  *element-wise median' list || fail 'no median'
expect 0 mergecraft methods --names > names
# By family and name; names without a family are of the family mergecraft.
tail -n +2 names | sed 's/^[^:]*$/mergecraft:&/' | LC_ALL=C sort -c || fail 'names are not sorted'
grep -qx median names || fail 'no median'
[ "$(wc -l < names)" = "$(($(wc -l < list) - 1))" ] || fail 'the lists differ'
expect 0 mergecraft methods median
expect 0 mergecraft methods mergecraft:median
expect 0 mergecraft methods ties
mergecraft methods regmean > one
grep -q '^side *needed: --side grams=MODEL,...; it may lack tensors$' one ||
    fail 'the Gram matrices of some tensors may be missing'
mergecraft methods fisher | grep -q '^side *needed: --side fishers=MODEL,...$' || fail 'no side'
for name in $(tail -n +2 names); do
    mergecraft methods "$name" > one || fail "$name cannot be described"
    grep -q "^method  *$name\$" one || fail "$name is called otherwise"
    mergecraft methods --json "$name" | helper json methods.0.name | grep -qx "\"$name\"" ||
        fail "$name is called otherwise in JSON"
done
mergecraft methods --json | helper json
mergecraft methods --json median | helper json methods.0

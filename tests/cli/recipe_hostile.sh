# Hostile recipes: each gives an error with its line, within seconds and 64 MB of address space.
model m1 1

# A sanitizer reserves terabytes of address space: no limit there.
limit=65536
(
    ulimit -v $limit
    mergecraft --version
) > /dev/null 2>&1 || limit=unlimited

# hostile NAME: checks the recipe on standard input.
hostile()
{
    name=$1
    cat > "$name.yml"
    status=0
    (
        ulimit -v $limit
        timeout 20 mergecraft check "$name.yml"
    ) > out 2> err || status=$?
    [ "$status" -eq 1 ] || fail "$name: exit status $status: $(head -c 300 err)"
    [ ! -s out ] || fail "$name: prints to standard output"
    grep -aqE "^mergecraft: $name\.yml:[0-9]+:[0-9]+: " err ||
        fail "$name: no line: $(head -c 300 err)"
}

# repeat COUNT TEXT
repeat()
{
    awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n; i++) printf "%s", s }'
}

valid='merge_method: linear
parameters: {weight: 1}
models: [{model: m1}]
'

# ---- size and depth ----
hostile empty < /dev/null
printf '# nothing\n' | hostile only_comment
{ printf '%s' "$valid" && repeat 1100000 ' ' && printf '\nx: 1\n'; } | hostile large
repeat 100000 '[' | hostile deep_lists
repeat 100000 '{a: ' | hostile deep_maps
repeat 5000 '- ' | hostile deep_dashes
{ printf 'models: ' && repeat 65 '[' && repeat 65 ']'; } | hostile levels_65
awk 'BEGIN { for (i = 0; i < 2000; i++) { for (k = 0; k < i; k++) printf " "; print "a:" } }' |
    head -c 900000 | hostile deep_indent
{ printf 'models: [' && repeat 150000 'a,' && printf ']\n'; } | hostile many_nodes
awk 'BEGIN { for (i = 0; i < 5000; i++) print "k" i ": 1" }' | hostile many_keys
awk 'BEGIN { for (i = 0; i < 2000; i++) print "- &a" i " x" }' | hostile many_anchors
{ repeat 2000 k && printf ': 1\n'; } | hostile long_key
{ printf '? "' && repeat 100000 k && printf '"\n: 1\n'; } | hostile long_explicit_key
awk 'BEGIN { for (i = 0; i < 90000; i++) print "---" }' | hostile many_documents

# ---- aliases and merge keys ----
bomb()
{
    echo 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]'
    for i in 1 2 3 4 5 6 7 8 9; do
        j=$((i - 1))
        echo "a$i: &a$i [*a$j, *a$j, *a$j, *a$j, *a$j, *a$j, *a$j, *a$j, *a$j, *a$j]"
    done
}
bomb | hostile billion_laughs
{ bomb && printf '%s' "$valid"; } | hostile billion_laughs_unused
awk 'BEGIN { print "a0: &a0 {k0: 1, l0: 2}"
    for (i = 1; i < 40; i++) {
        printf "a%d: &a%d {<<: [*a%d, *a%d], ", i, i, i - 1, i - 1
        printf "k%d: *a%d}\n", i, i - 1
    } }' |
    hostile merge_key_bomb
printf 'a: &a [*a]\n' | hostile recursive_list
printf 'a: &a {b: *a}\n' | hostile recursive_map
printf 'a: &a {<<: *a}\n' | hostile recursive_merge
printf 'a: *nothing\n' | hostile undefined_alias
printf 'a: &x 1\nb: &x 2\nc: *x\nd: *y\n' | hostile redefined_anchor
printf 'a: {<<: 7}\n' | hostile merge_of_number
printf 'a: {<<: [7]}\n' | hostile merge_of_list
printf 'a: <<\n' | hostile lone_merge
printf 'a: =\n' | hostile lone_value

# ---- bytes ----
printf 'a: \377\376\n' | hostile invalid_utf8
printf 'a: \300\200\n' | hostile overlong_utf8
printf 'a: \355\240\200\n' | hostile surrogate
printf '\376\377\000a\000:\000 \0001' | hostile utf16_big
printf '\377\376a\000:\000 \0001\000' | hostile utf16_little
printf 'a: b\000c\n' | hostile nul
printf 'a: \001\n' | hostile control
printf 'a: "\\x"\n' | hostile bad_escape
printf 'a: "\\ud800"\n' | hostile escaped_surrogate
printf 'a: "never closed\n' | hostile open_quote
printf 'a: [1, 2\n' | hostile open_list
printf 'a: {b: 1\n' | hostile open_map
printf 'a:\n\tb: 1\n' | hostile tab
printf '%%YAML 9.9\n---\na: 1\n' | hostile version
printf '%%TAG ! tag:x,2000:\n%%TAG ! tag:y,2000:\n---\na: 1\n' | hostile tag_twice
printf 'a: !!python/object/apply:os.system ["true"]\n' | hostile python_tag
printf 'a: !unknown 1\n' | hostile unknown_tag
printf '@a: 1\n' | hostile at_sign
printf 'a: b: c\n' | hostile colon_twice
printf '? [a]\n: 1\n' | hostile list_key

# ---- values ----
recipe()
{
    printf 'merge_method: linear\nmodels: [{model: m1}]\nparameters: {weight: %s}\n' "$1"
}
recipe .nan | hostile not_a_number
recipe .inf | hostile infinite
recipe 1e400 | hostile overflow
recipe "$(repeat 100000 9)" | hostile long_number
recipe "$(repeat 20000 '1:')1" | hostile sexagesimal
recipe 2024-01-05 | hostile date
recipe '[1, {value: 1}]' | hostile mixed_list
recipe '[[1]]' | hostile nested_list
recipe '{filter: 1, value: 1}' | hostile filter_number
recipe '[{filter: a, value: 1}]' | hostile filter_misses
recipe null | hostile null_value

# ---- structure ----
range()
{
    printf 'merge_method: passthrough\nslices: [{sources: [{model: m1, layer_range: %s}]}]\n' "$1"
}
range '[0, 9223372036854775807]' | hostile range_limit
range '[0, 1e30]' | hostile range_huge
range '[-1, 1]' | hostile range_negative
range '[0, 1, 2]' | hostile range_of_three
{ printf 'merge_method: passthrough\nslices:\n' &&
    repeat 5000 '- sources: [{model: m1, layer_range: [0, 1]}]
'; } | hostile many_slices
grep -q ':4099:3: expected at most 4096 blocks' err || fail 'too many blocks'
{ printf 'merge_method: linear\nmodels:\n' && repeat 3000 '- {model: m1}
'; } | hostile many_models
printf 'merge_method: linear\nmodels: [{model: "m1+a+b+"}]\n' | hostile many_plus
printf 'merge_method: linear\nmodels: [{model: {model: {path: {}}}}]\n' | hostile nested_reference
printf 'name: a\nmerge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1}\n' |
    hostile own_name
awk 'BEGIN { for (i = 0; i < 300; i++) {
        printf "---\nname: s%d\nmerge_method: linear\n", i
        printf "parameters: {weight: 1}\nmodels: [{model: s%d}]\n", (i + 1) % 300
    } }' |
    hostile circle_of_300
awk 'BEGIN { for (i = 0; i < 300; i++) {
        printf "---\nname: s%d\nmerge_method: linear\n", i
        printf "parameters: {weight: 1}\nmodels: [{model: %s}]\n", i ? "s" i - 1 : "m1"
    } }' |
    hostile chain_of_300
recipe_of()
{
    printf 'merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: "%s"}]\n' "$1"
}
recipe_of "$(repeat 10000 m)" | hostile long_model
recipe_of "$(repeat 300 ../)m1" | hostile far_model
recipe_of 'm\0 1' | hostile model_with_nul
for empty in @ @main + m1+ +m1 m1+@main @main+m1; do
    recipe_of "$empty" | hostile empty_part
    grep -q "'$empty' with an empty part" err || fail "$empty: $(cat err)"
done
recipe_of /dev/zero | hostile device
printf 'merge_method: [linear]\nmodels: 3\n' | hostile method_list
printf '7: 1\ntrue: 2\n' | hostile odd_keys
printf -- '- merge_method\n' | hostile list_document

count=$(find . -name '*.yml' | wc -l)
[ "$count" -ge 60 ] || fail "only $count files"

# The completion files know exactly the options that there are.
files=$SOURCE/cli/completions

options_of()
{
    mergecraft help --options "$@" | awk '{ print $1; if ($2 != "-") print $2 }' | LC_ALL=C sort
}

# bash: what it offers for "mergecraft VERB -".
bash_offers()
{
    bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mergecraft; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$files/mergecraft.bash" "$@" 2>&1 | LC_ALL=C sort
}

# zsh: the options between the function's name and its closing brace, with those that all have.
zsh_has()
{
    { sed -n "/^$1()/,/^}/p" "$files/_mergecraft"; sed -n '/common=(/,/^    )/p' "$files/_mergecraft"; } |
        grep "\[" | sed "s/\[[^]]*\]//" | grep -oE -- "(^|[*' ,{(])--?[a-z][a-z-]*" | tr -d "*', {(" |
        LC_ALL=C sort -u
}

# fish: -s and -l of the lines for the subcommand and for all.
fish_has()
{
    grep -E -- "-n \\\$($1|all) " "$files/mergecraft.fish" |
        awk '{ for (i = 1; i < NF; i++) { if ($i == "-l") print "--" $(i + 1); if ($i == "-s") print "-" $(i + 1) } }' |
        LC_ALL=C sort -u
}

same()
{
    printf '%s\n' "$2" > expected
    printf '%s\n' "$3" > found
    diff -u expected found >&2 || fail "$1"
}

for verb in merge eval classify methods inspect download help; do
    options=$(options_of $verb)
    same "bash, $verb" "$options" "$(bash_offers mergecraft $verb -)"
    case $verb in
    methods) function=_mergecraft_methods_verb ;;
    *) function=_mergecraft_$verb ;;
    esac
    same "zsh, $verb" "$options" "$(zsh_has $function)"
    same "fish, $verb" "$options" "$(fish_has $verb)"
done
same 'bash, options' "$(options_of)" "$(bash_offers mergecraft -)"

# Subcommands, methods, values and files.
same 'bash, subcommands' "$(printf 'merge\nmethods')" "$(bash_offers mergecraft me)"
same 'bash, methods' median "$(bash_offers mergecraft merge medi)"
same 'bash, methods behind options' median "$(bash_offers mergecraft merge -o out --strict medi)"
same 'bash, methods' median "$(bash_offers mergecraft methods medi)"
same 'bash, dtypes' "$(printf 'bf16\nf16\nf32')" "$(bash_offers mergecraft merge median --dtype '')"
same 'bash, dtypes of evaluation' "$(printf 'bf16\nf32\nint8')" "$(bash_offers mergecraft eval m --dtype '')"
same 'bash, methods behind a size' median "$(bash_offers mergecraft merge --shard-size 1GB medi)"
# For bash "--option=value" is three words.
same 'bash, methods behind --option=value' median \
    "$(bash_offers mergecraft merge --threads '=' 2 -p a '=' 1 --strict medi)"
same 'bash, --option=value' rte "$(bash_offers mergecraft merge median --eval '=' r)"
same 'bash, --option=' "$(printf 'bf16\nf32\nint8')" "$(bash_offers mergecraft eval --dtype '=')"
same 'bash, data sets' rte "$(bash_offers mergecraft download --dataset rt)"
same 'bash, no subcommand' '' "$(bash_offers mergecraft 'a b' - 2>&1)"
mkdir 'a model' 'a method'
touch 'a file.c' 'a text'
same 'bash, models' "$(printf 'a file.c\na method\na model\na text')" \
    "$(bash_offers mergecraft merge median 'a ')"
same 'bash, method files' "$(printf 'a file.c\na method\na model')" "$(bash_offers mergecraft merge 'a ')"
for verb in $(bash_offers mergecraft '' | grep -v '^-'); do
    grep -q "'$verb:" "$files/_mergecraft" || fail "zsh does not know $verb"
    grep -q -- "-n __fish_use_subcommand -a $verb " "$files/mergecraft.fish" || fail "fish does not know $verb"
    mergecraft help "$verb" > /dev/null || fail "$verb is none"
done
if command -v zsh > /dev/null; then zsh -n "$files/_mergecraft" || fail 'zsh'; fi
if command -v fish > /dev/null; then fish -n "$files/mergecraft.fish" || fail 'fish'; fi

# The completion files offer the options, methods, tasks and files that fit. Their text is
# generated: see tests/house/cli_docs.sh.
files=$SOURCE/cli/completions

# bash: what it offers for "mergecraft VERB -".
bash_offers()
{
    bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mergecraft
        printf "%s\n" "${COMPREPLY[@]}"' \
        - "$files/mergecraft.bash" "$@" 2>&1 | LC_ALL=C sort
}

same()
{
    printf '%s\n' "$2" > expected
    printf '%s\n' "$3" > found
    diff -u expected found >&2 || fail "$1"
}

for verb in $(subcommands); do
    same "bash, $verb" "$(options_of "$verb")" "$(bash_offers mergecraft "$verb" -)"
    for option in $(options_of "$verb"); do
        case $option in
        --*) option="-l ${option#--}" ;;
        *) option="-s ${option#-}" ;;
        esac
        grep -q -- "_from $verb' .*$option " "$files/mergecraft.fish" || fail "fish, $verb: $option"
    done
done
same 'bash, options' "$(options_of)" "$(bash_offers mergecraft -)"
same 'bash, all subcommands' "$(subcommands | LC_ALL=C sort)" \
    "$(bash_offers mergecraft '' | grep -v '^-')"

# Subcommands, methods, values and files.
same 'bash, subcommands' \
    "$(printf '%s\n' merge mergekit-multi mergekit-pytorch mergekit-yaml methods)" \
    "$(bash_offers mergecraft me)"
same 'bash, methods' median "$(bash_offers mergecraft merge medi)"
same 'bash, methods behind options' median "$(bash_offers mergecraft merge -o out --strict medi)"
same 'bash, methods' median "$(bash_offers mergecraft methods medi)"
same 'bash, dtypes' "$(printf 'bf16\nf16\nf32')" "$(bash_offers mergecraft merge median --dtype '')"
same 'bash, dtypes of evaluation' "$(printf 'bf16\nf32\nint8')" \
    "$(bash_offers mergecraft eval m --dtype '')"
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
same 'bash, method files' "$(printf 'a file.c\na method\na model')" \
    "$(bash_offers mergecraft merge 'a ')"
same 'bash, no method' '' "$(bash_offers mergecraft methods median x)"
if command -v zsh > /dev/null; then zsh -n "$files/_mergecraft" || fail 'zsh'; fi
if command -v fish > /dev/null; then fish -n "$files/mergecraft.fish" || fail 'fish'; fi

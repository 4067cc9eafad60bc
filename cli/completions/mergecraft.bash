# Completion of mergecraft for bash.

_mergecraft_files()
{
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_mergecraft_words()
{
    mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
}

# How many operands stand between the subcommand and the cursor; $1: the options that take a value.
_mergecraft_operands()
{
    local i count=0
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ " $1 " == *" ${COMP_WORDS[i]} "* ]]; then
            i=$((i + 1))
        elif [[ ${COMP_WORDS[i]} != -?* ]]; then
            count=$((count + 1))
        fi
    done
    echo "$count"
}

_mergecraft_methods()
{
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(
        compgen -W "$("${COMP_WORDS[0]}" methods --names 2> /dev/null)" -- "$1"
        compgen -f -X '!*.@(c|so)' -- "$1"
        compgen -d -- "$1"
    )
    # A colon separates words for bash, but not here.
    if declare -F __ltrim_colon_completions > /dev/null; then
        __ltrim_colon_completions "$1"
    fi
}

_mergecraft()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local common="--json --quiet -q --verbose -v --help -h --version"
    local subcommands="merge methods inspect help"
    local main_options="--help -h --version"
    local merge_values="--output -o --base --param -p --passthrough --list --dtype --shard-size
        --seed --memory --threads"
    local merge_options="$merge_values --strict --dry-run --overwrite --no-sync $common"
    local methods_options="--names $common"
    local inspect_options="--summary $common"
    local help_options="--options $common"
    local verb=${COMP_WORDS[1]} operands options
    COMPREPLY=()
    shopt -q extglob || shopt -s extglob

    if ((COMP_CWORD == 1)); then
        _mergecraft_words "$current" "$subcommands $main_options"
        return
    fi
    options=${verb}_options
    if [[ $current == -* ]]; then
        _mergecraft_words "$current" "${!options}"
        return
    fi
    case $verb in
    merge)
        case $previous in
        --dtype) _mergecraft_words "$current" "f32 f16 bf16" ;;
        --output | -o | --base) _mergecraft_files "$current" ;;
        --param | -p | --passthrough | --list | --shard-size | --seed | --memory | --threads) ;;
        *)
            operands=$(_mergecraft_operands "$merge_values")
            if ((operands == 0)); then
                _mergecraft_methods "$current"
            else
                _mergecraft_files "$current"
            fi
            ;;
        esac
        ;;
    methods) _mergecraft_methods "$current" ;;
    inspect) _mergecraft_files "$current" ;;
    help) _mergecraft_words "$current" "$subcommands" ;;
    esac
}

complete -F _mergecraft mergecraft

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
    local i count=0 values=" ${1//$'\n'/ } "
    for ((i = 2; i < COMP_CWORD; i++)); do
        # "--option=value" is three words.
        if [[ ${COMP_WORDS[i]} == "=" ]]; then
            i=$((i + 1))
        elif [[ $values == *" ${COMP_WORDS[i]} "* ]]; then
            [[ ${COMP_WORDS[i + 1]} == "=" ]] || i=$((i + 1))
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
    local subcommands="merge eval classify methods inspect download help"
    local main_options="--help -h --version"
    local merge_values="--output -o --base --param -p --passthrough --list --dtype --shard-size
        --seed --memory --threads --eval --data --split --eval-dtype --predictions"
    local merge_options="$merge_values --strict --dry-run --overwrite --no-sync $common"
    local eval_values="--data --split --dtype --predictions --threads"
    local eval_options="$eval_values $common"
    local classify_values="--top-k --dtype --threads"
    local classify_options="$classify_values $common"
    local methods_options="--names $common"
    local inspect_options="--summary $common"
    local download_options="--dataset --split $common"
    local help_options="--options $common"
    local tasks="cola sst2 mrpc qqp stsb mnli mnli_matched mnli_mismatched qnli rte wnli ax"
    local verb=${COMP_WORDS[1]} operands options
    COMPREPLY=()
    shopt -q extglob || shopt -s extglob

    if ((COMP_CWORD == 1)); then
        _mergecraft_words "$current" "$subcommands $main_options"
        return
    fi
    [[ $verb == [a-z]* && $verb != *[^a-z]* ]] || return
    if [[ $current == "=" ]]; then
        current=
    elif [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
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
        --eval-dtype) _mergecraft_words "$current" "f32 bf16 int8" ;;
        --eval) _mergecraft_words "$current" "$tasks" ;;
        --output | -o | --base | --data | --predictions) _mergecraft_files "$current" ;;
        --param | -p | --passthrough | --list | --shard-size | --seed | --memory | --threads | --split) ;;
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
    eval)
        case $previous in
        --dtype) _mergecraft_words "$current" "f32 bf16 int8" ;;
        --split | --threads) ;;
        --data | --predictions) _mergecraft_files "$current" ;;
        *)
            operands=$(_mergecraft_operands "$eval_values")
            if ((operands == 1)); then
                _mergecraft_words "$current" "$tasks"
            else
                _mergecraft_files "$current"
            fi
            ;;
        esac
        ;;
    classify)
        case $previous in
        --dtype) _mergecraft_words "$current" "f32 bf16 int8" ;;
        --top-k | --threads) ;;
        *) _mergecraft_files "$current" ;;
        esac
        ;;
    methods) _mergecraft_methods "$current" ;;
    inspect) _mergecraft_files "$current" ;;
    download) [[ $previous != --dataset ]] || _mergecraft_words "$current" "$tasks" ;;
    help) _mergecraft_words "$current" "$subcommands" ;;
    esac
}

complete -F _mergecraft mergecraft

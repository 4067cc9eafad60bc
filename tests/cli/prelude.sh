# What every case begins with. A case is a transcript: `expect STATUS COMMAND...` shows the command
# on both streams, runs it, and ends the case if the exit status is another one.

expect()
{
    expected=$1
    shift
    printf '$ %s\n' "$*"
    printf '$ %s\n' "$*" >&2
    found=0
    "$@" || found=$?
    if [ "$found" -ne "$expected" ]; then
        printf 'exit status: expected %s, found %s\n' "$expected" "$found" >&2
        exit 1
    fi
}

fail()
{
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

# model FOLDER VALUE: a model of two tensors, of six elements from VALUE on and two from 10 * VALUE
# on.
model()
{
    mkdir -p "$1"
    helper model "$1/model.safetensors" "encoder.weight:2x3:$2" "classifier.weight:1x2:$(($2 * 10))"
    cat > "$1/config.json" <<END
{"model_type": "bert", "architectures": ["BertForSequenceClassification"],
 "id2label": {"0": "entailment", "1": "not_entailment"}}
END
}

# wait_until COMMAND...: until it succeeds; fails after 30 seconds.
wait_until()
{
    tries=0
    until "$@" 2> /dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "waited in vain for: $*"
        sleep .05
    done
}

# The names of all subcommands.
subcommands()
{
    mergecraft --help | sed -n '/^subcommands/,/^$/p' | awk 'NR > 1 && NF { print $1 }'
}

# The options of a subcommand, or of the command itself, as --help prints them, one per line.
options_of()
{
    mergecraft "$@" --help | sed -n '/^options/,/^$/p' | grep -oE '^  (-.,|   ) --[a-z0-9-]+' |
        tr -d ', ' | sed 's/^\(-[A-Za-z]\)--/\1\n--/' | LC_ALL=C sort
}

# Every subcommand explains itself on standard output and ends with an example.
check()
{
    expect 0 "$@" > help
    tail -n +2 help > text
    head -n 1 text
    [ -z "$(awk 'length > 80' text)" ] || fail "a line of '$*' is longer than 80 columns"
    grep -qx example text || fail "'$*' has no example"
    tail -n 1 text | grep -q '^  ' || fail "'$*' does not end with the example"
}
check mergecraft --help
check mergecraft -h
check mergecraft help
for verb in $(subcommands); do
    check mergecraft $verb --help
    cp text by_option
    check mergecraft help $verb
    cmp text by_option || fail "help $verb and $verb --help differ"
done
expect 0 mergecraft --version
expect 0 mergecraft merge --version
mergecraft merge --help > text
for name in $(mergecraft methods --names); do
    grep -qw -- "$name" text || fail "merge --help does not name $name"
done

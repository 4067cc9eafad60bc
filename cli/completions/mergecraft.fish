# Completion of mergecraft for fish.

function __mergecraft_is
    __fish_seen_subcommand_from $argv
end

complete -c mergecraft -f
complete -c mergecraft -n __fish_use_subcommand -a merge -d 'Merge models into one'
complete -c mergecraft -n __fish_use_subcommand -a methods -d 'List the merge methods, or describe one'
complete -c mergecraft -n __fish_use_subcommand -a inspect -d 'Show what is in a checkpoint'
complete -c mergecraft -n __fish_use_subcommand -a help -d 'Explain the command or a subcommand'
complete -c mergecraft -n __fish_use_subcommand -s h -l help -d 'Print this text'
complete -c mergecraft -n __fish_use_subcommand -l version -d 'Print the version'

set -l all '__mergecraft_is merge methods inspect help'
complete -c mergecraft -n $all -l json -d 'Print one JSON object on standard output'
complete -c mergecraft -n $all -s q -l quiet -d 'No messages but errors'
complete -c mergecraft -n $all -s v -l verbose -d 'Say what is being done'
complete -c mergecraft -n $all -s h -l help -d 'Print this text'
complete -c mergecraft -n $all -l version -d 'Print the version'

set -l merge '__mergecraft_is merge'
complete -c mergecraft -n $merge -F
complete -c mergecraft -n $merge -a '(mergecraft methods --names 2> /dev/null)' -d method
complete -c mergecraft -n $merge -s o -l output -r -F -d 'The folder to make'
complete -c mergecraft -n $merge -l base -r -F -d 'The model that the others were tuned from'
complete -c mergecraft -n $merge -s p -l param -x -d 'A parameter of the method'
complete -c mergecraft -n $merge -l passthrough -x -d 'Average tensors of these names'
complete -c mergecraft -n $merge -l list -r -F -d 'A further list of models'
complete -c mergecraft -n $merge -l dtype -x -a 'f32 f16 bf16' -d 'Dtype of the result'
complete -c mergecraft -n $merge -l shard-size -x -d 'Largest size of a file'
complete -c mergecraft -n $merge -l seed -x -d 'For methods that draw random numbers'
complete -c mergecraft -n $merge -l strict -d 'Fail where there would be a warning'
complete -c mergecraft -n $merge -l dry-run -d 'Print the plan and do nothing'
complete -c mergecraft -n $merge -l overwrite -d 'Replace a folder that exists'
complete -c mergecraft -n $merge -l no-sync -d 'Do not wait until data is on the disk'
complete -c mergecraft -n $merge -l memory -x -d 'Memory for tiles'
complete -c mergecraft -n $merge -l threads -x -d 'How many threads work'

set -l methods '__mergecraft_is methods'
complete -c mergecraft -n $methods -F
complete -c mergecraft -n $methods -a '(mergecraft methods --names 2> /dev/null)' -d method
complete -c mergecraft -n $methods -l names -d 'Print the names only, one a line'

set -l inspect '__mergecraft_is inspect'
complete -c mergecraft -n $inspect -F
complete -c mergecraft -n $inspect -l summary -d 'Leave out the table of tensors'

set -l help '__mergecraft_is help'
complete -c mergecraft -n $help -a 'merge methods inspect help'
complete -c mergecraft -n $help -l options -d 'List the options, one a line, for completion'

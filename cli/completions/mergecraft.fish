# Completion of mergecraft for fish.

function __mergecraft_is
    __fish_seen_subcommand_from $argv
end

complete -c mergecraft -f
complete -c mergecraft -n __fish_use_subcommand -a merge -d 'Merge models into one'
complete -c mergecraft -n __fish_use_subcommand -a eval -d 'Score a model on a GLUE task'
complete -c mergecraft -n __fish_use_subcommand -a classify -d 'Classify texts with a model'
complete -c mergecraft -n __fish_use_subcommand -a methods -d 'List the merge methods, or describe one'
complete -c mergecraft -n __fish_use_subcommand -a inspect -d 'Show what is in a checkpoint'
complete -c mergecraft -n __fish_use_subcommand -a download -d 'Download models and data sets from the Hub'
complete -c mergecraft -n __fish_use_subcommand -a help -d 'Explain the command or a subcommand'
complete -c mergecraft -n __fish_use_subcommand -s h -l help -d 'Print this text'
complete -c mergecraft -n __fish_use_subcommand -l version -d 'Print the version'

set -l all '__mergecraft_is merge eval classify methods inspect download help'
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
complete -c mergecraft -n $merge -l eval -x -a 'cola sst2 mrpc qqp stsb mnli mnli_matched mnli_mismatched qnli rte wnli ax' -d 'Score the result on a GLUE task'
complete -c mergecraft -n $merge -l data -r -F -d 'The examples'
complete -c mergecraft -n $merge -l split -x -d 'The part of the data'
complete -c mergecraft -n $merge -l eval-dtype -x -a 'f32 bf16 int8' -d 'What is computed in'
complete -c mergecraft -n $merge -l predictions -r -F -d 'Write a JSON line for each example'

set -l eval '__mergecraft_is eval'
complete -c mergecraft -n $eval -F
complete -c mergecraft -n $eval -a 'cola sst2 mrpc qqp stsb mnli mnli_matched mnli_mismatched qnli rte wnli ax' -d task
complete -c mergecraft -n $eval -l data -r -F -d 'The examples'
complete -c mergecraft -n $eval -l split -x -d 'The part of the data'
complete -c mergecraft -n $eval -l dtype -x -a 'f32 bf16 int8' -d 'What is computed in'
complete -c mergecraft -n $eval -l predictions -r -F -d 'Write a JSON line for each example'
complete -c mergecraft -n $eval -l threads -x -d 'How many threads work'

set -l classify '__mergecraft_is classify'
complete -c mergecraft -n $classify -F
complete -c mergecraft -n $classify -l top-k -x -d 'How many labels are shown'
complete -c mergecraft -n $classify -l dtype -x -a 'f32 bf16 int8' -d 'What is computed in'
complete -c mergecraft -n $classify -l threads -x -d 'How many threads work'

set -l methods '__mergecraft_is methods'
complete -c mergecraft -n $methods -F
complete -c mergecraft -n $methods -a '(mergecraft methods --names 2> /dev/null)' -d method
complete -c mergecraft -n $methods -l names -d 'Print the names only, one a line'

set -l inspect '__mergecraft_is inspect'
complete -c mergecraft -n $inspect -F
complete -c mergecraft -n $inspect -l summary -d 'Leave out the table of tensors'

set -l help '__mergecraft_is help'
complete -c mergecraft -n $help -a 'merge eval classify methods inspect download help'
complete -c mergecraft -n $help -l options -d 'List the options, one a line, for completion'

set -l download '__mergecraft_is download'
complete -c mergecraft -n $download -l dataset -x -a 'cola sst2 mrpc qqp stsb mnli mnli_matched mnli_mismatched qnli rte wnli ax' -d 'Examples of a GLUE task'
complete -c mergecraft -n $download -l split -x -d 'Which of its examples'

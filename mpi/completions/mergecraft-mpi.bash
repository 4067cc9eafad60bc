# Completion of mergecraft-mpi for bash: that of mergecraft.
. "${BASH_SOURCE[0]%/*}/mergecraft"
complete -F _mergecraft mergecraft-mpi

# Completion of mergecraft-mpi for fish: that of mergecraft.
complete -c mergecraft-mpi --wraps mergecraft

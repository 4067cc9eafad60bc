/*
 * Counts the collective operations of mergecraft-mpi and their bytes, by MPI's profiling interface.
 * Each process prints a line when it ends:
 *   mpicc -shared -fPIC bench/messages.c -o messages.so
 *   mpirun -n 4 -x LD_PRELOAD=$PWD/messages.so mergecraft-mpi merge …
 */
#include <mpi.h>
#include <stdio.h>

static long calls, bytes;

static void count(int values, MPI_Datatype type)
{
    int size = 0;
    PMPI_Type_size(type, &size);
    calls++;
    bytes += (long)values * size;
}

int MPI_Bcast(void *buffer, int values, MPI_Datatype type, int root, MPI_Comm comm)
{
    count(values, type);
    return PMPI_Bcast(buffer, values, type, root, comm);
}

int MPI_Allreduce(const void *from, void *to, int values, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
    count(values, type);
    return PMPI_Allreduce(from, to, values, type, op, comm);
}

int MPI_Finalize(void)
{
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    fprintf(stderr, "process %d: %ld collective operations, %ld bytes\n", rank, calls, bytes);
    return PMPI_Finalize();
}

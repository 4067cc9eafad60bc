/*
 * mergecraft-mpi: the command line on several processes, which mpirun or srun has started. All of
 * them run the same command line; the library shares the work of a merge (mergecraft/comm.h).
 *
 * Process 0 talks to the user. What the others print goes into a file that is shown only if such a
 * process fails while the others do not. A process that fails in the middle of the common work ends
 * all, so that none waits for it.
 */
#include "command_line.h"

#include <mergecraft/error.h>

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Counts of MPI are ints. */
enum { MOST = 1 << 30, SECONDS_TO_MEET = 3 };

/* The standard error of this process before it was redirected; −1: it was not. */
static int told = -1;

/* ---- mc_comm by MPI -------------------------------------------------------------------------- */

static mc_status checked(int code, const char *what, mc_error *error)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS)
        return MC_OK;
    MPI_Error_string(code, text, &length);
    return mc_fail(error, MC_IO, "MPI: %s: %s", what, text);
}

static mc_status broadcast(const mc_comm *comm, void *bytes, size_t size, int root, mc_error *error)
{
    (void)comm;
    for (size_t at = 0; at < size; at += MOST) {
        const size_t part = size - at < MOST ? size - at : MOST;
        const int code = MPI_Bcast((char *)bytes + at, (int)part, MPI_BYTE, root, MPI_COMM_WORLD);
        const mc_status status = checked(code, "broadcast", error);
        if (status != MC_OK)
            return status;
    }
    return MC_OK;
}

/* Sums wrap around: MPI_UINT64_T, as signed overflow is undefined. */
static mc_status sum(const mc_comm *comm, int64_t *values, size_t count, mc_error *error)
{
    (void)comm;
    for (size_t at = 0; at < count; at += MOST) {
        const size_t part = count - at < MOST ? count - at : MOST;
        const int code = MPI_Allreduce(MPI_IN_PLACE, values + at, (int)part, MPI_UINT64_T, MPI_SUM,
                                       MPI_COMM_WORLD);
        const mc_status status = checked(code, "sum", error);
        if (status != MC_OK)
            return status;
    }
    return MC_OK;
}

static void tell(const mc_comm *comm, const char *text)
{
    FILE *const out = told >= 0 ? fdopen(told, "w") : stderr;
    if (!out)
        return;
    fprintf(out, "mergecraft-mpi: process %d of %d on %s: %s\n", comm->rank, comm->size, comm->host,
            text);
    fflush(out);
}

static void end_all(const mc_comm *comm, const mc_error *error)
{
    char line[sizeof *error];
    mc_error_message(error, line, sizeof line);
    tell(comm, line);
    MPI_Abort(MPI_COMM_WORLD, error->code == MC_USAGE         ? 2
                              : error->code == MC_INTERRUPTED ? 130
                                                              : 1);
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

/*
 * Gives each process of a machine CPUs of its own, unless the launcher has done so: threads of two
 * processes on one CPU would only take turns. A mask that all processes have is the machine's.
 */
static void take_cpus(void)
{
    MPI_Comm machine;
    int rank, size;
    cpu_set_t mine, all, mask;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_rank(machine, &rank);
    MPI_Comm_size(machine, &size);
    CPU_ZERO(&mine);
    const int known = sched_getaffinity(0, sizeof mine, &mine) == 0;
    all = mine;
    MPI_Bcast(&all, sizeof all, MPI_BYTE, 0, machine);
    int same = known && CPU_EQUAL(&all, &mine);
    MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_INT, MPI_MIN, machine);
    MPI_Comm_free(&machine);
    const int count = CPU_COUNT(&mine);
    if (!same || size == 1 || count < size)
        return;
    CPU_ZERO(&mask);
    for (int cpu = 0, n = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &mine)) {
            if (n * size / count == rank)
                CPU_SET(cpu, &mask);
            n++;
        }
    (void)sched_setaffinity(0, sizeof mask, &mask);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Keeps what this process prints: standard output nowhere, messages in a file without a name. */
static void be_silent(void)
{
    FILE *const kept = tmpfile();
    if (!freopen("/dev/null", "w", stdout))
        _exit(1);
    told = dup(STDERR_FILENO);
    if (kept)
        dup2(fileno(kept), STDERR_FILENO);
}

/* The last thing that this process has said. */
static void tell_kept(const mc_comm *comm)
{
    char text[4096];
    fflush(stderr);
    const ssize_t size = pread(STDERR_FILENO, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    char *const end = strchr(text, '\n');
    if (end)
        *end = '\0';
    tell(comm, *text ? text : "failed");
}

/* ---- help ------------------------------------------------------------------------------------ */

static int wants_help(int argc, char **argv)
{
    return argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
}

static void print_own_help(void)
{
    puts("mergecraft-mpi: mergecraft on several processes and machines\n"
         "\n"
         "usage: mpirun [-n PROCESSES] mergecraft-mpi SUBCOMMAND [ARGUMENTS]\n"
         "       srun [-N MACHINES] mergecraft-mpi SUBCOMMAND [ARGUMENTS]\n"
         "\n"
         "Runs merge, search, check, methods, inspect or help, with the options of\n"
         "mergecraft. The processes share the work; the result has the same bytes as that\n"
         "of one. Models and output must be on a file system that they share.\n"
         "mergecraft-mpi merge --help lists the options of merge.\n"
         "\n"
         "example:\n"
         "  mpirun -n 2 mergecraft-mpi merge ties examples/models/rte-1 \\\n"
         "      examples/models/rte-2 --base examples/models/base -o merged");
}

/* ---- the end --------------------------------------------------------------------------------- */

/*
 * Whether all processes come to their end: after success in any time, as one may still write the
 * last files, after a failure within some seconds.
 */
static int all_meet(MPI_Comm ending, int failed)
{
    MPI_Request request;
    int done = 0;
    const time_t start = time(NULL);
    MPI_Ibarrier(ending, &request);
    while (!done && (!failed || time(NULL) - start <= SECONDS_TO_MEET)) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return done;
}

int main(int argc, char **argv)
{
    int provided;
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int length = 0;
    MPI_Comm ending;
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return 1;
    MPI_Comm_dup(MPI_COMM_WORLD, &ending);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Get_processor_name(host, &length);
    mc_comm comm = {.host = host, .broadcast = broadcast, .sum = sum, .abort = end_all};
    MPI_Comm_rank(MPI_COMM_WORLD, &comm.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &comm.size);
    take_cpus();
    if (comm.rank > 0)
        be_silent();
    command_comm = &comm;
    const int help = wants_help(argc, argv);
    if (help)
        print_own_help();
    const int status = !help ? run_command_line(argc, argv) : argc < 2 ? 2 : 0;
    if (!all_meet(ending, status != 0)) {
        if (comm.rank > 0)
            tell_kept(&comm);
        MPI_Abort(MPI_COMM_WORLD, status);
    }
    MPI_Finalize();
    return status;
}

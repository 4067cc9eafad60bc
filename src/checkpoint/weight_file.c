#include "checkpoint/weight_file.h"

#include "base/comm.h"
#include "base/memory.h"

/* What process 0 sends before the excerpt. */
typedef struct announcement {
    int64_t failed;
    mc_file_identity identity;
    int64_t size; /* of the excerpt */
} announcement;

static mc_status open_first(const mc_comm *comm, const char *path,
                            mc_status (*parse)(mc_file *file, void *user, mc_error *error),
                            void *user, mc_file **out, mc_error *error)
{
    mc_excerpt excerpt = {0};
    mc_status status = mc_file_open(path, out, error);
    if (status == MC_OK) {
        mc_file_record(*out, &excerpt);
        status = parse(*out, user, error);
        mc_file_forget(*out);
    }
    announcement a = {.failed = status != MC_OK, .size = (int64_t)excerpt.size};
    if (*out)
        a.identity = mc_file_identity_of(*out);
    mc_status sent = mc_comm_broadcast(comm, &a, sizeof a, 0, error);
    if (status == MC_OK && sent == MC_OK)
        sent = mc_comm_broadcast(comm, excerpt.bytes, excerpt.size, 0, error);
    mc_excerpt_free(&excerpt);
    return status != MC_OK ? status : sent;
}

/* Process 0 reads the next file while this process parses. */
static mc_status open_other(const mc_comm *comm, const char *path,
                            mc_status (*parse)(mc_file *file, void *user, mc_error *error),
                            void *user, mc_file **out, mc_error *error)
{
    announcement a = {0};
    MC_TRY(mc_comm_broadcast(comm, &a, sizeof a, 0, error));
    if (a.failed)
        return mc_fail_at(error, MC_IO, path, NULL, -1, "process 0 cannot read it");
    mc_excerpt excerpt = {.bytes = mc_alloc((size_t)a.size), .size = (size_t)a.size};
    mc_status status = excerpt.bytes ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_comm_broadcast(comm, excerpt.bytes, excerpt.size, 0, error);
    if (status == MC_OK)
        status = mc_file_open_excerpt(path, &a.identity, &excerpt, out, error);
    if (status == MC_OK) {
        status = parse(*out, user, error);
        mc_file_forget(*out);
    }
    mc_excerpt_free(&excerpt);
    mc_error unknown = MC_ERROR_NONE;
    unknown.code = status;
    /* Process 0 continues. */
    if (status != MC_OK)
        comm->abort(comm, error ? error : &unknown);
    return status;
}

mc_status mc_weight_file_open(const mc_comm *comm, const char *path,
                              mc_status (*parse)(mc_file *file, void *user, mc_error *error),
                              void *user, mc_file **out, mc_error *error)
{
    if (comm)
        return comm->rank == 0 ? open_first(comm, path, parse, user, out, error)
                               : open_other(comm, path, parse, user, out, error);
    MC_TRY(mc_file_open(path, out, error));
    return parse(*out, user, error);
}

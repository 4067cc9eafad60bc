#include "search/together.h"

#include "base/json.h"
#include "base/memory.h"

#include <string.h>

/* Text of process `owner`, with its NUL, in new memory on the others. */
static mc_status share_text(const mc_comm *comm, int owner, char **text, mc_error *error)
{
    int64_t size = comm->rank == owner ? (int64_t)strlen(*text) + 1 : 0;
    MC_TRY(mc_comm_broadcast(comm, &size, sizeof size, owner, error));
    if (comm->rank != owner)
        *text = mc_alloc((size_t)size);
    MC_TRY(mc_comm_agree(comm, *text ? MC_OK : mc_fail_memory(error), error));
    return mc_comm_broadcast(comm, *text, (size_t)size, owner, error);
}

mc_status mc_search_share_line(const mc_comm *comm, int owner, mc_status status, json_t **line,
                               mc_error *error)
{
    if (!comm)
        return status;
    const bool mine = comm->rank == owner;
    char *text = mine && status == MC_OK && *line ? mc_json_write(*line, JSON_COMPACT) : NULL;
    if (mine && status == MC_OK && !text)
        status = mc_fail_memory(error);
    status = mc_comm_agree(comm, mine ? status : MC_OK, error);
    if (status == MC_OK)
        status = share_text(comm, owner, &text, error);
    if (status == MC_OK)
        status = mc_comm_agree(comm, mine ? MC_OK : mc_json_parse(text, strlen(text), line, error),
                               error);
    mc_free(text);
    return status;
}

/* The header of process 0 has the fingerprint of its models, data and library. */
static mc_status share_header(const mc_comm *comm, const mc_search_journal *journal,
                              mc_error *error)
{
    char *text = comm->rank == 0 ? journal->texts[0] : NULL;
    mc_status status = share_text(comm, 0, &text, error);
    if (comm->rank == 0)
        return mc_comm_agree(comm, status, error);
    json_t *header = NULL;
    if (status == MC_OK)
        status = mc_json_parse(text, strlen(text), &header, error);
    /* Not the texts: that of process 0 may come from a journal. */
    if (status == MC_OK && !json_equal(json_object_get(header, "fingerprint"),
                                       json_object_get(journal->lines[0], "fingerprint")))
        status = mc_fail(error, MC_MISMATCH,
                         "expected the search of process 0, found one whose models, data or "
                         "library differ");
    json_decref(header);
    mc_free(text);
    return mc_comm_agree(comm, status, error);
}

mc_status mc_search_share_journal(const mc_comm *comm, mc_status status, mc_search_journal *journal,
                                  mc_error *error)
{
    if (!comm)
        return status;
    MC_TRY(mc_comm_agree(comm, status, error));
    MC_TRY(share_header(comm, journal, error));
    int64_t count = (int64_t)journal->count;
    MC_TRY(mc_comm_broadcast(comm, &count, sizeof count, 0, error));
    for (int64_t i = 1; status == MC_OK && i < count; i++) {
        json_t *line = comm->rank == 0 ? journal->lines[i] : NULL;
        status = mc_search_share_line(comm, 0, MC_OK, &line, error);
        if (status != MC_OK && comm->rank > 0)
            json_decref(line);
        if (status == MC_OK && comm->rank > 0)
            status = mc_search_journal_add(journal, line, error);
        status = mc_comm_agree(comm, status, error);
    }
    return status;
}

#include "merge/save.h"

#include "base/checksum.h"
#include "base/memory.h"
#include "base/system.h"
#include "checkpoint/writer.h"
#include "merge/execute.h"
#include "merge/journal.h"
#include "merge/share.h"
#include "merge/together.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* The checksum of a shard's first bytes. */
typedef struct shard_sum {
    mc_checksum sum;
    int64_t end; /* of the bytes in it */
} shard_sum;

typedef struct folder_sink {
    mc_sink sink;
    const mc_layout *layout;
    const mc_save *save;
    const mc_comm *comm; /* NULL: this process writes everything */
    mc_folder folder;
    mc_journal journal;
    mc_run_mark mark; /* of this run, if it has several processes */
    mc_span span;     /* of the stream, that is written now … */
    int64_t recorded; /* … up to where the journal records it */
    mc_spans done;    /* what earlier runs have written */
    mc_found found;   /* in all that is written … */
    mc_found fresh;   /* … except what is since the last record */
    mc_shares shares; /* of what is missing */
    int *files;       /* one per shard, −1 while not open */
    size_t at;        /* the shard that is written … */
    size_t tensor;    /* … and the tensor */
    shard_sum *sums;  /* one per shard; NULL: not needed */
    bool summing;     /* the checksum of shard `at` is computed while it is written */
    bool agreed;      /* all processes know of the failure */
    bool sync;
} folder_sink;

int64_t mc_save_shard_size(const mc_run_options *options)
{
    /* 5 GB, the default of huggingface_hub. */
    return options->shard_size > 0 ? options->shard_size : INT64_C(5000000000);
}

/* ---- the sink -------------------------------------------------------------------------------- */

/* Opens the shard and writes its header. A resumed run writes the same header again. */
static mc_status open_shard(folder_sink *s, size_t index, mc_error *error)
{
    const mc_shard *const shard = &s->layout->shards[index];
    if (s->files[index] >= 0)
        return MC_OK;
    s->files[index] = mc_folder_open(&s->folder, shard->name);
    if (s->files[index] < 0)
        return mc_fail_errno(error, shard->name, "cannot create the file");
    return mc_write_all(s->files[index], shard->name, shard->header, shard->header_size, 0, error);
}

static mc_status close_shard(folder_sink *s, size_t index, mc_error *error)
{
    const int fd = s->files[index];
    s->files[index] = -1;
    if (fd >= 0 && mc_system->close(fd) != 0)
        return mc_fail_errno(error, s->layout->shards[index].name, "cannot close it");
    return MC_OK;
}

/*
 * Adds bytes to the shard's checksum while they are in the cache, which saves reading the file
 * again. What precedes them and is not added yet is read back: header, padding, what an earlier run
 * wrote.
 */
static mc_status add_to_sum(folder_sink *s, int64_t offset, const void *bytes, size_t size,
                            mc_error *error)
{
    if (!s->summing)
        return MC_OK;
    shard_sum *const sum = &s->sums[s->at];
    MC_TRY(mc_checksum_add_file(&sum->sum, s->files[s->at], s->layout->shards[s->at].name, sum->end,
                                offset, error));
    mc_checksum_add(&sum->sum, bytes, size);
    sum->end = offset + (int64_t)size;
    return MC_OK;
}

/* No later record brings what was found so far. */
static mc_status settle(folder_sink *s, mc_error *error)
{
    MC_TRY(mc_found_add_all(&s->found, &s->fresh, error));
    mc_found_clear(&s->fresh);
    return MC_OK;
}

/*
 * Records that the current span is written up to a position. Starts write-back of what was written
 * since the last record, so that the final flush finds little left to do. Another machine may
 * resume what processes record together: for that it has to be on disk.
 */
static mc_status record(folder_sink *s, int64_t position, mc_error *error)
{
    const mc_shard *const shard = &s->layout->shards[s->at];
    if (s->comm && s->sync) {
        if (mc_system->fsync(s->files[s->at]) != 0)
            return mc_fail_errno(error, shard->name, "cannot flush it to disk");
    } else if (s->sync) {
        const int64_t from = mc_layout_end(s->layout, shard, s->recorded);
        const int64_t end = mc_layout_end(s->layout, shard, position);
        (void)mc_system->write_back(s->files[s->at], (off_t)from, (off_t)(end - from));
    }
    s->recorded = position;
    MC_TRY(mc_journal_record(&s->journal, (mc_span){s->span.begin, position}, &s->fresh, error));
    return settle(s, error);
}

/* Moves on to the shard of a position: a shard that is left is recorded to its end. */
static mc_status find_shard(folder_sink *s, int64_t offset, mc_error *error)
{
    const mc_layout *const layout = s->layout;
    while (offset >= layout->shards[s->at].start + layout->shards[s->at].bytes) {
        if (s->comm && s->files[s->at] >= 0 && s->recorded < offset)
            MC_TRY(record(s, offset, error));
        /* One shard is open at a time: there may be more than a process may open files. */
        MC_TRY(close_shard(s, s->at++, error));
    }
    /* What other processes write before this one's part is not there yet to be read. */
    s->summing = s->sums && (!s->comm || mc_shares_owner(&s->shares, layout->shards[s->at].start) ==
                                             s->comm->rank);
    return open_shard(s, s->at, error);
}

static mc_status folder_write(mc_sink *self, int64_t offset, const void *bytes, size_t size,
                              const mc_found *found, mc_error *error)
{
    folder_sink *const s = (folder_sink *)self;
    /*
     * Offsets only grow, so shard and tensor are found by moving on. A write belongs to one tensor,
     * and a tensor to one shard.
     */
    const mc_layout *const layout = s->layout;
    MC_TRY(find_shard(s, offset, error));
    while (s->tensor + 1 < layout->slot_count && layout->slots[s->tensor + 1].start <= offset)
        s->tensor++;
    const mc_slot slot = layout->slots[s->tensor];
    const char *const name = layout->shards[s->at].name;
    const int64_t at = slot.offset + offset - slot.start;
    MC_TRY(mc_write_all(s->files[s->at], name, bytes, size, at, error));
    MC_TRY(add_to_sum(s, at, bytes, size, error));
    /* Not earlier: finding the shard may record what precedes these bytes. */
    MC_TRY(mc_found_add_all(&s->fresh, found, error));
    const int64_t position = offset + (int64_t)size;
    const int64_t step = s->comm ? 8 * mc_journal_step : mc_journal_step;
    return position - s->recorded < step ? MC_OK : record(s, position, error);
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* Bytes of all files, headers and padding included. */
static int64_t file_bytes(const mc_layout *layout)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < layout->count; i++)
        bytes += mc_layout_end(layout, &layout->shards[i], layout->bytes);
    return bytes;
}

/* Whether a shard has at least the bytes up to a position of the stream. */
static bool shard_reaches(const folder_sink *s, const mc_shard *shard, int64_t position)
{
    const int64_t wanted = mc_layout_end(s->layout, shard, position);
    struct stat status;
    const int fd = mc_system->open(s->folder.fd, shard->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    const bool there = fd >= 0 && mc_system->fstat(fd, &status) == 0 &&
                       (int64_t)status.st_size >= wanted;
    if (fd >= 0)
        mc_system->close(fd);
    return there;
}

/* Someone may have removed files of the hidden folder and left the journal. */
static bool shards_are_there(const folder_sink *s)
{
    for (size_t k = 0; k < s->done.count; k++)
        for (size_t i = 0; i < s->layout->count; i++) {
            const mc_span span = s->done.items[k];
            const mc_shard *const shard = &s->layout->shards[i];
            if (shard->start < span.end && shard->start + shard->bytes > span.begin &&
                !shard_reaches(s, shard, span.end))
                return false;
        }
    return true;
}

/*
 * Puts on disk what an earlier run has written. Processes record together what is there, while a
 * process alone only hands it to the system.
 */
static mc_status flush_done(const folder_sink *s, mc_error *error)
{
    for (size_t i = 0; s->done.count > 0 && i < s->layout->count; i++) {
        const char *const name = s->layout->shards[i].name;
        const int fd = mc_system->open(s->folder.fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0 && errno == ENOENT)
            continue;
        const mc_status status = fd >= 0 && mc_system->fsync(fd) == 0
                                     ? MC_OK
                                     : mc_fail_errno(error, name, "cannot flush it to disk");
        if (fd >= 0)
            mc_system->close(fd);
        MC_TRY(status);
    }
    return MC_OK;
}

/*
 * Journals all that earlier runs have written and found. This replaces the own journal at once,
 * before the others are removed.
 */
static mc_status start_journal(folder_sink *s, uint64_t fingerprint, mc_error *error)
{
    mc_found none = {0};
    MC_TRY(mc_journal_start(&s->folder, fingerprint, s->comm && s->sync, 0, &s->journal, error));
    for (size_t i = 0; i < s->done.count; i++)
        MC_TRY(mc_journal_record(&s->journal, s->done.items[i], i == 0 ? &s->found : &none, error));
    MC_TRY(mc_journal_install(&s->folder, &s->journal, error));
    return mc_journal_remove(&s->folder, 0, error);
}

/* Reads what earlier runs have written, or removes what they left. */
static mc_status resume_or_start(folder_sink *s, uint64_t fingerprint, mc_error *error)
{
    MC_TRY(mc_journal_expel(&s->folder, error));
    if (fingerprint != 0)
        MC_TRY(mc_journal_read(&s->folder, fingerprint, &s->done, &s->found, error));
    if (s->done.count == 0 || !shards_are_there(s) ||
        !mc_found_fits(&s->found, s->save->sources, s->save->count)) {
        mc_spans_free(&s->done);
        mc_found_free(&s->found);
        MC_TRY(mc_folder_clear(&s->folder, error));
    }
    if (s->comm && s->sync)
        MC_TRY(flush_done(s, error));
    MC_TRY(start_journal(s, fingerprint, error));
    if (s->comm)
        MC_TRY(mc_run_mark_new(&s->folder, &s->mark, error));
    return mc_folder_check_room(&s->folder, file_bytes(s->layout) - mc_spans_bytes(&s->done),
                                error);
}

/* As mc_comm_agree; remembers that all processes fail. */
static mc_status agree(folder_sink *s, mc_status status, mc_error *error)
{
    status = mc_comm_agree(s->comm, status, error);
    s->agreed = s->agreed || status != MC_OK;
    return status;
}

/* Process 0 resumes or starts; the others learn what is done, and begin journals of their own. */
static mc_status begin(folder_sink *s, uint64_t fingerprint, mc_error *error)
{
    const int rank = mc_comm_rank(s->comm);
    MC_TRY(agree(s, rank == 0 ? resume_or_start(s, fingerprint, error) : MC_OK, error));
    MC_TRY(mc_together_spans(s->comm, &s->done, error));
    MC_TRY(mc_comm_broadcast(s->comm, &s->mark, sizeof s->mark, 0, error));
    if (rank > 0) {
        MC_TRY(mc_journal_start(&s->folder, fingerprint, s->sync, rank, &s->journal, error));
        /* In this order: see mc_journal_expel. */
        MC_TRY(mc_run_mark_check(&s->folder, &s->mark, error));
    }
    mc_spans missing = {0};
    mc_status status = mc_spans_missing(&s->done, (mc_span){0, s->layout->bytes}, &missing, error);
    if (status == MC_OK)
        status = mc_shares_new(s->save->sources, s->save->count, &missing, mc_comm_size(s->comm),
                               &s->shares, error);
    mc_spans_free(&missing);
    return status;
}

/* ---- the end --------------------------------------------------------------------------------- */

/*
 * The process that completes a shard: the one that began it. If an earlier run did, they take
 * turns.
 */
static int finisher(const folder_sink *s, size_t index)
{
    const int owner = mc_shares_owner(&s->shares, s->layout->shards[index].start);
    return owner >= 0 ? owner : (int)(index % (size_t)mc_comm_size(s->comm));
}

/* Completes the checksum of a shard; *size: of the file. */
static mc_status finish_sum(folder_sink *s, size_t index, int64_t *size, int64_t *value,
                            mc_error *error)
{
    const mc_shard *const shard = &s->layout->shards[index];
    struct stat status;
    if (!s->sums)
        return MC_OK;
    shard_sum *const sum = &s->sums[index];
    if (mc_system->fstat(s->files[index], &status) != 0)
        return mc_fail_errno(error, shard->name, "cannot examine it");
    MC_TRY(mc_checksum_add_file(&sum->sum, s->files[index], shard->name, sum->end, status.st_size,
                                error));
    *size = status.st_size;
    *value = (int64_t)mc_checksum_end(&sum->sum);
    return MC_OK;
}

/* A shard exists, is flushed and closed, also without tensors. */
static mc_status finish_shard(folder_sink *s, size_t index, int64_t *size, int64_t *value,
                              mc_error *error)
{
    const char *const name = s->layout->shards[index].name;
    MC_TRY(open_shard(s, index, error));
    MC_TRY(finish_sum(s, index, size, value, error));
    if (s->sync && mc_system->fsync(s->files[index]) != 0)
        return mc_fail_errno(error, name, "cannot flush it to disk");
    return close_shard(s, index, error);
}

static mc_status finish_mine(folder_sink *s, int64_t *values, mc_error *error)
{
    for (size_t i = 0; i < s->layout->count; i++)
        if (finisher(s, i) == mc_comm_rank(s->comm))
            MC_TRY(finish_shard(s, i, &values[2 * i], &values[2 * i + 1], error));
    return MC_OK;
}

/* After a failure. */
static void close_shards(folder_sink *s)
{
    for (size_t i = 0; i < s->layout->count; i++)
        (void)close_shard(s, i, NULL);
}

/*
 * What this process has written of shards that another one completes. Closing and opening again is
 * what makes network file systems show it to others.
 */
static mc_status flush_shared(folder_sink *s, mc_error *error)
{
    if (!s->comm)
        return MC_OK;
    for (size_t i = 0; s->sync && i < s->layout->count; i++)
        if (s->files[i] >= 0 && mc_system->fsync(s->files[i]) != 0)
            return mc_fail_errno(error, s->layout->shards[i].name, "cannot flush it to disk");
    for (size_t i = 0; i < s->layout->count; i++)
        MC_TRY(close_shard(s, i, error));
    return MC_OK;
}

/* Completes all shards, and lists them among the folder's files. */
static mc_status finish_shards(folder_sink *s, mc_error *error)
{
    const size_t count = s->layout->count;
    MC_TRY(agree(s, flush_shared(s, error), error));
    int64_t *const values = mc_alloc_zero(2 * count, sizeof *values);
    mc_status status = values ? finish_mine(s, values, error) : mc_fail_memory(error);
    status = agree(s, status, error);
    if (status == MC_OK)
        status = mc_comm_sum(s->comm, values, 2 * count, error);
    for (size_t i = 0; s->sums && status == MC_OK && i < count; i++)
        status = mc_folder_add_file(&s->folder, s->layout->shards[i].name, values[2 * i],
                                    (uint64_t)values[2 * i + 1], error);
    mc_free(values);
    return status;
}

static mc_status write_index(folder_sink *s, mc_error *error)
{
    if (!s->layout->index)
        return MC_OK;
    return mc_folder_write(&s->folder, s->layout->index_name, s->layout->index,
                           strlen(s->layout->index), error);
}

static mc_status check_sources(const mc_save *save, mc_error *error)
{
    for (size_t i = 0; i < save->count; i++)
        MC_TRY(mc_in_tensor(error, save->names[i], mc_source_check(save->sources[i], error)));
    return MC_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Progress of all processes, told by one: their shares are of about the same size. */
typedef struct progress_of_all {
    const mc_run_options *options;
    int64_t before;     /* bytes that are done besides the current span … */
    int64_t begin, end; /* … and where that begins and ends */
    int64_t left;       /* bytes of the spans of this process that follow */
    int processes;
} progress_of_all;

static void tell_progress(const mc_progress *progress, void *user)
{
    const progress_of_all *const p = user;
    mc_progress all = *progress;
    all.bytes_done = p->before + (progress->bytes_done - p->begin) * p->processes;
    all.bytes_read *= p->processes;
    /* Assume that later spans take as long per byte as this one. */
    if (all.seconds_left > 0 && progress->bytes_done < p->end)
        all.seconds_left *= (double)p->left / (double)(p->end - progress->bytes_done) + 1;
    if (all.bytes_done > all.bytes_total)
        all.bytes_done = all.bytes_total;
    p->options->progress(&all, p->options->user);
}

static void add_result(mc_run_result *total, const mc_run_result *part)
{
    total->bytes_read += part->bytes_read;
    total->bytes_written += part->bytes_written;
    total->seconds += part->seconds;
}

/* Computes and writes this process's share, span by span. */
static mc_status write_share(folder_sink *s, const void *const *states,
                             const mc_run_options *options, mc_run_result *result, mc_error *error)
{
    const mc_spans *const mine = &s->shares.of[mc_comm_rank(s->comm)].spans;
    progress_of_all progress = {.options = options,
                                .before = mc_spans_bytes(&s->done),
                                .left = mc_spans_bytes(mine),
                                .processes = mc_comm_size(s->comm)};
    mc_run_options inner = *options;
    inner.progress = options->progress ? tell_progress : NULL;
    inner.user = &progress;
    for (size_t i = 0; i < mine->count; i++) {
        mc_run_result part = {0};
        s->span = mine->items[i];
        s->recorded = progress.begin = s->span.begin;
        progress.end = s->span.end;
        progress.left -= s->span.end - s->span.begin;
        const mc_execution what = {.tensors = s->save->sources,
                                   .count = s->save->count,
                                   .sink = &s->sink,
                                   .begin = s->span.begin,
                                   .end = s->span.end,
                                   .states = states,
                                   .scan = s->save->scan};
        const mc_status status = mc_execute(&what, &inner, &part, error);
        add_result(result, &part);
        if (status != MC_OK)
            return status;
        /* The end of a span is not recorded: a later run would find the same again. */
        MC_TRY(settle(s, error));
        progress.before += (s->span.end - s->span.begin) * progress.processes;
    }
    return MC_OK;
}

/*
 * The order matters: checksums need all bytes, `finish` lists them, and inputs are compared with
 * their state at opening only after the last read.
 */
static mc_status run_in_folder(folder_sink *s, const mc_run_options *options, mc_run_result *result,
                               mc_error *error)
{
    const mc_save *const save = s->save;
    mc_together together = {0};
    MC_TRY(begin(s, save->fingerprint, error));
    result->tensors = save->count;
    result->bytes_resumed = mc_spans_bytes(&s->done);
    mc_status status = mc_together_statistics(&together, save->sources, save->count, &s->shares,
                                              options, error);
    if (status == MC_OK)
        status = write_share(s, (const void *const *)together.states, options, result, error);
    mc_together_free(&together);
    if (status != MC_OK && s->comm)
        return status; /* the others need not wait until their shares are done */
    MC_TRY(agree(s, status, error));
    MC_TRY(finish_shards(s, error));
    MC_TRY(agree(s, s->comm || !save->finish ? check_sources(save, error) : MC_OK, error));
    MC_TRY(mc_together_result(options, result, error));
    MC_TRY(mc_together_found(s->comm, &s->found, error));
    mc_found_total(&s->found, result);
    if (mc_comm_rank(s->comm) > 0)
        return MC_OK;
    MC_TRY(write_index(s, error));
    return save->finish ? save->finish(&s->folder, result, &s->found, save->user, error) : MC_OK;
}

/*
 * Keeps the folder of an interrupted run for the next one; a failed run leaves nothing. The
 * journals are removed before the rename, as they do not belong to the result.
 */
static mc_status end_run(folder_sink *s, mc_status status, mc_error *error)
{
    close_shards(s);
    mc_journal_close(&s->journal);
    if (mc_comm_rank(s->comm) > 0) {
        mc_folder_keep(&s->folder);
        return status;
    }
    if (status == MC_OK)
        status = mc_journal_remove(&s->folder, -1, error);
    if (status == MC_OK)
        return mc_folder_commit(&s->folder, error);
    if (status != MC_INTERRUPTED || s->save->fingerprint == 0) {
        mc_folder_discard(&s->folder);
        return status;
    }
    mc_fail(error, status, "interrupted; what is done is kept in %s", s->folder.work);
    mc_folder_keep(&s->folder);
    return mc_with_hint(error, MC_HINT_RESUME, status);
}

/* Process 0 makes and locks the hidden folder; the others join it. */
static mc_status begin_folder(folder_sink *s, const mc_run_options *options, mc_error *error)
{
    if (mc_comm_rank(s->comm) > 0)
        return mc_together_join(s->comm, s->save->target, s->sync, &s->folder, error);
    const mc_status status = mc_folder_begin(s->save->target, options->overwrite, s->sync,
                                             &s->folder, error);
    const mc_status shared = mc_together_share(s->comm, status, &s->folder, error);
    if (status == MC_OK && shared != MC_OK)
        mc_folder_discard(&s->folder);
    return shared;
}

static mc_status run_layout(const mc_save *save, const mc_layout *layout,
                            const mc_run_options *options, mc_run_result *result, mc_error *error)
{
    folder_sink s = {.sink = {.write = folder_write},
                     .save = save,
                     .layout = layout,
                     .comm = options->comm,
                     .journal = {.fd = -1},
                     .sync = !options->no_sync};
    s.files = mc_alloc(layout->count * sizeof *s.files);
    if (!s.files)
        return mc_fail_memory(error);
    memset(s.files, -1, layout->count * sizeof *s.files);
    s.sums = save->finish ? mc_alloc(layout->count * sizeof *s.sums) : NULL;
    if (save->finish && !s.sums) {
        mc_free(s.files);
        return mc_fail_memory(error);
    }
    for (size_t i = 0; s.sums && i < layout->count; i++) {
        mc_checksum_begin(&s.sums[i].sum);
        s.sums[i].end = 0;
    }
    mc_status status = begin_folder(&s, options, error);
    if (status == MC_OK) {
        status = run_in_folder(&s, options, result, error);
        const bool failed = status != MC_OK;
        if (failed && s.comm && !s.agreed) {
            mc_error unknown = MC_ERROR_NONE;
            unknown.code = status;
            s.comm->abort(s.comm, error ? error : &unknown);
        }
        status = end_run(&s, status, error);
        if (!failed)
            status = mc_comm_agree(s.comm, status, error);
    }
    mc_shares_free(&s.shares);
    mc_spans_free(&s.done);
    mc_found_free(&s.found);
    mc_found_free(&s.fresh);
    mc_free(s.sums);
    mc_free(s.files);
    return status;
}

mc_status mc_save_run(const mc_save *save, const mc_run_options *options, mc_run_result *result,
                      mc_error *error)
{
    mc_layout layout = {0};
    *result = (mc_run_result){0};
    const mc_tensors tensors = {save->names, save->sources, save->count, save->stem};
    mc_status status = save->writer->lay_out(&tensors, mc_save_shard_size(options), &layout, error);
    if (status == MC_OK)
        status = run_layout(save, &layout, options, result, error);
    mc_layout_free(&layout);
    return status;
}

mc_status mc_state_dict_save(const mc_state_dict *dict, const char *folder,
                             const mc_run_options *options, mc_run_result *result, mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    const size_t count = mc_state_dict_count(dict);
    mc_run_result ignored;
    const char **const names = mc_alloc(count * sizeof *names);
    mc_source **const sources = mc_alloc(count * sizeof *sources);
    mc_status status = names && sources ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        names[i] = mc_state_dict_name(dict, i);
        sources[i] = mc_state_dict_source(dict, i);
    }
    const mc_save save = {.writer = &mc_writer_safetensors,
                          .target = folder,
                          .names = names,
                          .sources = sources,
                          .count = count};
    if (status == MC_OK)
        status = mc_save_run(&save, options ? options : &standard, result ? result : &ignored,
                             error);
    mc_free(names);
    mc_free(sources);
    return status;
}

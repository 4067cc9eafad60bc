#include "merge/save.h"

#include "base/checksum.h"
#include "base/memory.h"
#include "base/system.h"
#include "checkpoint/writer.h"
#include "merge/execute.h"
#include "merge/journal.h"

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
    mc_folder folder;
    mc_journal journal;
    int *files;      /* one per shard, −1 while not open */
    size_t at;       /* the shard that is written … */
    size_t tensor;   /* … and the tensor */
    shard_sum *sums; /* one per shard; NULL: not needed */
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
    if (!s->sums)
        return MC_OK;
    shard_sum *const sum = &s->sums[s->at];
    MC_TRY(mc_checksum_add_file(&sum->sum, s->files[s->at], s->layout->shards[s->at].name, sum->end,
                                offset, error));
    mc_checksum_add(&sum->sum, bytes, size);
    sum->end = offset + (int64_t)size;
    return MC_OK;
}

/*
 * Records a position. Starts write-back of what was written since the last record, so that the
 * final flush finds little left to do.
 */
static mc_status record(folder_sink *s, int64_t position, mc_error *error)
{
    const mc_shard *const shard = &s->layout->shards[s->at];
    if (s->sync) {
        const int64_t from = mc_layout_end(s->layout, shard, s->journal.position);
        const int64_t end = mc_layout_end(s->layout, shard, position);
        (void)mc_system->write_back(s->files[s->at], (off_t)from, (off_t)(end - from));
    }
    return mc_journal_record(&s->journal, position, error);
}

static mc_status folder_write(mc_sink *self, int64_t offset, const void *bytes, size_t size,
                              mc_error *error)
{
    folder_sink *const s = (folder_sink *)self;
    /*
     * Offsets only grow, so shard and tensor are found by moving on. A write belongs to one tensor,
     * and a tensor to one shard.
     */
    const mc_layout *const layout = s->layout;
    /* One shard is open at a time: there may be more of them than a process may open files. */
    while (offset >= layout->shards[s->at].start + layout->shards[s->at].bytes)
        MC_TRY(close_shard(s, s->at++, error));
    while (s->tensor + 1 < layout->slot_count && layout->slots[s->tensor + 1].start <= offset)
        s->tensor++;
    const mc_slot slot = layout->slots[s->tensor];
    const char *const name = layout->shards[s->at].name;
    MC_TRY(open_shard(s, s->at, error));
    const int64_t at = slot.offset + offset - slot.start;
    MC_TRY(mc_write_all(s->files[s->at], name, bytes, size, at, error));
    MC_TRY(add_to_sum(s, at, bytes, size, error));
    const int64_t position = offset + (int64_t)size;
    if (position - s->journal.position < mc_journal_step)
        return MC_OK;
    return record(s, position, error);
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

/* Whether a shard has at least the bytes that the journal records. */
static bool shard_is_there(const folder_sink *s, const mc_shard *shard)
{
    const int64_t wanted = mc_layout_end(s->layout, shard, s->journal.position);
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
    for (size_t i = 0; i < s->layout->count; i++)
        if (s->layout->shards[i].start < s->journal.position &&
            !shard_is_there(s, &s->layout->shards[i]))
            return false;
    return true;
}

/* Resumes an earlier run, or removes what it left. */
static mc_status resume_or_start(folder_sink *s, uint64_t fingerprint, mc_error *error)
{
    if (fingerprint != 0 && mc_journal_resume(&s->folder, fingerprint, &s->journal) &&
        shards_are_there(s)) {
        s->sink.resume_at = s->journal.position;
    } else {
        mc_journal_close(&s->journal);
        MC_TRY(mc_folder_clear(&s->folder, error));
        MC_TRY(mc_journal_start(&s->folder, fingerprint, &s->journal, error));
    }
    return mc_folder_check_room(&s->folder, file_bytes(s->layout) - s->sink.resume_at, error);
}

/* Completes the checksum of a shard, and lists the shard among the folder's files. */
static mc_status finish_sum(folder_sink *s, size_t index, mc_error *error)
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
    return mc_folder_add_file(&s->folder, shard->name, status.st_size, mc_checksum_end(&sum->sum),
                              error);
}

/* Every shard exists, is flushed and closed, also those without tensors. */
static mc_status finish_shards(folder_sink *s, mc_error *error)
{
    for (size_t i = 0; i < s->layout->count; i++) {
        MC_TRY(open_shard(s, i, error));
        MC_TRY(finish_sum(s, i, error));
        if (s->sync && mc_system->fsync(s->files[i]) != 0)
            return mc_fail_errno(error, s->layout->shards[i].name, "cannot flush it to disk");
        MC_TRY(close_shard(s, i, error));
    }
    return MC_OK;
}

/* After a failure. */
static void close_shards(folder_sink *s)
{
    for (size_t i = 0; i < s->layout->count; i++)
        (void)close_shard(s, i, NULL);
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

/*
 * The order matters: checksums need all bytes, `finish` lists them, and inputs are compared with
 * their state at opening only after the last read.
 */
static mc_status run_in_folder(folder_sink *s, const mc_save *save, const mc_run_options *options,
                               mc_run_result *result, mc_error *error)
{
    MC_TRY(resume_or_start(s, save->fingerprint, error));
    MC_TRY(mc_execute(save->sources, save->count, &s->sink, options, save->found, result, error));
    MC_TRY(finish_shards(s, error));
    MC_TRY(write_index(s, error));
    return save->finish ? save->finish(&s->folder, result, save->user, error)
                        : check_sources(save, error);
}

/*
 * Keeps the folder of an interrupted run for the next one; a failed run leaves nothing. The journal
 * is removed before the rename, as it does not belong to the result.
 */
static mc_status end_run(folder_sink *s, const mc_save *save, mc_status status, mc_error *error)
{
    close_shards(s);
    mc_journal_close(&s->journal);
    if (status == MC_OK)
        status = mc_journal_remove(&s->folder, error);
    if (status == MC_OK)
        return mc_folder_commit(&s->folder, error);
    if (status != MC_INTERRUPTED || save->fingerprint == 0) {
        mc_folder_discard(&s->folder);
        return status;
    }
    mc_fail(error, status, "interrupted; what is done is kept in %s", s->folder.work);
    mc_folder_keep(&s->folder);
    return mc_with_hint(error, MC_HINT_RESUME, status);
}

static mc_status run_layout(const mc_save *save, const mc_layout *layout,
                            const mc_run_options *options, mc_run_result *result, mc_error *error)
{
    folder_sink s = {.sink = {.write = folder_write},
                     .layout = layout,
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
    mc_status status = mc_folder_begin(save->target, options->overwrite, s.sync, &s.folder, error);
    if (status == MC_OK) {
        status = run_in_folder(&s, save, options, result, error);
        status = end_run(&s, save, status, error);
    }
    mc_free(s.sums);
    mc_free(s.files);
    return status;
}

mc_status mc_save_run(const mc_save *save, const mc_run_options *options, mc_run_result *result,
                      mc_error *error)
{
    mc_layout layout = {0};
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

/* mergecraft merge: what is printed of plans and results. */
#include "command_line.h"
#include "merge.h"
#include "output.h"

#include <mergecraft/text.h>

#include <math.h>
#include <stdlib.h>

/* Returns the plan as JSON, with the output folder; results are added to it. NULL: no memory. */
static json_t *json_plan(const merge_job *job, const mc_run_options *run, mc_error *error)
{
    char *text = NULL;
    if (mc_plan_json(job->plan, run, &text, error) != MC_OK)
        return NULL;
    return json_of_plan(job->settings->output, text);
}

/* More digits would be noise. */
static double to_milliseconds(double seconds)
{
    return round(seconds * 1000) / 1000;
}

/*
 * Adds the share of each process, if there are several. Memory is a bound that holds for each of
 * them.
 */
static mc_status add_shares(const merge_job *job, const mc_run_options *run, json_t *object,
                            mc_error *error)
{
    int64_t read, written, memory;
    if (!command_comm)
        return MC_OK;
    mc_plan_bytes(job->plan, run, &read, &written, &memory);
    mc_plan_share *const shares = allocate((size_t)command_comm->size * sizeof *shares);
    const mc_status status = mc_plan_shares(job->plan, command_comm->size, shares, error);
    json_t *const list = json_array();
    for (int i = 0; status == MC_OK && i < command_comm->size; i++)
        json_array_append_new(list, json_pack("{s:i, s:I, s:I, s:I}", "rank", i, "bytes_read",
                                              (json_int_t)shares[i].bytes_read, "bytes_written",
                                              (json_int_t)shares[i].bytes_written, "memory",
                                              (json_int_t)memory));
    json_object_set_new(object, "processes", list);
    free(shares);
    return status;
}

/* Adds what each process has done, if there are several. */
static void add_processes(const merge_job *job, json_t *object)
{
    if (!job->processes)
        return;
    json_t *const list = json_array();
    for (int i = 0; i < command_comm->size; i++) {
        const mc_process_result *const one = &job->processes[i];
        json_array_append_new(list, json_pack("{s:i, s:s, s:I, s:I, s:f, s:I}", "rank", i, "host",
                                              one->host, "bytes_read", (json_int_t)one->bytes_read,
                                              "bytes_written", (json_int_t)one->bytes_written,
                                              "seconds", to_milliseconds(one->seconds), "memory",
                                              (json_int_t)one->memory));
    }
    json_object_set_new(object, "processes", list);
}

static mc_status print_result_json(const merge_job *job, const mc_run_result *result,
                                   mc_error *error)
{
    json_t *const object = json_plan(job, NULL, error);
    if (!object)
        return MC_NO_MEMORY;
    /* A result reports figures of the run in place of estimates. */
    json_object_del(object, "memory");
    json_object_del(object, "plan");
    add_processes(job, object);
    json_object_set_new(object, "tensors", json_integer((json_int_t)result->tensors));
    json_object_set_new(object, "bytes_read", json_integer(result->bytes_read));
    json_object_set_new(object, "bytes_written", json_integer(result->bytes_written));
    json_object_set_new(object, "bytes_resumed", json_integer(result->bytes_resumed));
    json_object_set_new(object, "seconds", json_real(to_milliseconds(result->seconds)));
    if (job->pipeline)
        json_object_set_new(object, "eval",
                            score_json(&job->score, job->pipeline, &job->evaluation));
    print_json(object);
    return MC_OK;
}

/* Returns the method's name, "recipe" or "transplant". The caller frees it. */
static char *job_name(const merge_job *job)
{
    return job->recipe                 ? format_text("recipe")
           : job->settings->transplant ? format_text("transplant")
                                       : method_name(job->method.method);
}

/* Of a merge without an output folder, whose result is only scored. */
static void print_memory_summary(const merge_job *job, const mc_run_result *result)
{
    char *const method = job_name(job);
    printf("%s of %zu models: %zu tensor%s in memory in %.2f s\n", method, job->model_count,
           result->tensors, plural((int64_t)result->tensors), result->seconds);
    free(method);
}

static void print_summary(const merge_job *job, const mc_run_result *result)
{
    char written[16], resumed[16], rate[16];
    char *const folder = visible_text(job->settings->output);
    /* A resumed merge may have nothing left to do. */
    const double seconds = result->seconds > 1e-6 ? result->seconds : 1e-6;
    mc_format_bytes(result->bytes_written, written, sizeof written);
    mc_format_bytes(result->bytes_resumed, resumed, sizeof resumed);
    mc_format_bytes((int64_t)((double)result->bytes_written / seconds), rate, sizeof rate);
    printf("%s: %zu tensor%s, %s in %.2f s (%s/s)", folder, result->tensors,
           plural((int64_t)result->tensors), written, result->seconds, rate);
    if (result->bytes_resumed > 0)
        printf(", and %s from an earlier run", resumed);
    putchar('\n');
    free(folder);
}

/* What each of several processes did. */
static void print_processes(const merge_job *job)
{
    static const char *const titles[] = {"PROCESS", "HOST", "READ", "WRITTEN", "SECONDS", "MEMORY"};
    table rows = {.titles = titles, .columns = 6, .right = 1 | 7 << 2 | 1 << 5};
    for (int i = 0; i < command_comm->size; i++) {
        const mc_process_result *const one = &job->processes[i];
        char bytes[16];
        table_add(&rows, "%d", i);
        table_add(&rows, "%s", one->host);
        table_add(&rows, "%s", mc_format_bytes(one->bytes_read, bytes, sizeof bytes));
        table_add(&rows, "%s", mc_format_bytes(one->bytes_written, bytes, sizeof bytes));
        table_add(&rows, "%.2f", one->seconds);
        table_add(&rows, "%s", mc_format_bytes(one->memory, bytes, sizeof bytes));
    }
    table_finish(&rows, stdout);
}

static void print_plan(const merge_job *job, const mc_run_options *run)
{
    static const char *const titles[] = {"TENSOR", "DTYPE", "SHAPE", "BYTES", "HOW"};
    table rows = {.titles = titles, .columns = 5, .right = 1 << 3};
    char read_text[16], written_text[16], memory_text[16];
    int64_t read, written, memory;
    mc_plan_bytes(job->plan, run, &read, &written, &memory);
    for (size_t i = 0; i < mc_plan_count(job->plan); i++) {
        mc_plan_line line;
        char how[1024];
        mc_plan_line_at(job->plan, i, &line);
        table_add(&rows, "%s", line.name);
        table_add(&rows, "%s", mc_dtype_name(line.dtype));
        table_add_shape(&rows, line.rank, line.shape);
        table_add(&rows, "%lld", (long long)line.bytes);
        table_add(&rows, "%s", mc_plan_line_text(&line, how, sizeof how));
    }
    table_finish(&rows, stdout);
    printf("%zu tensor%s: reads %s, writes %s, needs at most %s of memory; parameters %s\n",
           mc_plan_count(job->plan), plural((int64_t)mc_plan_count(job->plan)),
           mc_format_bytes(read, read_text, sizeof read_text),
           mc_format_bytes(written, written_text, sizeof written_text),
           mc_format_bytes(memory, memory_text, sizeof memory_text), mc_plan_parameters(job->plan));
}

/* What each of several processes reads and writes, and how well that is balanced. */
static mc_status print_shares(const merge_job *job, const mc_run_options *run, mc_error *error)
{
    static const char *const titles[] = {"PROCESS", "READS", "WRITES", "HOLDS AT MOST"};
    table rows = {.titles = titles, .columns = 4, .right = 15};
    int64_t read, written, memory;
    if (!command_comm)
        return MC_OK;
    mc_plan_bytes(job->plan, run, &read, &written, &memory);
    const int count = command_comm->size;
    mc_plan_share *const shares = allocate((size_t)count * sizeof *shares);
    const mc_status status = mc_plan_shares(job->plan, count, shares, error);
    double most = 0, all = 0;
    for (int i = 0; status == MC_OK && i < count; i++) {
        char bytes[16];
        table_add(&rows, "%d", i);
        table_add(&rows, "%s", mc_format_bytes(shares[i].bytes_read, bytes, sizeof bytes));
        table_add(&rows, "%s", mc_format_bytes(shares[i].bytes_written, bytes, sizeof bytes));
        table_add(&rows, "%s", mc_format_bytes(memory, bytes, sizeof bytes));
        most = shares[i].cost > most ? shares[i].cost : most;
        all += shares[i].cost;
    }
    table_finish(&rows, stdout);
    if (status == MC_OK && all > 0)
        printf("%d processes: the largest share is %.3f times the mean\n", count,
               most * count / all);
    free(shares);
    return status;
}

mc_status merge_print_plan(const merge_job *job, const mc_run_options *run, mc_error *error)
{
    if (!job->settings->common.json) {
        print_plan(job, run);
        return print_shares(job, run, error);
    }
    json_t *const object = json_plan(job, run, error);
    if (!object)
        return MC_NO_MEMORY;
    const mc_status status = add_shares(job, run, object, error);
    if (status == MC_OK)
        print_json(object);
    else
        json_decref(object);
    return status;
}

mc_status merge_print_result(const merge_job *job, const mc_run_result *result, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    if (settings->common.json)
        return print_result_json(job, result, error);
    if (!settings->common.quiet && settings->output)
        print_summary(job, result);
    if (settings->common.verbose && !settings->common.quiet && job->processes)
        print_processes(job);
    if (!settings->common.quiet && !settings->output)
        print_memory_summary(job, result);
    if (settings->score.task)
        score_print(&job->score, settings->output ? settings->output : "merged", &job->evaluation);
    return MC_OK;
}

void merge_print_warnings(const merge_job *job, size_t first)
{
    const mc_report *const report = mc_plan_report(job->plan);
    for (size_t i = first; !job->settings->common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
}

#include "comparison.h"

#include "progress.h"
#include "signals.h"

#include <mergecraft/merge.h>

mc_status run_comparison(const mc_compare_input *input, const common_options *common,
                         int64_t threads, mc_comparison **out, mc_error *error)
{
    progress_display display = progress_begin(common);
    mc_run_options run = MC_RUN_DEFAULT;
    run.threads = (int)threads;
    run.cancel = catch_signals();
    if (display.bar || display.lines) {
        run.progress = progress_update;
        run.user = &display;
    }
    const mc_status status = mc_compare(input, &run, out, error);
    progress_end(&display);
    return status;
}

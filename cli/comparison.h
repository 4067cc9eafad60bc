/* Comparing models, for compare and for report. */
#ifndef CLI_COMPARISON_H
#define CLI_COMPARISON_H

#include "options.h"

#include <mergecraft/compare.h>

/* mc_compare with a progress display; a signal interrupts it. */
mc_status run_comparison(const mc_compare_input *input, const common_options *common,
                         int64_t threads, mc_comparison **out, mc_error *error);

#endif

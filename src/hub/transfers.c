#include "hub/transfers.h"

#include <stdarg.h>
#include <stdio.h>

mc_status mc_transfers_begin(mc_transfers *transfers, const mc_hub_options *options,
                             mc_error *error)
{
    transfers->options = options;
    return mc_hub_settings_read(&transfers->settings, error);
}

void mc_transfers_end(mc_transfers *transfers)
{
    mc_http_free(transfers->http);
    mc_hub_settings_free(&transfers->settings);
    *transfers = (mc_transfers){0};
}

mc_status mc_transfers_connect(mc_transfers *transfers, mc_error *error)
{
    return transfers->http ? MC_OK : mc_http_new(&transfers->settings, &transfers->http, error);
}

/* Keeps the first failure: later ones are mostly its consequences. */
void mc_transfers_fail(mc_transfers *transfers, const char *file, const mc_error *error)
{
    if (transfers->status != MC_OK)
        return;
    transfers->status = error->code;
    transfers->error = *error;
    if (!transfers->error.file[0])
        snprintf(transfers->error.file, sizeof transfers->error.file, "%s", file ? file : "");
}

void mc_transfers_step(mc_transfers *transfers, double seconds)
{
    mc_error error = MC_ERROR_NONE;
    const mc_hub_options *const options = transfers->options;
    /* Polled here, at least every tenth of a second: a signal handler can only set a flag. */
    if (options && options->cancel && *options->cancel)
        mc_fail(&error, MC_INTERRUPTED, "interrupted; the next call resumes the transfer");
    else
        (void)mc_http_step(transfers->http, seconds, &error);
    if (error.code != MC_OK)
        mc_transfers_fail(transfers, NULL, &error);
}

void mc_transfers_note(const mc_transfers *transfers, const char *format, ...)
{
    char text[1024];
    if (!transfers->options || !transfers->options->note)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    transfers->options->note(text, transfers->options->user);
}

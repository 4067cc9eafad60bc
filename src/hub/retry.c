#include "hub/retry.h"

static const double longest_pause = 30, longest_retry_after = 600;

double mc_hub_first_pause = .5;

bool mc_retry_is_worth(const mc_request *request)
{
    const int status = request->reply.status;
    if (request->how == MC_HTTP_REPLIED)
        return status == 408 || status == 429 || status / 100 == 5;
    return request->how == MC_HTTP_BROKEN;
}

/* Retry-After beyond the limit is an error at once (retry.h). */
double mc_retry_pause(const mc_request *request, int most, int *failures)
{
    const double asked = request->how == MC_HTTP_REPLIED ? request->reply.retry_after : -1;
    double pause = mc_hub_first_pause;
    if (++*failures > most || asked > longest_retry_after)
        return -1;
    for (int i = 1; i < *failures && pause < longest_pause; i++)
        pause *= 2;
    return asked > pause ? asked : pause;
}

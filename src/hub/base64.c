#include "hub/base64.h"

#include "base/memory.h"

char *mc_base64(const void *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *const in = bytes;
    char *const out = mc_alloc((size + 2) / 3 * 4 + 1);
    size_t at = 0;
    /* Three bytes are four digits. Bytes that are missing at the end are marked by "=". */
    for (size_t i = 0; out && i < size; i += 3) {
        const unsigned group = (unsigned)in[i] << 16 |
                               (i + 1 < size ? (unsigned)in[i + 1] << 8 : 0) |
                               (i + 2 < size ? in[i + 2] : 0);
        out[at++] = digits[group >> 18];
        out[at++] = digits[group >> 12 & 63];
        out[at++] = i + 1 < size ? digits[group >> 6 & 63] : '=';
        out[at++] = i + 2 < size ? digits[group & 63] : '=';
    }
    if (out)
        out[at] = '\0';
    return out;
}

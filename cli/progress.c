#include "progress.h"

#include <mergecraft/text.h>

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* A bar of fewer characters would show hardly anything. Seconds: see progress_display.marks. */
enum { NARROWEST_BAR = 10, WIDEST_BAR = 40, MARK_SECONDS = 5 };

progress_display progress_begin(const common_options *common)
{
    const char *const terminal = getenv("TERM");
    const bool redraws = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    return (progress_display){.bar = redraws && !common->quiet,
                              .lines = !redraws && common->verbose && !common->quiet};
}

/* Queried each time: there is no handler for changes of the window size. */
size_t terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

/* Capped: the estimate of a download that has just begun may be arbitrarily large. */
static void format_time(double seconds, char *out, size_t size)
{
    const long long s = seconds < 1e9 ? (long long)(seconds + .5) : 1000000000;
    if (seconds < 0)
        snprintf(out, size, "...");
    else if (s < 3600)
        snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
    else
        snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

static double share_done(const mc_progress *progress)
{
    const double share = progress->bytes_total > 0
                             ? (double)progress->bytes_done / (double)progress->bytes_total
                             : 1;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

static void add(char *out, size_t width, const char *text)
{
    /* A part that does not fit is left out. */
    if (strlen(out) + strlen(text) <= width)
        strcat(out, text);
}

static void add_bar(char *out, size_t width, double share)
{
    const size_t taken = strlen(out) + 3; /* a space and brackets */
    if (taken + NARROWEST_BAR > width)
        return;
    const size_t room = width - taken < WIDEST_BAR ? width - taken : WIDEST_BAR;
    const size_t full = (size_t)(share * (double)room);
    char *const end = out + strlen(out);
    end[0] = ' ';
    end[1] = '[';
    for (size_t i = 0; i < room; i++)
        end[2 + i] = i < full ? '#' : '.';
    memcpy(end + 2 + room, "]", 2);
}

/* Bytes with a unit such as MB, other units as plain numbers. */
static const char *format_amount(int64_t amount, const char *unit, char *out, size_t size)
{
    if (!unit)
        return mc_format_bytes(amount, out, size);
    snprintf(out, size, "%lld", (long long)amount);
    return out;
}

double progress_left(const mc_progress *progress, double rate)
{
    return rate > 0 ? (double)(progress->bytes_total - progress->bytes_done) / rate : -1;
}

void progress_line(const mc_progress *progress, const char *unit, double rate, size_t width,
                   char *out, size_t size)
{
    char text[64], done[24], total[24], speed[24], left[24];
    const double share = share_done(progress);
    /* Some terminals wrap when the last column is filled. */
    const size_t room = width < size ? (width ? width - 1 : 0) : size - 1;
    out[0] = '\0';
    snprintf(text, sizeof text, "%3d %%", (int)(share * 100));
    add(out, room, text);
    snprintf(text, sizeof text, "  %s of %s%s%s",
             format_amount(progress->bytes_done, unit, done, sizeof done),
             format_amount(progress->bytes_total, unit, total, sizeof total), unit ? " " : "",
             unit ? unit : "");
    add(out, room, text);
    /* Everything is computed; flushing to disk may take a while. */
    if (progress->bytes_done >= progress->bytes_total) {
        add(out, room, "  finishing");
    } else if (rate > 0) {
        snprintf(text, sizeof text, "  %s/s",
                 format_amount((int64_t)rate, unit, speed, sizeof speed));
        add(out, room, text);
    }
    if (progress->bytes_done < progress->bytes_total) {
        format_time(progress->seconds_left, left, sizeof left);
        snprintf(text, sizeof text, "  %s left", left);
        add(out, room, text);
    }
    add_bar(out, room, share);
}

static double rate_since(const mc_progress *mark, const mc_progress *now)
{
    const double seconds = now->seconds - mark->seconds;
    return seconds > 0 ? (double)(now->bytes_done - mark->bytes_done) / seconds : 0;
}

static double current_rate(progress_display *display, const mc_progress *now)
{
    if (!display->begun)
        display->marks[0] = display->marks[1] = *now;
    display->begun = true;
    /* marks[1] becomes the older mark, so marks[0] is 5 to 10 seconds old. */
    if (now->seconds - display->marks[1].seconds >= MARK_SECONDS) {
        display->marks[0] = display->marks[1];
        display->marks[1] = *now;
    }
    return rate_since(&display->marks[0], now);
}

static void show(progress_display *display, const mc_progress *progress, double rate)
{
    char line[256];
    const int64_t tenths = (int64_t)(share_done(progress) * 10);
    if (display->bar) {
        progress_line(progress, display->unit, rate, terminal_width(), line, sizeof line);
        /* Back to the start of the line, and clear what a longer line left. */
        fprintf(stderr, "\r%s\033[K", line);
    } else if (display->lines && tenths > display->tenths) {
        display->tenths = tenths;
        progress_line(progress, display->unit, rate, 72, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

void progress_update(const mc_progress *progress, void *user)
{
    progress_display *const display = user;
    show(display, progress, current_rate(display, progress));
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_tokens(size_t done, size_t total, void *user)
{
    progress_display *const display = user;
    mc_progress progress = {
        .bytes_done = (int64_t)done, .bytes_total = (int64_t)total, .seconds = seconds_now()};
    const double rate = current_rate(display, &progress);
    progress.seconds_left = progress_left(&progress, rate);
    show(display, &progress, rate);
}

void progress_end(progress_display *display)
{
    if (display->bar && display->begun)
        fputs("\r\033[K", stderr);
    display->bar = display->lines = false;
}

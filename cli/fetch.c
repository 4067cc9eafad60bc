#include "fetch.h"

#include "command_line.h"
#include "output.h"
#include "progress.h"
#include "signals.h"

#include <mergecraft/text.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * Widths in characters. SIZES_WIDTH is what a line of a file has beside its name: blanks, the bytes
 * done and the total.
 */
enum { MOST_LINES = 8, WIDEST_NAME = 44, NARROWEST_NAME = 8, SIZES_WIDTH = 24 };

/* huggingface_hub turns its bars off for these values; scripts set the variable for all tools. */
static bool bars_are_off(void)
{
    const char *const value = getenv("HF_HUB_DISABLE_PROGRESS_BARS");
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(value, words[i]) == 0)
            return true;
    return false;
}

fetch_display fetch_begin(const common_options *common)
{
    const progress_display display = progress_begin(common);
    const bool off = bars_are_off();
    return (fetch_display){
        .bar = display.bar && !off, .lines = display.lines && !off, .quiet = common->quiet};
}

static void erase(fetch_display *display)
{
    if (display->drawn == 0)
        return;
    /* One line up and cleared, per line that the last drawing took. */
    for (size_t i = 0; i < display->drawn; i++)
        fputs("\033[A\033[K", stderr);
    display->drawn = 0;
}

static double rate_of(fetch_display *display, const mc_hub_progress *progress)
{
    /* The rate counts from the first report: what was cached before costs no time. */
    if (!display->begun) {
        display->begun = true;
        display->first_seconds = progress->seconds;
        display->first_bytes = progress->bytes_done;
    }
    const double seconds = progress->seconds - display->first_seconds;
    return seconds > 0 ? (double)(progress->bytes_done - display->first_bytes) / seconds : 0;
}

/*
 * The end of a text: at most this many bytes, whole characters only.
 *
 * The end of a path identifies a file; repositories and folders at its start repeat. Bytes 0x80 to
 * 0xbf continue a character.
 */
static const char *last_part(const char *text, size_t bytes)
{
    const size_t length = strlen(text);
    const char *part = length > bytes ? text + length - bytes : text;
    while (((unsigned char)*part & 0xc0) == 0x80)
        part++;
    return part;
}

/* Cuts the line: erase() counts lines, and a wrapped line would be two. */
static void print_cut(const char *line, size_t width)
{
    size_t bytes = 0;
    for (size_t column = 1; column < width && line[bytes]; column++)
        /* One character: its first byte, then those that continue it. */
        do
            bytes++;
        while (((unsigned char)line[bytes] & 0xc0) == 0x80);
    fprintf(stderr, "%.*s\n", (int)bytes, line);
}

static void draw_file(const mc_hub_file *file, size_t width)
{
    char done[16], total[16];
    const size_t room = width > SIZES_WIDTH + NARROWEST_NAME ? width - SIZES_WIDTH - 1
                                                             : NARROWEST_NAME;
    const size_t name_width = room < WIDEST_NAME ? room : WIDEST_NAME;
    /* Names come from a server: control characters must not reach the terminal. */
    char *const repository = visible_text(file->repository), *const path = visible_text(file->path);
    char *const name = format_text("%s/%s", repository, path);
    char *const waiting = file->waiting ? visible_text(file->waiting) : NULL;
    char *const line = format_text(
        "  %-*s %9s of %s%s%s", (int)name_width, last_part(name, name_width),
        mc_format_bytes(file->bytes_done, done, sizeof done),
        file->bytes_total < 0 ? "?" : mc_format_bytes(file->bytes_total, total, sizeof total),
        waiting ? "  waiting: " : "", waiting ? waiting : "");
    print_cut(line, width);
    free(line);
    free(waiting);
    free(name);
    free(path);
    free(repository);
}

/*
 * Each drawing replaces the lines of the one before:
 *
 *    45 %  123.4 MB of 270.0 MB  12.3 MB/s  0:12 left [####......]
 *     ORG/NAME/model.safetensors    123.4 MB of 270.0 MB
 */
static void draw(fetch_display *display, const mc_hub_progress *progress, double rate)
{
    char line[256];
    mc_progress all = {.bytes_done = progress->bytes_done,
                       .bytes_total = progress->bytes_total,
                       .seconds = progress->seconds};
    all.seconds_left = progress_left(&all, rate);
    const size_t width = terminal_width();
    erase(display);
    progress_line(&all, NULL, rate, width, line, sizeof line);
    fprintf(stderr, "%s\n", line);
    display->drawn = 1;
    /* The total's line counts too, so MOST_LINES files fit below it. */
    for (size_t i = 0; i < progress->file_count && display->drawn <= MOST_LINES; i++)
        if (progress->files[i].active) {
            draw_file(&progress->files[i], width);
            display->drawn++;
        }
}

static void on_progress(const mc_hub_progress *progress, void *user)
{
    fetch_display *const display = user;
    char line[256];
    /* Sizes are not known yet, or everything was cached. */
    if (progress->bytes_total == 0)
        return;
    const double rate = rate_of(display, progress);
    /* Plus one, so that less than 10 bytes do not divide by 0. */
    const int64_t tenths = progress->bytes_done / (progress->bytes_total / 10 + 1);
    if (display->bar) {
        draw(display, progress, rate);
    } else if (display->lines && tenths > display->tenths) {
        mc_progress all = {.bytes_done = progress->bytes_done,
                           .bytes_total = progress->bytes_total};
        all.seconds_left = progress_left(&all, rate);
        display->tenths = tenths;
        progress_line(&all, NULL, rate, 72, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

static void on_note(const char *text, void *user)
{
    fetch_display *const display = user;
    /* The bar is drawn again below the note at the next report. */
    erase(display);
    if (!display->quiet)
        say("note", text);
}

mc_hub_options fetch_options(fetch_display *display)
{
    return (mc_hub_options){.cancel = catch_signals(),
                            .progress = display->bar || display->lines ? on_progress : NULL,
                            .note = on_note,
                            .user = display,
                            .comm = command_comm};
}

void fetch_end(fetch_display *display)
{
    erase(display);
    display->bar = display->lines = false;
}

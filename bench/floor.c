/*
 * The floor that merges are measured against: reads every input once with read(2) and writes as
 * many bytes as the output has, on one thread, with nothing in between. floor OUTPUT BYTES INPUT...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 18 };

static char block[BLOCK];

static int read_all(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0)
        got = read(fd, block, sizeof block);
    if (fd >= 0)
        close(fd);
    return got < 0 ? -1 : 0;
}

static int write_bytes(const char *path, long long bytes)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    while (fd >= 0 && bytes > 0) {
        const ssize_t put = write(fd, block, bytes < BLOCK ? (size_t)bytes : BLOCK);
        if (put <= 0)
            break;
        bytes -= put;
    }
    return fd < 0 || close(fd) != 0 || bytes > 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: floor OUTPUT BYTES INPUT...\n");
        return 2;
    }
    for (int i = 3; i < argc; i++)
        if (read_all(argv[i]) != 0) {
            fprintf(stderr, "floor: %s: %s\n", argv[i], strerror(errno));
            return 1;
        }
    if (write_bytes(argv[1], atoll(argv[2])) != 0) {
        fprintf(stderr, "floor: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    return 0;
}

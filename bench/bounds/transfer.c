// What case e-tcp costs without any system around it: a file in RAM goes through a TCP connection over loopback into another
// file in RAM, by sendfile in one process, and recv and pwrite in another. No checksum, no messages, nothing placed.
//
//   cc -O2 -o /tmp/bound bench/bounds/transfer.c && /tmp/bound DIRECTORY 256 6
//
// The directory has to be in a RAM file system, with room for two files of so many MiB. The first round writes to a new file,
// each later one over the same file again: the difference is what new pages cost. Prints seconds per GiB, of time and of
// processor time; two cores cannot do it in less than half of the processor time. Linux.

#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 2 << 20 };

static size_t bytes;
static int rounds;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static int file_in(const char *directory) {
  int file = open(directory, O_TMPFILE | O_RDWR, 0600);
  if (file < 0) fail("open");
  return file;
}

static double per_gib(double value) { return value * (1 << 30) / bytes; }

static void send_all(int file, int port, int go, int said) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int out = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(out, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
  for (char start; read(go, &start, 1) == 1;) {
    double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (off_t at = 0; at < (off_t)bytes;)
      if (sendfile(out, file, &at, bytes - at < PIECE ? bytes - at : PIECE) <= 0) fail("sendfile");
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - before;
    if (write(said, &used, sizeof used) != sizeof used) fail("write");
  }
  exit(0);
}

int main(int count, char **words) {
  if (count != 4) return fprintf(stderr, "usage: %s DIRECTORY MIB ROUNDS\n", words[0]), 2;
  bytes = (size_t)atoi(words[2]) << 20;
  rounds = atoi(words[3]);
  static char piece[PIECE];
  int source = file_in(words[1]), target = file_in(words[1]), go[2], said[2];
  memset(piece, 7, PIECE);
  for (size_t at = 0; at < bytes; at += PIECE)
    if (pwrite(source, piece, PIECE, at) != PIECE) fail("write");

  struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof own;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&own, size) != 0 || listen(listener, 1) != 0) fail("listen");
  getsockname(listener, (struct sockaddr *)&own, &size);
  if (pipe(go) != 0 || pipe(said) != 0) fail("pipe");
  pid_t sender = fork();
  if (sender == 0) {
    close(go[1]);
    send_all(source, own.sin_port, go[0], said[1]);
  }
  int in = accept(listener, NULL, NULL);
  for (int round = 0; round < rounds; round++) {
    double started = seconds(CLOCK_MONOTONIC), before = seconds(CLOCK_PROCESS_CPUTIME_ID), sent;
    if (write(go[1], "", 1) != 1) fail("write");
    for (size_t at = 0; at < bytes; at += PIECE) {
      for (ssize_t filled = 0, got; filled < PIECE; filled += got)
        if ((got = recv(in, piece + filled, PIECE - filled, 0)) <= 0) fail("recv");
      if (pwrite(target, piece, PIECE, at) != PIECE) fail("write");
    }
    double took = seconds(CLOCK_MONOTONIC) - started, received = seconds(CLOCK_PROCESS_CPUTIME_ID) - before;
    if (read(said[0], &sent, sizeof sent) != sizeof sent) fail("read");
    printf("%s pages: %.2f s, processor: %.2f s to receive, %.2f s to send\n", round == 0 ? "new" : "used",
           per_gib(took), per_gib(received), per_gib(sent));
  }
  close(go[1]);
  return waitpid(sender, NULL, 0) == sender ? 0 : 1;
}

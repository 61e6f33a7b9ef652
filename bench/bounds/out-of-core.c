// What case f costs without any system around it: two processes that make the same blocks, add them up, write each to a file
// through the page cache, map them in pairs, add those and write the sums. No checksums, no messages, nothing placed.
//
//   cc -O2 -pthread -o /tmp/bound bench/bounds/out-of-core.c && /tmp/bound DIRECTORY 60 64 [KEPT]
//
// KEPT: so many MiB of files per process stay in the page cache; older ones are written back and dropped from it by a thread
// beside, so that their pages are used again. Without it the system decides.
//
// Prints seconds. Linux; the directory has to be on a disk, with room for one and a half times the blocks (here 5.6 GiB).

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 2, PIECE = 65536 };

static const char *directory;
static int blocks;
static size_t bytes, kept;

// Files in the order in which they were written: those from `first` to `last` may be in the page cache.
static int files[4096], first, last, ended;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static const char *name_of(char kind, int number) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/bound-%c-%d", directory, kind, number);
  return path;
}

static double *fresh(void) {
  double *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) fail("mmap");
  madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

static void *drop_old(void *unused) {
  for (;;) {
    pthread_mutex_lock(&lock);
    while ((last - first) * bytes <= kept && !ended) pthread_cond_wait(&more, &lock);
    int file = ended ? -1 : files[first++];
    pthread_mutex_unlock(&lock);
    if (file < 0) return unused;
    sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }
}

static void tell(int file) {
  pthread_mutex_lock(&lock);
  files[last++] = file;
  pthread_cond_signal(&more);
  pthread_mutex_unlock(&lock);
}

static void put(char kind, int number, const double *block) {
  int file = open(name_of(kind, number), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0) fail("open");
  for (size_t at = 0; at < bytes; at += PIECE)
    if (write(file, (const char *)block + at, PIECE) != PIECE) fail("write");
  if (kept > 0) tell(file);
  else close(file);
}

static double *map(char kind, int number) {
  int file = open(name_of(kind, number), O_RDONLY);
  if (file < 0) fail("open");
  double *block = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  if (block == MAP_FAILED) fail("mmap");
  close(file);
  return block;
}

static double sum(const double *block) {
  double total = 0;
  for (size_t i = 0; i < bytes / 8; i++) total += block[i];
  return total;
}

static double work(int process) {
  double total = 0;
  pthread_t dropper;
  if (kept > 0 && pthread_create(&dropper, NULL, drop_old, NULL) != 0) fail("pthread_create");
  for (int b = process; b < blocks / 2; b += PROCESSES) {
    for (int half = 0; half < 2; half++) {
      int number = b + half * blocks / 2;
      double *block = fresh();
      for (size_t i = 0; i < bytes / 8; i++) block[i] = i + number;
      total += sum(block);
      put('b', number, block);
      munmap(block, bytes);
    }
    double *one = map('b', b), *other = map('b', b + blocks / 2), *both = fresh();
    for (size_t i = 0; i < bytes / 8; i++) both[i] = one[i] + other[i];
    total += sum(both);
    put('s', b, both);
    munmap(one, bytes);
    munmap(other, bytes);
    munmap(both, bytes);
  }
  if (kept > 0) {
    pthread_mutex_lock(&lock);
    ended = 1;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
    pthread_join(dropper, NULL);
  }
  return total;
}

int main(int count, char **words) {
  if (count < 4 || count > 5 || atoi(words[2]) <= 0 || atoi(words[2]) > 2048 || atoi(words[2]) % (2 * PROCESSES) != 0 || atoi(words[3]) <= 0) {
    fprintf(stderr, "usage: %s DIRECTORY BLOCKS MIB [KEPT] (a multiple of %d blocks, at most 2048)\n", words[0], 2 * PROCESSES);
    return 2;
  }
  directory = words[1];
  blocks = atoi(words[2]);
  bytes = (size_t)atoi(words[3]) << 20;
  kept = count > 4 ? (size_t)atoi(words[4]) << 20 : 0;
  double started = seconds();
  for (int process = 0; process < PROCESSES; process++)
    if (fork() == 0) _exit(work(process) > 0 ? 0 : 1);
  int failed = 0, status;
  while (wait(&status) > 0) failed |= status != 0;
  double took = seconds() - started;
  for (int b = 0; b < blocks; b++) {
    unlink(name_of('b', b));
    unlink(name_of('s', b));
  }
  if (failed) return 1;
  printf("%.2f s\n", took);
}

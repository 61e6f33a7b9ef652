// Every configuration key, with its kind, its default and what it does: the one table. The schema (schema.ts), the types
// (`config.get` is typed by it) and `plimsoll config list` are made from it; docs/config.md has a row per key, checked by
// a test in both directions. A key stands here only if this version acts on it.
//
// Defaults are written as a person would write them in a file; they pass through the same parsers.

import { MEMORY_MEASURES } from '../base/memory-measure.ts'
import type { KeyEntry, KindValue } from './kinds.ts'

export const CONFIG_KEYS = {
  // The memory ladder of a worker. Fractions of its memory limit.
  'worker.memory.transfer': {
    kind: 'fraction-or-false',
    default: 0.1,
    about: 'While values of this part of the limit are on their way in, no further fetch starts.',
  },
  'worker.memory.target': {
    kind: 'fraction-or-false',
    default: 0.6,
    about: 'Managed bytes above this part of the limit are moved to disk, least recently used first.',
  },
  'worker.memory.spill': {
    kind: 'fraction-or-false',
    default: 0.7,
    about: 'Process memory above this part of the limit moves values to disk until it is below `target`.',
  },
  'worker.memory.pause': {
    kind: 'fraction-or-false',
    default: 0.8,
    about: 'Process memory above this part of the limit stops the start of tasks and fetches.',
  },
  'worker.memory.kill-task': {
    kind: 'fraction-or-false',
    default: 0.9,
    about: 'Process memory above this part of the limit ends the task that exceeds what is reserved for it by most.',
  },
  'worker.memory.terminate': {
    kind: 'fraction-or-false',
    default: 0.95,
    about: 'Private memory of its processes above this part of the limit makes the nanny kill and restart the worker.',
  },
  'worker.memory.max-spill': {
    kind: 'bytes-or-false',
    default: false,
    about: 'Most bytes that one worker may keep on disk.',
  },
  'worker.memory.page-cache': {
    kind: 'bytes-or-false-or-auto',
    default: 'auto',
    about:
      'Most bytes of values on disk that the kernel’s cache keeps; auto: twice the limit where the host takes back free memory, else no bound.',
  },
  'worker.memory.monitor-interval': {
    kind: 'duration-from-10ms',
    default: '100ms',
    about: 'Longest time between two looks at process memory; it shortens by itself near the limit.',
  },
  'worker.memory.recent-to-old-time': {
    kind: 'duration',
    default: '30s',
    about: 'Unmanaged memory older than this is reported as `unmanaged`, younger as `unmanagedRecent`.',
  },
  'worker.memory.inline-limit': {
    kind: 'bytes',
    default: '64 KiB',
    about: 'Encoded values up to this size stay in the worker process instead of a file of the memory tier.',
  },
  'worker.memory.map-threshold': {
    kind: 'bytes',
    default: '2 MiB',
    about: 'Stored values from this size on are memory-mapped by executors instead of read into a fresh buffer.',
  },
  'worker.memory.minimum': {
    kind: 'bytes-or-null',
    default: null,
    about: 'Smallest memory limit a worker accepts; null means 96 MiB + 64 MiB for each thread.',
  },
  'worker.memory.rebalance.measure': {
    kind: 'enum',
    values: MEMORY_MEASURES,
    default: 'optimistic',
    about: 'What of a worker’s memory `rebalance` compares.',
  },
  'worker.memory.rebalance.sender-min': {
    kind: 'fraction',
    default: 0.3,
    about: 'A worker with less than this part of its limit gives nothing to others.',
  },
  'worker.memory.rebalance.recipient-max': {
    kind: 'fraction',
    default: 0.6,
    about: 'A worker with more than this part of its limit gets nothing from others.',
  },
  'worker.memory.rebalance.sender-recipient-gap': {
    kind: 'fraction',
    default: 0.1,
    about: 'Difference between two workers, as a part of the limit, below which nothing is moved.',
  },
  'worker.memory.executor-cap': {
    kind: 'boolean',
    default: true,
    about:
      'Let the operating system refuse a task more memory than the worker’s limit (RLIMIT_DATA, Linux with koffi).',
  },
  'worker.memory.executor-recycle': {
    kind: 'fraction-or-false',
    default: 0.5,
    about:
      'Above `spill`, an idle executor that holds more than this part of its share, also after a collection, is replaced.',
  },

  'worker.io-concurrency': {
    kind: 'count-from-1',
    default: 32,
    about: 'Most io tasks (`io: true`) that run at the same time in one of the executors for them.',
  },
  'worker.cancel-grace': {
    kind: 'duration',
    default: '5s',
    about: 'A cancelled task that is running has this long to notice its signal before its executor is killed.',
  },
  'worker.death-timeout': {
    kind: 'duration-or-null',
    default: null,
    about: 'A worker that reached no scheduler for this long gives up; null means never.',
  },
  'worker.lifetime.duration': {
    kind: 'duration-or-null',
    default: null,
    about: 'A worker process retires and closes when it has run for this long; null means never. Needs its nanny.',
  },
  'worker.lifetime.stagger': {
    kind: 'duration',
    default: '0s',
    about: 'The lifetime is longer or shorter by up to this, at random, so that workers do not all end at once.',
  },
  'worker.lifetime.restart': {
    kind: 'boolean',
    default: false,
    about: 'Start the worker again at the end of its lifetime.',
  },
  'worker.resources': {
    kind: 'amounts',
    default: {},
    about: 'Abstract counters that a worker offers and tasks may ask for, such as `{GPU: 1}`.',
  },
  'worker.executor-start-timeout': {
    kind: 'duration',
    default: '10s',
    about: 'An executor process that is not ready after this long is killed and started again.',
  },
  'worker.local-directory': {
    kind: 'string-or-null',
    default: null,
    alias: 'local-directory',
    about: 'Where workers make their scratch directories (disk tier); null means the system’s temporary directory.',
  },
  'worker.memory-directory': {
    kind: 'string-or-null',
    default: null,
    alias: 'memory-directory',
    about: 'RAM file system of the memory tier; null means /dev/shm where there is one.',
  },
  'worker.transfer.message-bytes-limit': {
    kind: 'bytes',
    default: '50 MB',
    about: 'Values asked of one peer at a time add up to at most this, or are a single one.',
  },
  'worker.transfer.same-host': {
    kind: 'enum',
    values: ['link', 'stream'],
    default: 'link',
    about:
      'How workers of one host hand values over: by hard link (falls back to `stream`), or through TCP like strangers.',
  },
  'worker.connections.outgoing': {
    kind: 'count-from-1',
    default: 50,
    about: 'Most peers that a worker fetches from at the same time.',
  },
  'worker.connections.incoming': {
    kind: 'count-from-1',
    default: 10,
    about: 'Most peers that a worker serves values to at the same time.',
  },

  'scheduler.worker-saturation': {
    kind: 'positive-number',
    default: 1.1,
    about: 'Root tasks sent to a worker at most: this many times its threads, rounded up; inf sends all at once.',
  },
  'scheduler.allowed-failures': {
    kind: 'count',
    default: 3,
    about: 'How many executors or workers may die under a task before it fails.',
  },
  'scheduler.allowed-oom-failures': {
    kind: 'count',
    default: 2,
    about:
      'How often a task that ran out of memory is tried again, each time with more of it, the last time alone on its worker.',
  },
  'scheduler.worker-grace': {
    kind: 'duration',
    default: '10s',
    about: 'How long the stored values of a dead worker process are waited for while its nanny restarts it.',
  },
  'scheduler.connection-grace': {
    kind: 'duration',
    default: '5s',
    about: 'A worker whose connections are all lost is dead after this long.',
  },
  'scheduler.client-grace': {
    kind: 'duration',
    default: '30s',
    about: 'The futures of a client that lost its connection are kept for this long: it may come back until then.',
  },
  'scheduler.worker-ttl': {
    kind: 'duration-or-null',
    default: '5 min',
    about:
      'A worker without a heartbeat for this long (and for ten heartbeats) is killed and started again by its nanny, or removed; null means never.',
  },
  'scheduler.idle-timeout': {
    kind: 'duration-or-null',
    default: null,
    about: 'The scheduler closes the cluster when nothing was asked of it for this long; null means never.',
  },
  'scheduler.no-workers-timeout': {
    kind: 'duration-or-null',
    default: null,
    about: 'Tasks that no connected worker may run fail with NO_WORKERS after this long; null means they wait.',
  },
  'scheduler.bandwidth': {
    kind: 'bytes',
    default: '100 MB',
    about: 'Bytes per second assumed between two workers until it was measured.',
  },
  'scheduler.work-stealing': {
    kind: 'boolean',
    default: true,
    about: 'Tasks that wait on a busy worker move to one that has nothing to do.',
  },
  'scheduler.work-stealing-interval': {
    kind: 'duration-from-10ms',
    default: '1s',
    about: 'How often the load of all workers is compared; an idle worker looks around on its own, much sooner.',
  },
  'scheduler.unknown-task-duration': {
    kind: 'duration',
    default: '500ms',
    about: 'Run time assumed for functions that never finished yet.',
  },
  'scheduler.default-task-durations': {
    kind: 'durations',
    default: {},
    about: 'Run times assumed by function name until they were measured, such as `{parse: 20ms}`.',
  },
  'scheduler.default-data-size': {
    kind: 'bytes',
    default: '1 KiB',
    about: 'Size assumed for results that are not known yet.',
  },
  'scheduler.active-memory-manager.start': {
    kind: 'boolean',
    default: true,
    about: 'The active memory manager runs from the start; `client.amm` starts and stops it.',
  },
  'scheduler.active-memory-manager.interval': {
    kind: 'duration-from-10ms',
    default: '2s',
    about: 'Time between two passes of the active memory manager.',
  },
  'scheduler.active-memory-manager.measure': {
    kind: 'enum',
    values: MEMORY_MEASURES,
    default: 'optimistic',
    about: 'What of a worker’s memory is compared when a worker is chosen for a copy, or for a copy less.',
  },
  'scheduler.active-memory-manager.policies': {
    kind: 'texts',
    default: ['ReduceReplicas'],
    about:
      'What the active memory manager does in a pass: `ReduceReplicas`, or `MODULE#EXPORT` for policies of your own, loaded by the scheduler at its start.',
  },
  'scheduler.story-length': {
    kind: 'count-from-1',
    default: 65_536,
    about: 'Transitions that the scheduler remembers for `story(key)`, over all tasks; about 80 bytes each.',
  },
  'scheduler.validate': {
    kind: 'boolean',
    default: false,
    about: 'Check every invariant of scheduler and workers after every step. Slow; for tests and bug reports.',
  },

  'adaptive.minimum': {
    kind: 'count',
    default: 0,
    about: 'Fewest workers of an adaptive cluster (`cluster.adapt`).',
  },
  'adaptive.maximum': {
    kind: 'positive-number',
    default: 'inf',
    about: 'Most workers of an adaptive cluster.',
  },
  'adaptive.interval': {
    kind: 'duration-from-10ms',
    default: '1s',
    about: 'How often an adaptive cluster looks whether it needs more or fewer workers.',
  },
  'adaptive.target-duration': {
    kind: 'duration',
    default: '5s',
    about: 'In what time an adaptive cluster should finish the work that is there.',
  },
  'adaptive.wait-count': {
    kind: 'count-from-1',
    default: 3,
    about: 'How many looks in a row a worker must have been of no use before it goes.',
  },

  'client.gather-limit': {
    kind: 'fraction-or-bytes',
    default: 0.25,
    about:
      'Largest sum of values one gather may fetch: bytes, or a part (up to 1.0) of the free memory of the client’s machine.',
  },
  'client.gc': {
    kind: 'enum',
    values: ['auto', 'off'],
    default: 'auto',
    about:
      'Whether a client collects garbage, in at most 5 % of its time, so that futures that the program dropped release their values.',
  },
  'client.heartbeat': {
    kind: 'duration-from-10ms',
    default: '5s',
    about: 'Time between two heartbeats of a client.',
  },
  'client.reconnect-timeout': {
    kind: 'duration-or-null',
    default: null,
    about:
      'A client that lost its scheduler tries for this long to come back; null means `scheduler.client-grace` as the scheduler has it, 0 not at all.',
  },

  'nanny.environ': {
    kind: 'environment',
    default: {},
    about: 'Environment variables of worker processes. A variable that is set already wins; null takes an entry out.',
  },
  'nanny.pre-spawn-environ': {
    kind: 'environment',
    default: {
      MALLOC_TRIM_THRESHOLD_: '65536',
      UV_THREADPOOL_SIZE: '16',
      OMP_NUM_THREADS: '1',
      MKL_NUM_THREADS: '1',
      OPENBLAS_NUM_THREADS: '1',
    },
    about: 'The same, for variables that are read when a process starts, before any of its code runs.',
  },
  'nanny.restart-limit': {
    kind: 'count',
    default: 10,
    about:
      'Deaths of a worker process within `nanny.restart-window` that are answered by a restart; one more and the nanny gives up. More than `scheduler.allowed-failures`, or one task that kills its workers takes them all with it.',
  },
  'nanny.restart-window': {
    kind: 'duration',
    default: '60s',
    about: 'See `nanny.restart-limit`.',
  },
  'nanny.start-timeout': {
    kind: 'duration',
    default: '60s',
    about:
      'A worker process that is not ready this long after its start, while the scheduler can be reached, is killed.',
  },

  'comm.timeouts.connect': {
    kind: 'duration',
    default: '30s',
    about: 'How long to try to reach an address.',
  },

  'logging.level': {
    kind: 'enum',
    values: ['trace', 'debug', 'info', 'warning', 'error', 'fatal'],
    default: 'warning',
    about: 'Least severe records that are logged.',
  },
  'logging.format': {
    kind: 'enum',
    values: ['auto', 'human', 'json'],
    default: 'auto',
    about: 'How records look on stderr: `auto` is `human` on a terminal, one JSON object per line otherwise.',
  },
  'logging.levels': {
    kind: 'levels',
    default: {},
    about: 'Levels of single parts, such as `{nanny: info, scheduler: debug}`.',
  },

  'admin.low-level-log-length': {
    kind: 'count-from-1',
    default: 1000,
    about: 'Transitions that each worker remembers for `story(key)`, over all its keys.',
  },
} as const satisfies Record<string, KeyEntry>

export type ConfigKey = keyof typeof CONFIG_KEYS

/** Type of each key's value as `config.get` returns it: sizes in bytes, durations in milliseconds. */
export type ConfigValues = {
  readonly [K in ConfigKey]: (typeof CONFIG_KEYS)[K] extends { kind: 'enum'; values: readonly (infer V)[] }
    ? V
    : KindValue<(typeof CONFIG_KEYS)[K]['kind']>
}

export const CONFIG_KEY_NAMES = Object.keys(CONFIG_KEYS) as readonly ConfigKey[]

/** The entry of a key, with the general type. */
export function entryOf(key: ConfigKey): KeyEntry {
  return CONFIG_KEYS[key]
}

// The registry of error codes. `reaction` says whose move it is: `user` (change something and try again), `retry` (the
// system or the caller may simply try again) or `fatal` (this process or cluster cannot go on). docs/errors.md has a
// heading per code; a test checks both directions.

export type Reaction = 'user' | 'retry' | 'fatal'

export interface ErrorCodeEntry {
  readonly reaction: Reaction
  readonly summary: string
}

export const ERROR_CODES = {
  TASK_OUT_OF_MEMORY: { reaction: 'user', summary: 'A task used more memory than it may and its executor was ended.' },
  TASK_CRASHED: {
    reaction: 'user',
    summary: 'The executor process of a task died while running it (signal, exit, unhandled rejection).',
  },
  TASK_TIMEOUT: { reaction: 'user', summary: 'A task ran longer than its `timeout`.' },
  TASK_CANCELLED: {
    reaction: 'user',
    summary: 'The future was cancelled, or its client or cluster was restarted or closed.',
  },
  WORKER_LOST: {
    reaction: 'retry',
    summary: 'The workers that ran the task died too often, or a task that may not run twice lost its worker.',
  },
  DATA_LOST: {
    reaction: 'user',
    summary:
      'A value without a recipe (scattered) has no copy left, or one was computed again and again and could never be read.',
  },
  STORE_FULL: {
    reaction: 'retry',
    summary: 'Neither the memory tier nor the disk tier of a worker could take a value.',
  },
  STORE_CLOSED: {
    reaction: 'retry',
    summary: 'The store of a worker was closed or emptied while something was to be stored in it.',
  },
  BLOB_CORRUPT: {
    reaction: 'retry',
    summary: 'A stored value failed its checks; it counts as lost and is never returned.',
  },
  NOT_SERIALIZABLE: { reaction: 'user', summary: 'A value cannot be sent: the message names the path inside it.' },
  CANNOT_CAPTURE: {
    reaction: 'user',
    summary: 'A function cannot be sent to a worker: the message names the variable.',
  },
  GATHER_TOO_LARGE: { reaction: 'user', summary: 'The values asked for are larger than `client.gather-limit`.' },
  INPUTS_EXCEED_LIMIT: {
    reaction: 'user',
    summary: 'The inputs of one task alone are larger than the memory limit of every worker.',
  },
  NO_WORKERS: { reaction: 'user', summary: 'No worker is connected, or none satisfies the task’s restrictions.' },
  KEY_CONFLICT: { reaction: 'user', summary: 'A key given by hand stands for another function or other arguments.' },
  DATASET_EXISTS: { reaction: 'user', summary: 'A dataset of this name is published already.' },
  DATASET_UNKNOWN: { reaction: 'user', summary: 'No dataset of this name is published.' },
  GRAPH_CYCLE: { reaction: 'user', summary: 'Tasks need one another in a circle: the message names their keys.' },
  CONFIG_INVALID: {
    reaction: 'user',
    summary: 'A configuration key or value is wrong: the message names its source and the nearest key.',
  },
  INVALID_ARGUMENT: { reaction: 'user', summary: 'A call was given something it cannot work with.' },
  AUTH_FAILED: {
    reaction: 'user',
    summary: 'The two sides of a connection do not hold the same token or certificate authority.',
  },
  VERSION_MISMATCH: { reaction: 'user', summary: 'The two sides of a connection speak different protocol versions.' },
  PROTOCOL_ERROR: {
    reaction: 'fatal',
    summary: 'A peer sent something that the protocol does not allow; the connection was closed.',
  },
  COMM_CLOSED: { reaction: 'retry', summary: 'A connection was closed while something waited on it.' },
  CONNECT_FAILED: { reaction: 'retry', summary: 'No connection to an address could be made within the timeout.' },
  TIMEOUT: { reaction: 'retry', summary: 'Something did not happen within the time given for it.' },
  CLIENT_CLOSED: { reaction: 'user', summary: 'The client was used after it had been closed.' },
  WORKER_START_FAILED: { reaction: 'fatal', summary: 'A worker process could not be started, or died too often.' },
  INTERNAL: { reaction: 'fatal', summary: 'A bug in Plimsoll: please report it with the message.' },
} as const satisfies Record<string, ErrorCodeEntry>

export type ErrorCode = keyof typeof ERROR_CODES

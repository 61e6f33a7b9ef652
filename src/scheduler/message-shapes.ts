// The shapes of everything that peers send to the scheduler.

import { MEMORY_MEASURES } from '../base/memory-measure.ts'
import type { NannyRequests, NannyToScheduler } from '../protocol/nanny.ts'
import { type ClientToScheduler, DATASET_BYTES_MAX, type SchedulerRequests } from '../protocol/scheduler-client.ts'
import type { SchedulerWorkerRequests, WorkerToScheduler } from '../protocol/scheduler-worker.ts'
import { ATTACHED_BYTES_MAX } from '../protocol/tasks.ts'
import {
  isBoolean,
  isBytes,
  isCount,
  isListOf,
  isMapOf,
  isNumber,
  isOneOf,
  isOptional,
  isOrNull,
  isPlain,
  isShape,
  isString,
  type Check,
  type Shapes,
} from './shapes.ts'

const isStrings = isListOf(isString)
const isCountFrom1: Check = (value) => isCount(value) && value !== 0
const isNumberOrInfinity: Check = (value) => isNumber(value) || value === Infinity
const isStatus = isOneOf('running', 'paused', 'retiring', 'closing')
const isAttached: Check = (value) => value instanceof Uint8Array && value.length <= ATTACHED_BYTES_MAX
const isKeyAndRun = isShape({ key: isString, runId: isCount })

const isOptions = isShape({
  retries: isOptional(isCount),
  priority: isOptional(isNumber),
  workers: isOptional(isStrings),
  allowOtherWorkers: isOptional(isBoolean),
  resources: isOptional(isMapOf(isNumber)),
  memory: isOptional(isNumber),
  timeoutMs: isOptional(isNumber),
  io: isOptional(isBoolean),
  idempotent: isOptional(isBoolean),
})

/** Written out: it is checked for every task. */
const isTaskRow: Check = (row) => {
  if (!Array.isArray(row)) return false
  const [key, args, dependencies] = row as readonly unknown[]
  return typeof key === 'string' && args instanceof Uint8Array && isStrings(dependencies)
}

export const CLIENT_SHAPES: Shapes<ClientToScheduler> = {
  'update-graph': {
    groups: isListOf(isShape({ fn: isString, name: isString, options: isOptions, tasks: isListOf(isTaskRow) })),
    functions: isListOf(isShape({ id: isString, bytes: isBytes })),
    wanted: isStrings,
  },
  'client-desires-keys': { keys: isStrings },
  'client-releases-keys': { keys: isStrings },
  'client-awaits-values': { keys: isStrings },
  'cancel-keys': { keys: isStrings, force: isBoolean, reason: isString, cancel: isCount },
  'update-data': {
    entries: isListOf(isShape({ key: isString, runId: isCount, nbytes: isCount, type: isString, workers: isStrings })),
  },
  'report-missing': { key: isString, runId: isCount, workers: isStrings },
  'fire-and-forget': { keys: isStrings },
  'report-keys': {},
  'close-client': {},
}

export const WORKER_SHAPES: Shapes<WorkerToScheduler> = {
  'task-finished': {
    key: isString,
    runId: isCount,
    nbytes: isCount,
    type: isString,
    durable: isBoolean,
    durationMs: isNumber,
    blob: isOptional(isAttached),
  },
  'task-erred': {
    key: isString,
    runId: isCount,
    kind: isOneOf('user', 'out-of-memory', 'crashed', 'timeout', 'store-full', 'system'),
    error: isBytes,
    durationMs: isNumber,
    peakBytes: isOptional(isCount),
  },
  reschedule: { key: isString, runId: isCount, reason: isString },
  'task-cancelled': { key: isString, runId: isCount },
  'add-keys': {
    keys: isListOf(isShape({ key: isString, runId: isCount, durable: isBoolean, kept: isOptional(isCount) })),
  },
  'keys-scattered': { keys: isListOf(isKeyAndRun) },
  'release-worker-data': {
    keys: isListOf(isShape({ key: isString, runId: isCount, unreadable: isOptional(isString) })),
  },
  'keys-durable': { keys: isListOf(isKeyAndRun) },
  'request-refresh-who-has': { keys: isStrings },
  'steal-response': { taken: isListOf(isKeyAndRun), kept: isListOf(isKeyAndRun) },
  'worker-status-change': { status: isStatus },
  'log-event': { topic: isString, fields: isPlain },
}

export const NANNY_SHAPES: Shapes<NannyToScheduler> = {
  'worker-exited': {
    workerId: isString,
    incarnation: isCount,
    code: isOrNull(isNumber),
    signal: isOrNull(isString),
    running: isListOf(isCount),
    restarting: isBoolean,
  },
  'worker-gone': { workerId: isString, reason: isString },
  'log-event': { workerId: isString, topic: isString, fields: isPlain },
}

type QuestionShapes<Requests> = { readonly [Op in keyof Requests]: Readonly<Record<string, Check>> }

const isMeasures = isShape({
  limit: isNumber,
  process: isNumber,
  managed: isNumber,
  unmanaged: isNumber,
  unmanagedRecent: isNumber,
  spilled: isNumber,
})

export const WORKER_QUESTIONS: QuestionShapes<SchedulerWorkerRequests> = {
  'register-worker': {
    workerId: isString,
    incarnation: isCount,
    name: isString,
    address: isString,
    pid: isCount,
    nannyPid: isOrNull(isCount),
    host: isString,
    nthreads: isCountFrom1,
    memoryLimit: isCount,
    resources: isMapOf(isNumber),
    dashboard: isOrNull(isString),
    localDirectory: isString,
    memoryDirectory: isString,
    nodeVersion: isString,
    status: isStatus,
    restarts: isCount,
    clusterId: isOrNull(isString),
    generation: isCount,
    inventory: isShape({
      keys: isListOf(
        isShape({
          key: isString,
          runId: isCount,
          nbytes: isCount,
          type: isString,
          durable: isBoolean,
          loose: isOptional(isBoolean),
        }),
      ),
      tasks: isListOf(isShape({ key: isString, runId: isCount, state: isString })),
      received: isOptional(isCount),
    }),
  },
  'heartbeat-worker': {
    memory: isMeasures,
    processPeak: isNumber,
    spilledTotal: isNumber,
    executors: isListOf(isPlain),
    executing: isListOf(isShape({ key: isString, runId: isCount, runningMs: isNumber })),
    bandwidth: isMapOf(isNumber),
  },
}

export const NANNY_QUESTIONS: QuestionShapes<NannyRequests> = {
  'register-nanny': { workerId: isString, pid: isCount, host: isString },
  'heartbeat-nanny': {},
  'retire-worker': {},
}

const TICKET = { ticket: isOptional(isCount), settled: isOptional(isCount) }

export const CLIENT_QUESTIONS: QuestionShapes<SchedulerRequests> = {
  'register-client': { clientId: isString, name: isString, pid: isCount, nodeVersion: isString, version: isString },
  'reattach-client': { clientId: isString, heard: isCount },
  heartbeat: { heard: isCount },
  identity: {},
  'who-has': { keys: isOptional(isStrings) },
  locate: { keys: isStrings },
  'has-what': { workers: isOptional(isStrings) },
  nbytes: { keys: isOptional(isStrings), by: isOneOf('key', 'prefix') },
  processing: { workers: isOptional(isStrings) },
  'task-counts': {},
  memory: {},
  story: { key: isString },
  retry: { keys: isStrings, ...TICKET },
  restart: { timeoutMs: isNumber, waitForWorkers: isBoolean, ...TICKET },
  'scatter-place': {
    entries: isListOf(isShape({ key: isString, nbytes: isCount, type: isString })),
    workers: isOptional(isStrings),
    broadcast: (value) => typeof value === 'boolean' || isCount(value),
    timeoutMs: isNumber,
    ...TICKET,
  },
  'publish-dataset': {
    name: isString,
    value: (value) => value instanceof Uint8Array && value.length <= DATASET_BYTES_MAX,
    keys: isStrings,
    override: isBoolean,
    ...TICKET,
  },
  'get-dataset': { name: isString },
  'unpublish-dataset': { name: isString, ...TICKET },
  'list-datasets': {},
  'retire-workers': {
    workers: isOptional(isStrings),
    n: isOptional(isCount),
    closeWorkers: isBoolean,
    ...TICKET,
  },
  'restart-workers': { workers: isStrings, timeoutMs: isNumber, ...TICKET },
  replicate: {
    keys: isStrings,
    n: isOptional(isCountFrom1),
    workers: isOptional(isStrings),
    branchingFactor: isCountFrom1,
    ...TICKET,
  },
  rebalance: {
    keys: isOptional(isStrings),
    workers: isOptional(isStrings),
    measure: isOptional(isOneOf(...MEMORY_MEASURES)),
    ...TICKET,
  },
  'memory-manager': { action: isOneOf('start', 'stop', 'run-once', 'ask'), ...TICKET },
  'adaptive-target': { targetDurationMs: isNumber, minimum: isNumber, maximum: isNumberOrInfinity },
  terminate: {},
}

// A scheduler core with everything around it replaced by arrays: a client that wants what it submits, and workers that finish
// whatever they are sent, at once and in the order of its arrival. Only the time inside `step` is counted: its share of the
// run's time, of the processor time that the run took. So a busy machine does not make the core look slow.

import { clientId, functionId, taskKey, type TaskKey, workerId, type WorkerId } from '../../src/base/ids.ts'
import type { RegisterWorker, SchedulerToWorker, WorkerToScheduler } from '../../src/protocol/scheduler-worker.ts'
import type { TaskRow } from '../../src/protocol/tasks.ts'
import type { Effect } from '../../src/scheduler/core/effects.ts'
import type { SchedulerEvent } from '../../src/scheduler/core/events.ts'
import type { CoreOptions, createState, SchedulerState } from '../../src/scheduler/core/state.ts'
import type { step } from '../../src/scheduler/core/step.ts'

export type Shape = 'map' | 'tree'

/** What is measured, as it was built. */
export interface CoreModules {
  readonly createState: typeof createState
  readonly options: CoreOptions
  readonly step: typeof step
}

type Untimed<E> = E extends unknown ? Omit<E, 'now' | 'at'> : never

const CLIENT = clientId('client')
const RESULT_BYTES = 28
const ARGS_BYTES = 24
/** Rows whose arguments are views of one buffer, as a decoded message has them. */
const CHUNK = 1000
const TASK_MS = 0.01
const TURN_MS = 0.1

export class CoreWorkload {
  readonly state: SchedulerState
  inMemory = 0
  #stepMs = 0
  readonly #core: CoreModules
  #now = 1000
  /** Workers with something to do, and what. */
  #inboxes = new Map<WorkerId, SchedulerToWorker[]>()
  #functions = 0

  constructor(core: CoreModules, workers: number) {
    this.#core = core
    this.state = core.createState('bench', { ...core.options, workerTtlMs: null })
    this.#step({ kind: 'Started' })
    this.#step({ kind: 'ClientRegistered', client: CLIENT, connection: 1, name: 'bench' })
    for (let n = 0; n < workers; n++) {
      this.#step({ kind: 'WorkerRegistered', request: n, connection: n + 2, registration: registration(n) })
    }
    this.#stepMs = 0
  }

  /** Submits `tasks` tasks in one message, and lets the workers run them to the last; returns the microseconds of `step`. */
  run(shape: Shape, tasks: number): number {
    const startedAt = performance.now()
    const cpuBefore = process.cpuUsage()
    this.#submit(shape === 'map' ? mapRows(tasks) : treeRows(tasks))
    while (this.#inboxes.size > 0) {
      const turn = this.#inboxes
      this.#inboxes = new Map()
      this.#now += TURN_MS
      for (const [worker, messages] of turn) this.#answer(worker, messages)
    }
    const { user, system } = process.cpuUsage(cpuBefore)
    return (user + system) * (this.#stepMs / (performance.now() - startedAt))
  }

  #submit(levels: readonly TaskRow[][]): void {
    const names = levels.map(() => functionId(`function-${this.#functions++}`))
    this.#step({
      kind: 'ClientMessages',
      client: CLIENT,
      connection: 1,
      messages: [
        {
          op: 'update-graph',
          groups: levels.map((tasks, n) => ({
            fn: names[n] ?? functionId(''),
            name: `level-${n}`,
            options: {},
            tasks,
          })),
          functions: names.map((id) => ({ id, bytes: new Uint8Array(100) })),
          wanted: levels.flatMap((tasks) => tasks.map(([key]) => key)),
        },
      ],
    })
  }

  #answer(worker: WorkerId, received: readonly SchedulerToWorker[]): void {
    const messages: WorkerToScheduler[] = []
    for (const message of received) {
      if (message.op !== 'compute-task') continue
      const { key, runId, inputs } = message
      const fetched = inputs.filter(({ holders }) => !holders.some(({ id }) => id === worker))
      if (fetched.length > 0) {
        messages.push({
          op: 'add-keys',
          keys: fetched.map((input) => ({ key: input.key, runId: input.runId, durable: false })),
        })
      }
      messages.push({
        op: 'task-finished',
        key,
        runId,
        nbytes: RESULT_BYTES,
        type: 'number',
        durable: false,
        durationMs: TASK_MS,
      })
    }
    const connection = this.state.workers.get(worker)?.connection
    if (messages.length > 0 && connection !== undefined) {
      this.#step({ kind: 'WorkerMessages', worker, connection, messages })
    }
  }

  #step(event: Untimed<SchedulerEvent>): void {
    const timed = { ...event, now: this.#now, at: 1e12 + this.#now } as SchedulerEvent
    const startedAt = performance.now()
    const effects = this.#core.step(this.state, timed)
    this.#stepMs += performance.now() - startedAt
    for (const effect of effects) this.#perform(effect)
  }

  /** Timers never fire: the cluster is healthy, and housekeeping is not counted per task. */
  #perform(effect: Effect): void {
    if (effect.kind === 'SendToWorker') {
      const inbox = this.#inboxes.get(effect.worker)
      if (inbox === undefined) this.#inboxes.set(effect.worker, [...effect.messages])
      else inbox.push(...effect.messages)
    } else if (effect.kind === 'SendToClient') {
      for (const message of effect.messages) if (message.op === 'key-in-memory') this.inMemory++
    }
  }
}

function registration(n: number): RegisterWorker {
  return {
    workerId: workerId(`worker-${n}`),
    incarnation: 1,
    name: String(n),
    address: `tcp://10.${n >> 16}.${(n >> 8) & 255}.${n & 255}:40000`,
    pid: n + 1,
    nannyPid: null,
    host: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`,
    nthreads: 1,
    memoryLimit: 0,
    resources: {},
    dashboard: null,
    localDirectory: '/local',
    memoryDirectory: '/memory',
    nodeVersion: process.version,
    status: 'running',
    restarts: 0,
    clusterId: null,
    generation: 0,
    inventory: { keys: [], tasks: [] },
  }
}

function mapRows(tasks: number): TaskRow[][] {
  const argsOf = argumentViews()
  return [Array.from({ length: tasks }, (_, n): TaskRow => [keyOf('map', n), argsOf(), []])]
}

/** Leaves, then level by level the sums of two neighbours; an odd one out is left as it is. */
function treeRows(tasks: number): TaskRow[][] {
  const argsOf = argumentViews()
  let made = 0
  const key = (): TaskKey => keyOf('tree', made++)
  let below = Array.from({ length: Math.ceil(tasks / 2) }, (): TaskRow => [key(), argsOf(), []])
  const levels = [below]
  while (below.length > 1) {
    const pairs = Math.floor(below.length / 2)
    const inputs = below
    below = Array.from({ length: pairs }, (_, n): TaskRow => {
      const [left, right] = [inputs[2 * n] as TaskRow, inputs[2 * n + 1] as TaskRow]
      return [key(), argsOf(), [left[0], right[0]]]
    })
    levels.push(below)
  }
  return levels
}

/** Keys are as long as a client's: a name and 32 hexadecimal digits. */
function keyOf(name: string, n: number): TaskKey {
  return taskKey(`${name}-${Buffer.from(`${name}${n}`.padStart(16, '.'), 'latin1').toString('hex')}`)
}

function argumentViews(): () => Uint8Array {
  let chunk = new Uint8Array(0)
  let offset = 0
  return () => {
    if (offset === chunk.length) {
      chunk = new Uint8Array(CHUNK * ARGS_BYTES)
      offset = 0
    }
    offset += ARGS_BYTES
    return chunk.subarray(offset - ARGS_BYTES, offset)
  }
}

// What one seed simulates: the shape of the cluster, and what its clients do when. Faults are planned in fault-plan.ts.

import { type TaskKey, taskKey } from '../base/ids.ts'
import type { Prng } from '../base/prng.ts'
import type { TaskOptionsWire } from '../protocol/tasks.ts'
import { reduceReplicas } from '../scheduler/core/reduce-replicas.ts'
import type { CoreOptions } from '../scheduler/core/state.ts'
import type { ClusterOptions } from './sim-cluster.ts'
import type { WorkerProfile } from './sim-worker.ts'
import { NO_TROUBLE, type SimTask, type Trouble } from './task-book.ts'

/** What a client does; keys name what it holds by then. */
export type ClientAct =
  | {
      readonly kind: 'submit'
      readonly tasks: readonly SimTask[]
      readonly wanted: readonly TaskKey[]
    }
  | { readonly kind: 'scatter'; readonly tasks: readonly SimTask[]; readonly broadcast: boolean | number }
  | { readonly kind: 'release' | 'retry' | 'fire-and-forget'; readonly keys: readonly TaskKey[] }
  | { readonly kind: 'vanish' }
  | { readonly kind: 'cancel'; readonly keys: readonly TaskKey[]; readonly force: boolean }

export interface PlannedAct {
  readonly atMs: number
  /** Number of the client. */
  readonly client: number
  readonly act: ClientAct
}

/** What of the scheduler's options plans decide. */
export type SchedulerPlan = Pick<
  CoreOptions,
  | 'connectionGraceMs'
  | 'workerGraceMs'
  | 'clientGraceMs'
  | 'allowedFailures'
  | 'saturation'
  | 'workerTtlMs'
  | 'memoryManager'
>

export interface ClusterPlan extends ClusterOptions {
  readonly scheduler: SchedulerPlan
}

export interface Scenario {
  readonly cluster: ClusterPlan
  readonly clients: number
  readonly acts: readonly PlannedAct[]
  /** When the last act is over and faults stop. */
  readonly endMs: number
}

const KB = 1024
const LENGTH_MS = 3000
const TASKS_MAX = 120
const VANISH_MS = 60
/** In so many scenarios tasks take that many times as long: then workers have more than they can start. */
const BUSY_ONE_IN = 4
const BUSY_FACTOR = 6

export function planScenario(prng: Prng): Scenario {
  const workers = 1 + prng.int(5)
  const limited = prng.int(2) === 0
  const resources = prng.int(3) === 0
  const clients = 1 + prng.int(3)
  // Segments keep up to a mebibyte of dead space, which is nothing beside the smallest real limit, and everything here.
  const slowness = prng.int(BUSY_ONE_IN) === 0 ? BUSY_FACTOR : 1
  const planner = new ActPlanner(prng, { workers, scatters: !limited, resources, slowness })
  const acts: PlannedAct[] = []
  const count = 4 + prng.int(16)
  for (let n = 0; n < count && planner.tasks < TASKS_MAX; n++) {
    const client = prng.int(clients)
    acts.push({ atMs: prng.next() * LENGTH_MS, client, act: { kind: 'release', keys: [] } })
  }
  acts.sort((a, b) => a.atMs - b.atMs)
  const planned = acts.flatMap(({ atMs, client }) => planner.next(client).map((act) => ({ atMs, client, act })))
  const disputes = prng.int(4) === 0 ? planner.disputes(clients) : []
  return {
    cluster: clusterOptions(prng, workers, limited, resources),
    clients: disputes.length > 0 ? clients + 1 : clients,
    acts: [...planned, ...disputes, ...vanishings(prng, planned)],
    endMs: LENGTH_MS,
  }
}

/** Some clients die while what they scatter is under way. */
function vanishings(prng: Prng, acts: readonly PlannedAct[]): PlannedAct[] {
  const scatters = acts.filter(({ act }) => act.kind === 'scatter' && prng.int(8) === 0)
  return scatters.map(({ atMs, client }) => ({ atMs: atMs + prng.next() * VANISH_MS, client, act: { kind: 'vanish' } }))
}

function clusterOptions(prng: Prng, workers: number, limited: boolean, resources: boolean): ClusterPlan {
  const profile: WorkerProfile = {
    nthreads: 1 + prng.int(3),
    memoryLimit: limited ? (24 + prng.int(80)) * KB : 0,
    inlineLimit: prng.pick([0.5, 1, 8, 64].map((kb) => kb * KB)) as number,
    maxSpill: prng.int(4) === 0 ? 512 * KB : Infinity,
    resources: {},
    monitorMs: 100,
    validate: true,
  }
  return {
    workers: Array.from({ length: workers }, (_, n) =>
      resources ? { ...profile, resources: { r: 2 - (n % 3) } } : profile,
    ),
    machines: 1 + prng.int(Math.min(3, workers)),
    network: {
      latencyMs: prng.pick([0.05, 0.5, 5]) as number,
      jitterMs: prng.pick([0.1, 5, 60]) as number,
      bytesPerMs: 10_000,
      encodes: true,
    },
    disk: {
      memoryBytes: limited ? 200 * KB : 4096 * KB,
      diskBytes: 8192 * KB,
      callMs: prng.pick([0.05, 0.5, 3]) as number,
      bytesPerMs: 20_000,
    },
    scheduler: {
      connectionGraceMs: 600,
      workerGraceMs: 1200,
      allowedFailures: prng.pick([0, 1, 3, 20]) as number,
      saturation: prng.pick([1.1, 1.1, 2, Infinity]) as number,
      workerTtlMs: prng.int(4) === 0 ? 3000 : 300_000,
      memoryManager: {
        start: prng.int(2) === 0,
        intervalMs: prng.pick([100, 500, 2000]) as number,
        measure: 'managedTotal',
        policies: [reduceReplicas],
      },
      // Some partitions last longer than the shorter one.
      clientGraceMs: prng.pick([2000, 2000, 600]) as number,
    },
    checkEvery: 1,
  }
}

class ActPlanner {
  readonly #prng: Prng
  readonly #workers: number
  readonly #scatters: boolean
  readonly #resources: boolean
  readonly #slowness: number
  /** Keys by client, and all of them with what they need. */
  readonly #held = new Map<number, TaskKey[]>()
  readonly #all: SimTask[] = []
  tasks = 0

  constructor(
    prng: Prng,
    {
      workers,
      scatters,
      resources,
      slowness,
    }: { workers: number; scatters: boolean; resources: boolean; slowness: number },
  ) {
    this.#prng = prng
    this.#slowness = slowness
    this.#scatters = scatters
    this.#workers = workers
    this.#resources = resources
  }

  /** One more client, which means other calls by keys that the others use, and builds on them in later graphs. */
  disputes(client: number): PlannedAct[] {
    const prng = this.#prng
    const acts: PlannedAct[] = []
    const claims = new Set<SimTask>()
    const count = 1 + prng.int(4)
    for (let n = 0; n < count; n++) {
      const claimed = prng.pick(this.#all.filter((task) => task.name !== 'scattered' && !claims.has(task)))
      if (claimed === undefined) return acts
      claims.add(claimed)
      const id = `${claimed.key}#${n}`
      const own: SimTask = {
        ...claimed,
        id,
        name: 'other',
        inputs: [],
        random: false,
        trouble: NO_TROUBLE,
        options: {},
      }
      const key = taskKey(`builds-${n}`)
      const onIt: SimTask = { ...own, id: key, key, inputs: [own.key], inputIds: [id], durationMs: 1 }
      const atMs = prng.next() * LENGTH_MS
      const submit = (task: SimTask): ClientAct => ({ kind: 'submit', tasks: [task], wanted: [task.key] })
      acts.push({ atMs, client, act: submit(own) })
      acts.push({ atMs: atMs + prng.int(3) * 40, client, act: submit(onIt) })
      if (prng.int(2) === 0)
        acts.push({ atMs: atMs + 100 + prng.int(2000), client, act: { kind: 'release', keys: [key, own.key] } })
    }
    return acts
  }

  next(client: number): ClientAct[] {
    const held = this.#held.get(client) ?? []
    this.#held.set(client, held)
    const dice = this.#prng.int(100)
    if (held.length === 0 || dice < 50) return [this.#submit(held)]
    if (dice < 60 && this.#scatters) return [this.#scatter(held)]
    if (dice < 75) return [{ kind: 'release', keys: this.#some(held) }]
    if (dice < 82) return [{ kind: 'cancel', keys: this.#some(held), force: this.#prng.int(2) === 0 }]
    if (dice < 87) return [{ kind: 'retry', keys: held }]
    if (dice < 90) return [{ kind: 'fire-and-forget', keys: this.#some(held) }]
    if (dice < 95) return [this.#submitAgain(held, this.#prng.pick(this.#all) as SimTask)]
    return this.#giveUpAndSubmit(held)
  }

  #some(keys: readonly TaskKey[]): TaskKey[] {
    return keys.filter(() => this.#prng.int(2) === 0)
  }

  /** A map, a chain, a tree, or anything, over new tasks and some that are there. */
  #submit(held: TaskKey[]): ClientAct {
    const prng = this.#prng
    const size = 1 + prng.int(prng.int(3) === 0 ? 30 : 8)
    const shape = prng.pick(['map', 'chain', 'tree', 'any']) as string
    const name = `f${prng.int(6)}`
    const options = this.#options()
    const tasks: SimTask[] = []
    const shared = this.#all.length > 0 && prng.int(2) === 0 ? prng.pick(this.#all) : undefined
    for (let n = 0; n < size; n++) {
      const inputs = this.#inputs(shape, tasks, n)
      if (shared !== undefined && held.includes(shared.key) && prng.int(3) === 0) inputs.push(shared.key)
      tasks.push(this.#task(name, [...new Set(inputs)], options))
    }
    const all = prng.int(2) === 0
    const wanted = tasks.filter((_, n) => all || n === size - 1 || prng.int(4) === 0).map((task) => task.key)
    held.push(...wanted)
    return { kind: 'submit', tasks, wanted }
  }

  #inputs(shape: string, tasks: readonly SimTask[], n: number): TaskKey[] {
    const keyAt = (index: number): TaskKey[] => {
      const task = tasks[index]
      return task === undefined ? [] : [task.key]
    }
    switch (shape) {
      case 'chain':
        return keyAt(n - 1)
      case 'tree':
        // The first half are leaves, then each joins two.
        return n < 4
          ? []
          : [...keyAt(2 * (n - 4)), ...keyAt(2 * (n - 4) + 1)].filter((key) => tasks.some((task) => task.key === key))
      case 'any':
        return Array.from({ length: this.#prng.int(4) }, () => this.#prng.pick(tasks)?.key).filter(
          (key) => key !== undefined,
        )
      default:
        return []
    }
  }

  #task(name: string, inputs: readonly TaskKey[], options: TaskOptionsWire): SimTask {
    const prng = this.#prng
    const task: SimTask = {
      key: taskKey(`${name}-${this.tasks++}`),
      name,
      inputs,
      bytes: this.#bytes(),
      durationMs: this.#slowness * (prng.pick([0.1, 1, 10, 10, 50, 300]) as number),
      random: name !== 'scattered' && prng.int(5) === 0,
      trouble: name === 'scattered' ? NO_TROUBLE : this.#trouble(options),
      options,
    }
    this.#all.push(task)
    return task
  }

  #bytes(): number {
    return (this.#prng.pick([0, 100, 100, 1000, 3000, 9000]) as number) + this.#prng.int(50)
  }

  #trouble(options: TaskOptionsWire): Trouble {
    const prng = this.#prng
    const dice = prng.int(60)
    if (dice === 0) return { kind: 'throws', times: Infinity }
    if (dice < 4 && options.retries !== undefined) return { kind: 'throws', times: options.retries }
    if (dice === 4) return { kind: 'crashes', times: 1 }
    if (dice === 5) return { kind: 'crashes', times: Infinity }
    if (dice === 6) return { kind: 'out-of-memory', times: 2 }
    if (dice === 7) return { kind: 'out-of-memory', times: Infinity }
    return NO_TROUBLE
  }

  #options(): TaskOptionsWire {
    const prng = this.#prng
    const dice = prng.int(20)
    if (dice < 2) return { retries: 1 + prng.int(2) }
    if (dice < 4) return { priority: prng.int(5) - 2 }
    if (dice === 4) return { workers: [`w${prng.int(this.#workers)}`], allowOtherWorkers: true }
    if (dice === 5) return { workers: [`w${prng.int(this.#workers)}`] }
    if (dice === 6) return { timeoutMs: prng.pick([20, 100, 400]) as number, retries: prng.int(2) }
    if (dice === 7) return { idempotent: false }
    if (dice === 8) return { io: true }
    if (dice < 12 && this.#resources) return { resources: { r: prng.pick([1, 1, 2, 0.5]) as number } }
    return {}
  }

  #scatter(held: TaskKey[]): ClientAct {
    const prng = this.#prng
    const tasks = Array.from({ length: 1 + prng.int(4) }, () => this.#task('scattered', [], {}))
    held.push(...tasks.map((task) => task.key))
    return { kind: 'scatter', tasks, broadcast: prng.pick([false, false, 2, true]) as boolean | number }
  }

  /** Some keys are cancelled or released and asked for again in the same moment, while what was said of them is under way. */
  #giveUpAndSubmit(held: TaskKey[]): ClientAct[] {
    const keys = this.#some(held.slice(-6))
    const tasks = keys.map((key) => this.#all.find((task) => task.key === key)).filter((task) => task !== undefined)
    const up: ClientAct =
      this.#prng.int(2) === 0 ? { kind: 'release', keys } : { kind: 'cancel', keys, force: this.#prng.int(2) === 0 }
    return [up, ...tasks.map((task) => this.#submitAgain(held, task))]
  }

  /** A key that this or another client submitted before, with all that it needs: pure tasks meet. */
  #submitAgain(held: TaskKey[], again: SimTask): ClientAct {
    const needed = new Map<TaskKey, SimTask>()
    const open = [again]
    for (let task = open.pop(); task !== undefined; task = open.pop()) {
      if (needed.has(task.key)) continue
      needed.set(task.key, task)
      for (const input of task.inputs) {
        const found = this.#all.find((each) => each.key === input)
        if (found !== undefined) open.push(found)
      }
    }
    held.push(again.key)
    if (again.name === 'scattered') return { kind: 'scatter', tasks: [again], broadcast: false }
    const tasks = [...needed.values()].reverse().filter((task) => task.name !== 'scattered')
    return { kind: 'submit', tasks, wanted: [again.key] }
  }
}

// Plans as text: JSON with a line per worker, act and fault. `Infinity` is the text "Infinity", a policy is its name.
// What is read is checked whole: a plan that lacks a field, or has one that nobody reads, is refused with its place.

import { MEMORY_MEASURES } from '../base/memory-measure.ts'
import { taskKey } from '../base/ids.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { TaskOptionsWire } from '../protocol/tasks.ts'
import type { Policy } from '../scheduler/core/memory-manager.ts'
import { reduceReplicas } from '../scheduler/core/reduce-replicas.ts'
import type { MemoryManagerOptions } from '../scheduler/core/state.ts'
import { FAULT_KINDS, type FaultKind, type PlannedFault } from './fault-plan.ts'
import type { SimulationPlan } from './plan.ts'
import type { ClientAct, ClusterPlan, PlannedAct, SchedulerPlan } from './scenario.ts'
import type { DiskOptions } from './sim-disk.ts'
import type { NetworkOptions } from './sim-network.ts'
import type { WorkerProfile } from './sim-worker.ts'
import type { SimTask, Trouble } from './task-book.ts'

const POLICIES: readonly Policy[] = [reduceReplicas]
/** Characters of a wrong value that an error shows. */
const BRIEF = 60

/** The plan as text; `parsePlan` reads it. */
export function formatPlan({ cluster, acts, faults, ...rest }: SimulationPlan): string {
  const { workers, ...others } = cluster
  const fields = [
    ...Object.entries(rest).map(([name, value]) => `"${name}": ${text(value)}`),
    `"cluster": {\n    "workers": ${rows(workers, '    ')},\n    ${Object.entries(others)
      .map(([name, value]) => `"${name}": ${text(value)}`)
      .join(',\n    ')}\n  }`,
    `"acts": ${rows(acts, '  ')}`,
    `"faults": ${rows(faults, '  ')}`,
  ]
  return `{\n  ${fields.join(',\n  ')}\n}\n`
}

function rows(values: readonly unknown[], indent: string): string {
  return values.length === 0 ? '[]' : `[\n${values.map((each) => `${indent}  ${text(each)}`).join(',\n')}\n${indent}]`
}

function text(value: unknown): string {
  return JSON.stringify(value, (key: string, each: unknown) => {
    if (each === Infinity) return 'Infinity'
    return key === 'policies' ? (each as readonly Policy[]).map(({ name }) => name) : each
  })
}

/**
 * The plan that `formatPlan` wrote.
 *
 * @param source what the error calls the text: a path, for instance
 * @throws PlimsollError INVALID_ARGUMENT when it is not a plan, with the place of what is wrong
 */
export function parsePlan(json: string, source = 'the plan'): SimulationPlan {
  try {
    return readPlan(JSON.parse(json), '')
  } catch (error) {
    const { message } = toError(error)
    throw new PlimsollError('INVALID_ARGUMENT', `${source} is no plan of a simulation: ${message}`, { source })
  }
}

/** What the value at this place is, or an error that names the place. */
type Reader<T> = (raw: unknown, at: string) => T
type OptionalKeys<T> = { [K in keyof T]-?: object extends Pick<T, K> ? K : never }[keyof T]
type Demanded<T> = { readonly [K in Exclude<keyof T, OptionalKeys<T>>]: Reader<T[K]> }
type Optional<T> = { readonly [K in OptionalKeys<T>]-?: Reader<Exclude<T[K], undefined>> }

function refuse(at: string, wanted: string, raw: unknown): never {
  const found = raw === undefined ? 'missing' : JSON.stringify(raw)
  const brief = found.length > BRIEF ? `${found.slice(0, BRIEF)}...` : found
  throw new Error(`${at || 'it'} has to be ${wanted}, and is ${brief}`)
}

function when<T>(isIt: (raw: unknown) => boolean, wanted: string): Reader<T> {
  return (raw, at) => (isIt(raw) ? (raw as T) : refuse(at, wanted, raw))
}

const isNumber = (raw: unknown): raw is number => typeof raw === 'number' && Number.isFinite(raw)
const amount = when<number>((raw) => isNumber(raw) && raw >= 0, 'a number from 0')
const number = when<number>(isNumber, 'a number')
const whole = when<number>(Number.isSafeInteger, 'a whole number')
const count = when<number>((raw) => Number.isSafeInteger(raw) && (raw as number) > 0, 'a whole number above 0')
const flag = when<boolean>((raw) => typeof raw === 'boolean', 'true or false')
const string = when<string>((raw) => typeof raw === 'string', 'a text')
const key: Reader<SimTask['key']> = (raw, at) => taskKey(string(raw, at))
const amountOrInfinity: Reader<number> = (raw, at) => (raw === 'Infinity' ? Infinity : amount(raw, at))

function oneOf<T extends string | boolean | number>(...values: readonly T[]): Reader<T> {
  return when((raw) => values.includes(raw as T), values.map((value) => JSON.stringify(value)).join(' or '))
}

function list<T>(reader: Reader<T>): Reader<T[]> {
  return (raw, at) =>
    Array.isArray(raw) ? raw.map((each, n) => reader(each, `${at}[${n}]`)) : refuse(at, 'a list', raw)
}

function mapping(raw: unknown, at: string): Readonly<Record<string, unknown>> {
  return typeof raw === 'object' && raw !== null && !Array.isArray(raw)
    ? (raw as Readonly<Record<string, unknown>>)
    : refuse(at, 'an object', raw)
}

function amounts(raw: unknown, at: string): Record<string, number> {
  return Object.fromEntries(
    Object.entries(mapping(raw, at)).map(([name, each]) => [name, amount(each, `${at}.${name}`)]),
  )
}

function shape<T>(required: Demanded<T>, optional: Optional<T>): Reader<T> {
  const readers = { ...required, ...optional } as Readonly<Record<string, Reader<unknown>>>
  return (raw, at) => {
    const fields = mapping(raw, at)
    const place = (name: string): string => (at === '' ? name : `${at}.${name}`)
    for (const name of Object.keys(fields))
      if (!Object.hasOwn(readers, name)) throw new Error(`${place(name)} is nothing that a plan has`)
    const read = Object.entries(readers).flatMap(([name, reader]) =>
      !Object.hasOwn(fields, name) && Object.hasOwn(optional, name) ? [] : [[name, reader(fields[name], place(name))]],
    )
    return Object.fromEntries(read) as T
  }
}

const readOptions = shape<TaskOptionsWire>(
  {},
  {
    retries: whole,
    priority: number,
    workers: list(string),
    allowOtherWorkers: flag,
    resources: amounts,
    memory: amount,
    timeoutMs: amount,
    io: flag,
    idempotent: flag,
  },
)

const readTask = shape<SimTask>(
  {
    key,
    name: string,
    inputs: list(key),
    bytes: whole,
    durationMs: amount,
    random: flag,
    trouble: shape<Trouble>({ kind: oneOf('none', 'throws', 'crashes', 'out-of-memory'), times: amountOrInfinity }, {}),
    options: readOptions,
  },
  { id: string, inputIds: list(string) },
)

type Act<Kind extends ClientAct['kind']> = ClientAct extends infer A
  ? A extends { readonly kind: infer K }
    ? Kind extends K
      ? Omit<A, 'kind'> & { readonly kind: Kind }
      : never
    : never
  : never

const keysOnly = <Kind extends 'release' | 'retry' | 'fire-and-forget'>(kind: Kind): Reader<ClientAct> =>
  shape<{ readonly kind: Kind; readonly keys: readonly SimTask['key'][] }>({ kind: oneOf(kind), keys: list(key) }, {})

const ACTS: { readonly [Kind in ClientAct['kind']]: Reader<ClientAct> } = {
  submit: shape<Act<'submit'>>({ kind: oneOf('submit'), tasks: list(readTask), wanted: list(key) }, {}),
  scatter: shape<Act<'scatter'>>(
    {
      kind: oneOf('scatter'),
      tasks: list(readTask),
      broadcast: (raw, at) => (typeof raw === 'number' ? count(raw, at) : flag(raw, at)),
    },
    {},
  ),
  release: keysOnly('release'),
  retry: keysOnly('retry'),
  'fire-and-forget': keysOnly('fire-and-forget'),
  vanish: shape<Act<'vanish'>>({ kind: oneOf('vanish') }, {}),
  cancel: shape<Act<'cancel'>>({ kind: oneOf('cancel'), keys: list(key), force: flag }, {}),
}

const readAct: Reader<ClientAct> = (raw, at) => {
  const kind = oneOf(...(Object.keys(ACTS) as ClientAct['kind'][]))(mapping(raw, at).kind, `${at}.kind`)
  return ACTS[kind](raw, at)
}

const readPolicy: Reader<Policy> = (raw, at) =>
  POLICIES.find(({ name }) => name === raw) ?? refuse(at, `one of ${POLICIES.map(({ name }) => name).join(', ')}`, raw)

const readScheduler = shape<SchedulerPlan>(
  {
    connectionGraceMs: amount,
    workerGraceMs: amount,
    clientGraceMs: amount,
    allowedFailures: whole,
    saturation: amountOrInfinity,
    workerTtlMs: (raw, at) => (raw === null ? null : amount(raw, at)),
    memoryManager: shape<MemoryManagerOptions>(
      { start: flag, intervalMs: amount, measure: oneOf(...MEMORY_MEASURES), policies: list(readPolicy) },
      {},
    ),
  },
  {},
)

const readProfile = shape<WorkerProfile>(
  {
    nthreads: count,
    memoryLimit: amount,
    inlineLimit: amount,
    maxSpill: amountOrInfinity,
    resources: amounts,
    monitorMs: amount,
    validate: flag,
  },
  {},
)

const readCluster = shape<ClusterPlan>(
  {
    workers: (raw, at) => {
      const workers = list(readProfile)(raw, at)
      return workers.length > 0 ? workers : refuse(at, 'a list of at least one worker', raw)
    },
    machines: count,
    network: shape<NetworkOptions>({ latencyMs: amount, jitterMs: amount, bytesPerMs: amount, encodes: flag }, {}),
    disk: shape<DiskOptions>(
      { memoryBytes: amountOrInfinity, diskBytes: amountOrInfinity, callMs: amount, bytesPerMs: amount },
      {},
    ),
    scheduler: readScheduler,
    checkEvery: whole,
  },
  { deathTimeoutMs: amount },
)

const readFault = shape<PlannedFault>(
  { atMs: amount, kind: oneOf<FaultKind>(...FAULT_KINDS, 'kill-scheduler'), target: whole, forMs: amount },
  {},
)

const readShape = shape<SimulationPlan>(
  {
    seed: whole,
    clients: count,
    endMs: amount,
    cluster: readCluster,
    acts: list(shape<PlannedAct>({ atMs: amount, client: whole, act: readAct }, {})),
    faults: list(readFault),
  },
  {},
)

const readPlan: Reader<SimulationPlan> = (raw, at) => {
  const plan = readShape(raw, at)
  for (const [n, { client }] of plan.acts.entries())
    if (client < 0 || client >= plan.clients)
      refuse(`acts[${n}].client`, `the number of one of ${plan.clients} clients, from 0`, client)
  return plan
}

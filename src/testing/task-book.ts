// The tasks of a simulation: what each does when it runs, and which value it has to have. Values are real encoded blobs
// whose content follows from key and inputs, so whoever reads one can tell whether it is right.

import { type FunctionId, functionId, type TaskKey } from '../base/ids.ts'
import type { RunRequest } from '../worker/executor/index.ts'
import type { TaskOptionsWire, TaskRow } from '../protocol/tasks.ts'

export interface SimTask {
  readonly key: TaskKey
  /** Names the call when it is not the one that its key stands for elsewhere; default: the key. */
  readonly id?: string
  /** The function's name; tasks of one name behave alike. */
  readonly name: string
  readonly inputs: readonly TaskKey[]
  /** The calls whose values the inputs have to be; default: their keys. */
  readonly inputIds?: readonly string[]
  /** Extra bytes of its value. */
  readonly bytes: number
  readonly durationMs: number
  /** Its value depends on the run that made it. */
  readonly random: boolean
  readonly trouble: Trouble
  readonly options: TaskOptionsWire
}

/** What goes wrong when it runs: that often, Infinity = always. */
export interface Trouble {
  readonly kind: 'none' | 'throws' | 'crashes' | 'out-of-memory'
  readonly times: number
}

/** What a value says about itself. */
export interface SimValue {
  readonly key: string
  /** The run that made it; 0: scattered. */
  readonly run: number
  readonly digest: number
  /** Digests of the inputs it was made from. */
  readonly inputs: Readonly<Record<string, number>>
  readonly padding: Uint8Array
}

export const NO_TROUBLE: Trouble = { kind: 'none', times: 0 }

export class TaskBook {
  readonly #tasks = new Map<string, SimTask>()
  /** How often the trouble of a key has struck. */
  readonly #struck = new Map<string, number>()
  /** Deaths of executors and workers while they ran this key. */
  readonly #deaths = new Map<string, number>()
  readonly #outOfMemory = new Map<string, number>()
  /** Digests that runs of random tasks gave. */
  readonly #made = new Map<string, Set<number>>()
  readonly #digests = new Map<string, number | null>()
  readonly #disputed = new Set<string>()
  readonly #ran = new Set<string>()
  /** Workers that tasks insist on. */
  readonly namesAsked = new Set<string>()
  /** Starts of tasks that must not run twice, by life of their keys. */
  #starts = new WeakMap<object, number>()

  add(task: SimTask): void {
    this.#tasks.set(task.id ?? task.key, task)
    const { workers = [], allowOtherWorkers = false } = task.options
    if (!allowOtherWorkers) for (const name of workers) this.namesAsked.add(name)
  }

  /** Two calls are going to claim this key. */
  dispute(key: TaskKey): void {
    this.#disputed.add(key)
  }

  isDisputed(key: string): boolean {
    return this.#disputed.has(key)
  }

  /** Told of each run whose function begins. */
  noteStarted: (run: RunRequest) => void = () => {}

  /** A run of this key has begun, in any life of it. */
  noteRan(key: string): void {
    this.#ran.add(key)
  }

  wasStarted(key: string): boolean {
    return this.#ran.has(key)
  }

  /** Counts a start in this life of a key; how many there were. */
  noteStart(life: object): number {
    const count = (this.#starts.get(life) ?? 0) + 1
    this.#starts.set(life, count)
    return count
  }

  /** Somebody asked for another attempt. */
  forgetStarts(): void {
    this.#starts = new WeakMap()
  }

  get(key: string): SimTask | undefined {
    return this.#tasks.get(key)
  }

  get size(): number {
    return this.#tasks.size
  }

  /** Counts one run; true when this one goes wrong. */
  strikes(task: SimTask): boolean {
    const before = this.#struck.get(task.key) ?? 0
    if (task.trouble.kind === 'none' || before >= task.trouble.times) return false
    this.#struck.set(task.key, before + 1)
    return true
  }

  noteDeath(key: string): void {
    this.#deaths.set(key, this.deathsOf(key) + 1)
  }

  noteOutOfMemory(key: string): void {
    this.#outOfMemory.set(key, this.outOfMemoryOf(key) + 1)
  }

  outOfMemoryOf(key: string): number {
    return this.#outOfMemory.get(key) ?? 0
  }

  deathsOf(key: string): number {
    return this.#deaths.get(key) ?? 0
  }

  /** The value of one run over these input values. */
  make(task: SimTask, run: number, inputs: readonly SimValue[]): SimValue {
    const digests = Object.fromEntries(inputs.map((input) => [input.key, input.digest]))
    const id = idOf(task)
    const digest = digestOf(id, task.random ? run : 0, digests)
    if (task.random) {
      const known = this.#made.get(id) ?? new Set()
      this.#made.set(id, known.add(digest))
    }
    return { key: task.key, run, digest, inputs: digests, padding: paddingOf(task.bytes, digest) }
  }

  /** The digest that the value of a call must have; null when it depends on runs. */
  expected(id: string): number | null {
    const known = this.#digests.get(id)
    if (known !== undefined) return known
    const task = this.#tasks.get(id)
    if (task === undefined) return null
    let digest: number | null = null
    if (!task.random) {
      const inputs = task.inputs.map((input, n) => [input, this.expected(inputId(task, n))] as const)
      if (inputs.every(([, value]) => value !== null))
        digest = digestOf(id, 0, Object.fromEntries(inputs) as Record<string, number>)
    }
    this.#digests.set(id, digest)
    return digest
  }

  /** What is wrong with the value of a call, or null. */
  findFault(id: string, value: unknown): string | null {
    const task = this.#tasks.get(id)
    if (task === undefined) return `nobody submitted ${id}`
    const { key } = task
    if (!isValue(value)) return `${key} has a value of another kind: ${JSON.stringify(value)}`
    if (value.key !== key) return `the value of ${key} is that of ${value.key}`
    if (value.digest !== digestOf(id, task.random ? value.run : 0, value.inputs))
      return `the value of ${id} does not follow from its inputs`
    if (value.padding.length !== task.bytes || !isPadding(value.padding, value.digest))
      return `the bytes of ${key} are damaged`
    const expected = this.expected(id)
    if (expected !== null && value.digest !== expected)
      return `${key} has digest ${value.digest} instead of ${expected}`
    if (task.random && this.#made.get(id)?.has(value.digest) !== true) return `no run made this value of ${key}`
    const inputs = Object.keys(value.inputs)
    if (inputs.length !== new Set(task.inputs).size || !task.inputs.every((input) => inputs.includes(input)))
      return `${key} was made from ${inputs.join(', ')} instead of ${task.inputs.join(', ')}`
    for (const [n, input] of task.inputs.entries()) {
      const call = inputId(task, n)
      const wanted = this.expected(call)
      const used = value.inputs[input] as number
      if (wanted !== null ? used !== wanted : this.#isMadeUp(call, used))
        return `${key} was made from a wrong value of ${input}`
    }
    return null
  }

  #isMadeUp(id: string, digest: number): boolean {
    return this.#tasks.get(id)?.random === true && this.#made.get(id)?.has(digest) !== true
  }

  /** How the task travels: its arguments name nothing but itself. */
  row(task: SimTask): TaskRow {
    return [task.key, Buffer.from(idOf(task)), task.inputs]
  }
}

export function idOf(task: SimTask): string {
  return task.id ?? task.key
}

function inputId(task: SimTask, n: number): string {
  return task.inputIds?.[n] ?? (task.inputs[n] as string)
}

export function functionOf(task: SimTask): FunctionId {
  return functionId(`fn-${task.name}`)
}

function digestOf(id: string, run: number, inputs: Readonly<Record<string, number>>): number {
  let hash = 0x811c9dc5 ^ run
  const mix = (text: string): void => {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  mix(id)
  for (const input of Object.keys(inputs).toSorted()) mix(`${input}=${inputs[input]}`)
  return hash >>> 0
}

function paddingOf(bytes: number, digest: number): Uint8Array {
  return new Uint8Array(bytes).fill(digest & 0xff)
}

function isPadding(bytes: Uint8Array, digest: number): boolean {
  const wanted = digest & 0xff
  return bytes.every((byte) => byte === wanted)
}

function isValue(value: unknown): value is SimValue {
  return typeof value === 'object' && value !== null && 'digest' in value && 'inputs' in value && 'padding' in value
}

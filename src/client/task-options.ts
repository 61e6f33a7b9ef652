import { parseBytes, parseDurationMs } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { TaskOptionsWire } from '../protocol/tasks.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import {
  flagOption,
  isName,
  recordOption,
  shown,
  signalOption,
  someTextsOption,
  textOption,
} from './checked-options.ts'

export type AnyFunction = (...args: never[]) => unknown

/** How a function wants to be run; given to `task(fn, options)`. */
export interface TaskOptions {
  /** The key itself for `submit`; for `map` a prefix of the keys, or one key per call. */
  readonly key?: string | readonly string[]
  /** Shown in place of the function's name, and prefix of its keys. */
  readonly name?: string
  /** `true` (default): the same function with the same arguments is one task. `false`: every call is a task of its own. */
  readonly pure?: boolean
  /** How often an error that the task throws is answered by another attempt (default 0). */
  readonly retries?: number
  /** Larger runs earlier (default 0). */
  readonly priority?: number
  /** Names, hosts or addresses of the workers that may run it. */
  readonly workers?: string | readonly string[]
  /** `workers` is a wish, not a condition. */
  readonly allowOtherWorkers?: boolean
  readonly resources?: Readonly<Record<string, number>>
  /** Bytes the task is expected to need at its peak, or a text such as `"2 GiB"`. */
  readonly memory?: number | string
  /** Longest run time in milliseconds, or a text such as `"30s"`. */
  readonly timeout?: number | string
  /** The task mostly awaits: it runs beside others and takes no core. */
  readonly io?: boolean
  /** `false`: never started twice; fails with `WORKER_LOST` when its worker dies meanwhile. */
  readonly idempotent?: boolean
  /** Aborting cancels the futures. */
  readonly signal?: AbortSignal
}

const NAMES = [
  'key',
  'name',
  'pure',
  'retries',
  'priority',
  'workers',
  'allowOtherWorkers',
  'resources',
  'memory',
  'timeout',
  'io',
  'idempotent',
  'signal',
] as const satisfies readonly (keyof TaskOptions)[]

/** A function with everything its options say. */
export interface TaskCall {
  readonly fn: AnyFunction
  readonly options: TaskOptions
  readonly wire: TaskOptionsWire
}

const carried = new WeakMap<AnyFunction, TaskCall>()

/** The same function, carrying options for `submit` and `map`. Called directly it just runs. Options of an earlier `task` stay unless given anew. */
export function task<F extends AnyFunction>(fn: F, options: TaskOptions): F {
  const inner = readTask(fn)
  refuseUnknown('A task', recordOption('task', options) ?? {}, NAMES)
  const merged = { ...inner.options, ...options }
  const carrier = function (this: unknown, ...args: never[]): unknown {
    return inner.fn.apply(this, args)
  }
  Object.defineProperty(carrier, 'name', { value: inner.fn.name, configurable: true })
  Object.defineProperty(carrier, 'length', { value: inner.fn.length, configurable: true })
  carried.set(carrier, { fn: inner.fn, options: merged, wire: toWire(merged) })
  return carrier as unknown as F
}

/** What to run and how, of a plain function or of one made by `task`. */
export function readTask(fn: unknown): TaskCall {
  if (typeof fn !== 'function') {
    const what = fn === null ? 'null' : typeof fn
    throw new PlimsollError('INVALID_ARGUMENT', `The first argument must be a function, not ${what}.`, { what })
  }
  const call = fn as AnyFunction
  return carried.get(call) ?? { fn: call, options: {}, wire: {} }
}

function toWire(options: TaskOptions): TaskOptionsWire {
  const {
    signal,
    key,
    name,
    pure,
    retries,
    priority,
    workers,
    allowOtherWorkers,
    resources,
    memory,
    timeout,
    io,
    idempotent,
  } = options
  if (allowOtherWorkers === true && workers === undefined)
    refuse('allowOtherWorkers', 'needs `workers`', allowOtherWorkers)
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0))
    refuse('retries', 'is a whole number from 0', retries)
  if (priority !== undefined && !Number.isFinite(priority)) refuse('priority', 'is a finite number', priority)
  signalOption('signal', signal, refuseTask)
  const restriction = someTextsOption('workers', workers, refuseTask)
  if (key !== undefined && !isKey(key))
    refuse('key', 'is a text or a list of texts of whole characters, none of them empty', shown(key))
  textOption('name', name, refuseTask)
  for (const [flag, value] of Object.entries({ pure, allowOtherWorkers, io, idempotent }))
    flagOption(flag, value, refuseTask)
  for (const [name, amount] of Object.entries(recordOption('resources', resources, refuseTask) ?? {})) {
    if (!isName(name)) refuse('resources', 'has a counter without a name', shown(name))
    if (!(Number.isFinite(amount) && amount >= 0)) refuse(`resources.${name}`, 'is a number from 0', amount)
  }
  return {
    ...(retries !== undefined && { retries }),
    ...(priority !== undefined && { priority }),
    ...(restriction !== undefined && { workers: restriction }),
    ...(allowOtherWorkers !== undefined && { allowOtherWorkers }),
    ...(resources !== undefined && { resources }),
    ...(memory !== undefined && { memory: parsed('memory', () => parseBytes(memory)) }),
    ...(timeout !== undefined && { timeoutMs: parsed('timeout', () => parseDurationMs(timeout)) }),
    ...(io !== undefined && { io }),
    ...(idempotent !== undefined && { idempotent }),
  }
}

function parsed(option: string, parse: () => number): number {
  try {
    return parse()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `The task option "${option}" is wrong: ${reason}.`,
      { option },
      { cause },
    )
  }
}

function isKey(key: unknown): boolean {
  return Array.isArray(key) ? key.every(isName) : isName(key)
}

function refuseTask(option: string, rule: string, value: unknown): never {
  return refuse(option, `is ${rule}`, shown(value))
}

function refuse(option: string, rule: string, value: unknown): never {
  throw new PlimsollError('INVALID_ARGUMENT', `The task option "${option}" ${rule}; it was ${String(value)}.`, {
    option,
  })
}

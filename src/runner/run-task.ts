// One attempt of a task, in steps that whoever runs it puts in order: `prepare` (inputs, arguments), the call itself, and
// `produce` (encode what came back). It knows nothing of pipes, processes or the order of tasks, so an executor process
// and the inline executor share it.

import type { RunId, TaskKey } from '../base/ids.ts'
import { PlimsollError, isErrorCode } from '../errors/plimsoll-error.ts'
import { isShortage } from '../errors/shortage.ts'
import type { TaskFailureKind } from '../protocol/tasks.ts'
import type { ExecutorInput } from '../protocol/worker-executor.ts'
import { decodeArgs } from '../values/args.ts'
import { type BlobMeta, smallBlobToBytes, type UnsealedBlob, unsealedBlob } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { encodeError } from '../values/error.ts'
import { BadInput, type InputReader } from './input-reader.ts'

export type TaskFunction = (...args: unknown[]) => unknown

export interface TaskAttempt {
  readonly runId: RunId
  readonly key: TaskKey
  readonly args: Uint8Array
  readonly inputs: readonly ExecutorInput[]
  readonly clusterId: string
  readonly generation: number
}

/** How an attempt ended, before anything of it was sent or written. */
export type Outcome =
  | { readonly kind: 'inline'; readonly type: string; readonly blob: Uint8Array }
  | { readonly kind: 'large'; readonly type: string; readonly nbytes: number; readonly blob: UnsealedBlob }
  | { readonly kind: 'erred'; readonly failure: TaskFailureKind; readonly error: Uint8Array }
  | { readonly kind: 'input-bad'; readonly key: TaskKey; readonly reason: string }
  /** Nothing can be read in this process any more; the task was not called. */
  | { readonly kind: 'unfit'; readonly error: Error }

export type Prepared = { readonly args: unknown[] } | { readonly outcome: Outcome }

/** Reads each input that the arguments name, once, and puts the arguments together. */
export function prepare(attempt: TaskAttempt, reader: InputReader, mapped: (key: TaskKey) => void): Prepared {
  const values = new Map<string, unknown>()
  const resolve = (key: string): unknown => {
    if (values.has(key)) return values.get(key)
    const input = attempt.inputs.find((candidate) => candidate.key === key)
    if (input === undefined)
      throw new PlimsollError('INTERNAL', `task ${attempt.key} was sent without its input ${key}`, { key })
    const value = reader.read(input, attempt.runId, mapped)
    values.set(key, value)
    return value
  }
  try {
    return { args: decodeArgs(attempt.args, resolve) }
  } catch (thrown) {
    if (thrown instanceof BadInput) return { outcome: { kind: 'input-bad', key: thrown.key, reason: thrown.message } }
    if (isShortage(thrown)) return { outcome: { kind: 'unfit', error: thrown } }
    const failure = isErrorCode(thrown, 'TASK_OUT_OF_MEMORY') ? 'out-of-memory' : 'system'
    return { outcome: erred(failure, thrown) }
  }
}

/** What a call threw, or its promise was rejected with. */
export function thrownBy(attempt: { readonly key: TaskKey }, thrown: unknown): Outcome {
  if (!isRefusedAllocation(thrown)) return erred('user', thrown)
  const message = `Task ${attempt.key} asked for memory that its executor may not have: ${(thrown as Error).message}. Use smaller partitions, or give the worker a higher memory limit.`
  return erred(
    'out-of-memory',
    new PlimsollError('TASK_OUT_OF_MEMORY', message, { key: attempt.key }, { cause: thrown }),
  )
}

/** V8 says it by text only. */
const REFUSALS: ReadonlySet<string> = new Set([
  'Array buffer allocation failed',
  'WebAssembly.Memory.grow(): Unable to grow instance memory',
  'WebAssembly.Memory(): could not allocate memory',
])
/** Of Node, and of the system where a process cannot be started. */
const REFUSAL_CODES: ReadonlySet<unknown> = new Set(['ERR_MEMORY_ALLOCATION_FAILED', 'ENOMEM'])

/** The system refused, as it does above the cap that the worker sets (RLIMIT_DATA). */
function isRefusedAllocation(thrown: unknown): boolean {
  try {
    if (!(thrown instanceof Error)) return false
    return REFUSALS.has(thrown.message) || REFUSAL_CODES.has((thrown as NodeJS.ErrnoException).code)
  } catch {
    // Properties that throw when they are read: nothing of V8's or Node's own.
    return false
  }
}

export function erred(failure: TaskFailureKind, thrown: unknown): Outcome {
  return { kind: 'erred', failure, error: encodeError(thrown) }
}

/** The blob of a task's value, whole when it is small, else in pieces that still refer to the value. */
export function produce(attempt: TaskAttempt, value: unknown, inlineLimit: number): Outcome {
  try {
    const encoded = encodeValue(value, { root: 'result' })
    const meta: BlobMeta = {
      clusterId: attempt.clusterId,
      generation: attempt.generation,
      key: attempt.key,
      runId: attempt.runId,
    }
    const blob = smallBlobToBytes(meta, encoded, inlineLimit)
    if (blob !== null) return { kind: 'inline', type: encoded.type, blob }
    const large = unsealedBlob(meta, encoded)
    return { kind: 'large', type: encoded.type, nbytes: large.totalBytes, blob: large }
  } catch (thrown) {
    return thrownBy(attempt, thrown)
  }
}

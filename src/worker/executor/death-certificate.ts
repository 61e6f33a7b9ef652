// What to say about a task whose executor died while it ran, and whether memory was the reason; and about one that was
// refused memory and lived. Which task that is, the status page says; what follows for its next attempt is decided by the
// scheduler.

import { formatBytes, formatDurationMs } from '../../base/units.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import type { TaskFailureKind } from '../../protocol/tasks.ts'
import { growthOf } from './executor-pool.ts'
import type { ExecutorEnd, ExecutorProcess } from './executor-process.ts'
import { type PoolRun, sourceBytes } from './pool-run.ts'

const STDERR_LINES = 20
const INPUTS_NAMED = 5
const LIMIT_SET_BY = '--memory-limit, memoryLimit'
/** V8's last words are followed by a native stack, which can be long. */
const STDERR_LINES_SEARCHED = 500
/** Within this part of the cap on its private memory, a death is put down to it. */
const NEAR_CAP = 0.9
const ABORTED_EXIT_CODE = 134

/** V8 and the C++ runtime say it on stderr and nowhere else. */
const HEAP_MESSAGE = /JavaScript heap out of memory|Fatal process out of memory|std::bad_alloc|Cannot allocate memory/

export interface Certificate {
  readonly kind: TaskFailureKind
  readonly error: PlimsollError
  /** Out of memory: what the task had taken, at least, bytes. */
  readonly peakBytes?: number
}

/** What else a certificate tells of its worker. */
export interface DeathScene {
  readonly memoryLimit: number
  /** What ran besides. */
  readonly neighbours: readonly Neighbour[]
}

export interface Neighbour {
  readonly key: string
  readonly function: string
  /** Private memory of its executor since that started, bytes. */
  readonly grownBytes: number
}

export function deathCertificate(
  run: PoolRun,
  executor: ExecutorProcess,
  end: ExecutorEnd,
  scene: DeathScene,
): Certificate {
  const stderrTail = executor.output.tail(STDERR_LINES)
  const { memoryLimit } = scene
  const { key, name, attempt } = run.request
  const fields = { ...factsOf(run, executor, scene), exitCode: end.code, signal: end.signal, stderrTail }
  const how = end.signal === null ? `exit code ${end.code}` : end.signal
  if (isOutOfMemory(executor, end)) {
    const message = `Task ${key} (${name}) used more memory than it may: its executor ended with ${how}. ${memoryFacts(run, executor, memoryLimit)} ${adviceOf(executor, run)}`
    const peakBytes = peakOf(run, executor, end)
    const error = new PlimsollError('TASK_OUT_OF_MEMORY', message, {
      ...fields,
      cap: capOf(executor),
      peakBytes,
    })
    return { kind: 'out-of-memory', error, peakBytes }
  }
  const lines = stderrTail === '' ? '' : ` Last lines of stderr:\n${stderrTail}`
  const message = `Task ${key} (${name}) ended its executor process: ${how} in attempt ${attempt}. The worker and its other tasks go on. A task must not end its process; look for process.exit, unhandled rejections and native crashes.${lines}`
  return { kind: 'crashed', error: new PlimsollError('TASK_CRASHED', message, fields) }
}

/** Its executor, which is alive, said that it was refused memory: what it could not know is added. */
export function refusalCertificate(
  run: PoolRun,
  executor: ExecutorProcess,
  { error: said, grownBytes }: { readonly error: Error; readonly grownBytes: number },
  scene: DeathScene,
): Certificate {
  const fields = said instanceof PlimsollError ? said.fields : {}
  const message = `${said.message} ${memoryFacts(run, executor, scene.memoryLimit)}`
  const error = new PlimsollError(
    'TASK_OUT_OF_MEMORY',
    message,
    {
      ...fields,
      ...factsOf(run, executor, scene),
      cap: executor.dataCapBytes > 0 ? 'executor-cap' : 'system',
      peakBytes: Math.max(grownBytes, seenPeak(run, executor)),
    },
    { cause: said.cause },
  )
  // No peak for the next attempt: what it had taken says little about what it was refused.
  return { kind: 'out-of-memory', error }
}

export function timeoutCertificate(run: PoolRun): Certificate {
  const { key, name, attempt, options } = run.request
  const limitMs = options.timeoutMs ?? 0
  const message = `Task ${key} (${name}) ran longer than its timeout of ${formatDurationMs(limitMs)} in attempt ${attempt}; its executor was ended. Give it more time (timeout:) or less work.`
  const fields = { key, function: name, attempt, limitMs, inputBytes: run.inputBytes }
  return { kind: 'timeout', error: new PlimsollError('TASK_TIMEOUT', message, fields) }
}

/** An io task that may not run twice was running when its executor died for another reason. */
export function lostCertificate(run: PoolRun): Certificate {
  const { key, name, attempt } = run.request
  const message = `Task ${key} (${name}) may not run twice (idempotent: false), and the process that ran it together with others died.`
  return { kind: 'crashed', error: new PlimsollError('WORKER_LOST', message, { key, function: name, attempt }) }
}

function isOutOfMemory(executor: ExecutorProcess, end: ExecutorEnd): boolean {
  if (executor.killCause?.kind === 'out-of-memory') return true
  const aborted =
    end.signal === 'SIGABRT' ||
    end.signal === 'SIGSEGV' ||
    end.signal === 'SIGTRAP' ||
    end.signal === 'SIGILL' ||
    end.code === ABORTED_EXIT_CODE
  if (!aborted) return false
  const vmData = executor.lastSample?.vmDataBytes ?? 0
  return (
    HEAP_MESSAGE.test(executor.output.tail(STDERR_LINES_SEARCHED)) ||
    (executor.dataCapBytes > 0 && vmData > NEAR_CAP * executor.dataCapBytes)
  )
}

/** The task, where it ran, and what was there for it. */
function factsOf(run: PoolRun, executor: ExecutorProcess, { memoryLimit, neighbours }: DeathScene) {
  const { key, name, attempt, memory } = run.request
  return {
    key,
    function: name,
    attempt,
    inputBytes: run.inputBytes,
    inputs: largestInputs(run),
    limit: memoryLimit,
    limitSetBy: LIMIT_SET_BY,
    heapLimit: executor.heapBytes,
    reservedBytes: memory.reservedBytes,
    executorPid: executor.pid,
    memoryCurve: [...executor.curve],
    neighbours,
  }
}

function seenPeak(run: PoolRun, executor: ExecutorProcess): number {
  const last = executor.lastSample
  return Math.max(run.peakBytes, last === null ? 0 : growthOf(last))
}

/** What it was seen to have taken, and what the cap that ended it allowed. */
function peakOf(run: PoolRun, executor: ExecutorProcess, end: ExecutorEnd): number {
  const seen = seenPeak(run, executor)
  return end.signal === 'SIGKILL' ? seen : Math.max(seen, executor.heapBytes)
}

/** The bound that ended it. */
function capOf(executor: ExecutorProcess): 'kill-task' | 'heap' | 'executor-cap' {
  if (executor.killCause?.kind === 'out-of-memory') return 'kill-task'
  const vmData = executor.lastSample?.vmDataBytes ?? 0
  return executor.dataCapBytes > 0 && vmData > NEAR_CAP * executor.dataCapBytes ? 'executor-cap' : 'heap'
}

function largestInputs(run: PoolRun): { key: string; nbytes: number }[] {
  const inputs = run.request.inputs.map(({ key, source }) => ({ key: key as string, nbytes: sourceBytes(source) }))
  return inputs.sort((a, b) => b.nbytes - a.nbytes).slice(0, INPUTS_NAMED)
}

function memoryFacts(run: PoolRun, executor: ExecutorProcess, memoryLimit: number): string {
  const facts = [
    memoryLimit > 0 ? `limit of the worker ${formatBytes(memoryLimit)} (${LIMIT_SET_BY})` : 'the worker has no limit',
    executor.heapBytes > 0 ? `heap of one executor ${formatBytes(executor.heapBytes)}` : 'default heap',
    `inputs ${formatBytes(run.inputBytes)}`,
    `attempt ${run.request.attempt}`,
  ]
  const peak = Math.max(0, ...[...executor.curve].map((sample) => sample.bytes))
  if (peak > 0) facts.push(`highest seen ${formatBytes(peak)}`)
  return `(${facts.join(', ')})`
}

function adviceOf(executor: ExecutorProcess, run: PoolRun): string {
  const cause = executor.killCause
  if (cause?.kind === 'out-of-memory' && cause.advice !== '') return cause.advice
  const memory = executor.heapBytes > 0 ? formatBytes(Math.max(2 * executor.heapBytes, 2 * run.inputBytes)) : '4 GiB'
  return `Use smaller partitions, fewer threads per worker, or tell what it needs: task(fn, { memory: '${memory}' }).`
}

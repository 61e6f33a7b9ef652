// How an executor process is started: flags, environment, pipes. Nothing of a debugger or a heap setting that this process
// was started with may reach it.
//
// The first ones are started ahead, before this process has loaded its own code, and are taken when they are asked for. Until
// then nobody listens to them: one that ended meanwhile is not taken, and all of them end when this process does, since
// that is the end of their descriptor 3 (executor/main.ts).

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Marks, withMark } from './launch-mark.ts'

const MIB = 2 ** 20
const MIN_HEAP_BYTES = 64 * MIB
const GIB = 2 ** 30
/** Idle executors would keep the garbage of a large young generation. */
const SMALL_SEMI_SPACE_MIB = 4
const LARGE_SEMI_SPACE_MIB = 16
/**
 * Threads that the engine collects garbage and compiles with beside the main one; Node has four. They would take the processors
 * of other executors, just when a large result was made here or a large input mapped, and the same work is done no sooner. With
 * none, garbage of a task that does not return to its event loop stays longer: 30 to 60 MiB more in a worker that spills.
 */
const ENGINE_THREADS = 1
/**
 * Every large array or map may make the engine mark its heap, which is small. A thread beside the task is done so soon that the
 * next array makes it begin again; in steps on the main thread fewer collections are begun, and no more memory is in use meanwhile.
 */
const MARKING = '--no-concurrent-marking'

/** Variables that configure Node or a tool around it, not the user's code. The thread pool size is the worker's own. */
const REMOVED = [
  'NODE_OPTIONS',
  'NODE_V8_COVERAGE',
  'NODE_INSPECT_RESUME_ON_START',
  'VSCODE_INSPECTOR_OPTIONS',
  'NODE_CHANNEL_FD',
  'UV_THREADPOOL_SIZE',
]

/**
 * The C library asks for pages of 2 MiB for large allocations: an array of 64 MiB has its memory in a third of the time, and
 * gives it back at once. Tasks make large arrays and drop them again and again.
 */
const LARGE_PAGES = 'glibc.malloc.hugetlb'

const MAIN = fileURLToPath(new URL('../../executor/main.js', import.meta.url))

export interface LaunchOptions {
  /** Cap of the V8 heap; 0 = V8's own default. */
  readonly heapBytes: number
  readonly env: Readonly<Record<string, string>>
}

/** An executor's share of its worker's limit, bytes; 0 = no limit. */
export function executorShare(memoryLimit: number, nthreads: number): number {
  return memoryLimit === 0 ? 0 : Math.max(MIN_HEAP_BYTES, Math.floor(memoryLimit / nthreads))
}

export interface Launched {
  readonly child: ChildProcess
  /** Everything that it starts carries it, too. */
  readonly mark: string
}

const marks = new Marks()
/** What the marks of all executors of this process have in common. */
export const EXECUTORS_MARK = marks.common

const ahead: (Launched & { readonly heapBytes: number })[] = []

/** Starts the executors that a worker will ask for first. */
export function launchAhead(memoryLimit: number, nthreads: number): void {
  const heapBytes = executorShare(memoryLimit, nthreads)
  for (let n = 0; n < nthreads; n++) {
    try {
      const launched = start({ heapBytes, env: {} })
      launched.child.on('error', () => {})
      ahead.push({ heapBytes, ...launched })
    } catch {
      // Whoever asks for it will be told why it cannot be started.
      return
    }
  }
}

/** Starts the process as the leader of its own group, with pipes 3 (to it) and 4 (from it); or takes one started ahead. */
export function launchExecutor(options: LaunchOptions): Launched {
  while (ahead.length > 0 && Object.keys(options.env).length === 0) {
    const { heapBytes, child, mark } = ahead[0] as (typeof ahead)[number]
    if (heapBytes !== options.heapBytes) break
    ahead.shift()
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) return { child, mark }
  }
  return start(options)
}

function start(options: LaunchOptions): Launched {
  const mark = marks.next()
  const child = spawn(process.execPath, [...executorFlags(options.heapBytes), MAIN], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    detached: true,
    env: withMark(executorEnvironment(process.env, options.env), mark),
  })
  return { child, mark }
}

export function executorFlags(heapBytes: number): string[] {
  const semiSpaceMib = heapBytes >= GIB ? LARGE_SEMI_SPACE_MIB : SMALL_SEMI_SPACE_MIB
  const flags = [`--v8-pool-size=${ENGINE_THREADS}`, MARKING, `--max-semi-space-size=${semiSpaceMib}`]
  if (heapBytes > 0) flags.push(`--max-old-space-size=${Math.floor(heapBytes / MIB)}`)
  return flags
}

export function executorEnvironment(
  inherited: NodeJS.ProcessEnv,
  added: Readonly<Record<string, string>>,
): NodeJS.ProcessEnv {
  const environment = { ...inherited }
  for (const name of REMOVED) delete environment[name]
  const merged = { ...environment, ...added }
  return { ...merged, GLIBC_TUNABLES: withLargePages(merged['GLIBC_TUNABLES']) }
}

/** Other libraries do not know the variable. Who sets the same tunable, to whatever, has it his way. */
function withLargePages(tunables = ''): string {
  if (tunables.includes(LARGE_PAGES)) return tunables
  return [...(tunables === '' ? [] : [tunables]), `${LARGE_PAGES}=1`].join(':')
}

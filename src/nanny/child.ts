// One worker process: starts it, talks to it over Node's IPC channel, forwards what it writes to stderr and keeps the end
// of that for the reason of its death. Decides nothing.
//
// Processes may be started ahead, before there is a nanny for them; they wait for the first message like any other.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { withCertificatesAside } from '../base/extra-certificates.ts'
import type { NannyToWorker, WorkerStartOptions, WorkerToNanny } from '../protocol/nanny.ts'

export interface ChildEvents {
  onMessage(message: WorkerToNanny): void
  /** Once, when the process is dead and everything it sent was delivered. */
  onExit(exit: WorkerExit): void
}

export interface WorkerExit {
  readonly code: number | null
  readonly signal: string | null
  /** The last lines that it wrote. */
  readonly stderrTail: string
}

/** Built beside this file; child processes never run sources. */
export const WORKER_MAIN = fileURLToPath(new URL('../worker/main.js', import.meta.url))
const TAIL_BYTES = 4096
/** Messages sent before the exit arrive through a pipe that is read on; normally a millisecond later. */
const DRAIN_MS = 1_000

/** Part of the memory limit that one semi-space may take; the young generation has up to three of them. */
const SEMI_SPACE_FRACTION = 1 / 64
/** V8's own. */
const SEMI_SPACE_MIB_MAX = 16

export interface WorkerCommand {
  /** For the engine. */
  readonly flags: readonly string[]
  readonly script: string
  readonly arguments: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** What starts a worker process; its arguments let it start executors before it is told the rest. */
export function workerCommand(
  options: Pick<WorkerStartOptions, 'executor' | 'nthreads' | 'memoryLimit' | 'data'>,
  env: Readonly<Record<string, string>>,
  script = WORKER_MAIN,
): WorkerCommand {
  const { executor, nthreads, memoryLimit, data = null } = options
  if (executor === 'inline') return { flags: [], script, arguments: [], env }
  // A container for values is the user's code.
  const own = data === null ? withCertificatesAside(env) : env
  return { flags: workerFlags(memoryLimit), script, arguments: [String(nthreads), String(memoryLimit)], env: own }
}

/** A large young generation is of no use to a worker with a small limit, and never gets smaller again while it works. */
function workerFlags(memoryLimit: number): string[] {
  const semiSpaceMib = 2 ** Math.floor(Math.log2((memoryLimit * SEMI_SPACE_FRACTION) / 2 ** 20))
  if (memoryLimit === 0 || semiSpaceMib >= SEMI_SPACE_MIB_MAX) return []
  return [`--max-semi-space-size=${Math.max(1, semiSpaceMib)}`]
}

/** One that is asked for twice, by processes that have their environment in different orders, is the same. */
function described({ env, ...command }: WorkerCommand): string {
  return JSON.stringify([command, Object.entries(env).toSorted(([a], [b]) => (a < b ? -1 : 1))])
}

const ahead: { readonly command: string; readonly child: ChildProcess }[] = []

/** Starts processes that the next `WorkerChild`ren of the same command take. */
export function spawnAhead(command: WorkerCommand, count: number): void {
  for (let n = 0; n < count; n++) {
    const child = start(command)
    child.on('error', () => {})
    ahead.push({ command: described(command), child })
  }
}

/** Ends those that nobody took. */
export function endAhead(): void {
  for (const { child } of ahead.splice(0)) child.kill('SIGKILL')
}

function start({ flags, script, arguments: more, env }: WorkerCommand): ChildProcess {
  return spawn(process.execPath, [...flags, script, ...more], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
}

/** One that died meanwhile is left out. */
function take(command: WorkerCommand): ChildProcess | null {
  for (let text = ''; ahead.length > 0;) {
    text ||= described(command)
    const at = ahead.findIndex((each) => each.command === text)
    const child = at < 0 ? undefined : ahead.splice(at, 1)[0]?.child
    if (child === undefined) return null
    if (child.pid !== undefined && child.connected) return child
    child.kill('SIGKILL')
  }
  return null
}

export class WorkerChild {
  readonly #process: ChildProcess
  readonly #events: ChildEvents
  #tail = ''
  #exit: { readonly code: number | null; readonly signal: string | null } | null = null
  #reported = false

  constructor(command: WorkerCommand, events: ChildEvents) {
    this.#events = events
    this.#process = take(command) ?? start(command)
    this.#process.stdout?.on('data', (chunk: Buffer) => this.#forward(chunk))
    this.#process.stderr?.on('data', (chunk: Buffer) => this.#forward(chunk))
    this.#process.on('message', (message) => events.onMessage(message as WorkerToNanny))
    this.#process.on('error', (error) => this.#onError(error))
    this.#process.on('exit', (code, signal) => this.#onExit(code, signal))
    this.#process.on('disconnect', () => this.#reportWhenDrained())
  }

  /** Null when it could not be spawned. */
  get pid(): number | null {
    return this.#process.pid ?? null
  }

  get alive(): boolean {
    return this.#exit === null
  }

  /** Dropped when the process no longer listens: its exit follows. */
  send(message: NannyToWorker): void {
    if (this.#process.connected) this.#process.send(message, () => {})
  }

  signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.alive) this.#process.kill(signal)
  }

  #forward(chunk: Buffer): void {
    process.stderr.write(chunk)
    this.#tail = (this.#tail + chunk.toString('utf8')).slice(-TAIL_BYTES)
  }

  #onError(error: Error): void {
    this.#tail += `${error.message}\n`
    // Without a pid the process never was, and no exit event follows.
    if (this.#process.pid === undefined) this.#onExit(null, null)
  }

  #onExit(code: number | null, signal: string | null): void {
    this.#exit ??= { code, signal }
    if (!this.#process.connected) return this.#reportWhenDrained()
    setTimeout(() => this.#report(), DRAIN_MS)
  }

  #reportWhenDrained(): void {
    // One more turn: the last bytes of stderr are read in the one that noticed the end of the channel.
    if (this.#exit !== null) setImmediate(() => this.#report())
  }

  #report(): void {
    if (this.#reported || this.#exit === null) return
    this.#reported = true
    this.#events.onExit({ ...this.#exit, stderrTail: lastLines(this.#tail) })
  }
}

const TAIL_LINES = 12

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-TAIL_LINES).join('\n')
}

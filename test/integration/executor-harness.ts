// A pool of real executor processes with a bare-handed worker around it: results into variables, places and inputs as
// plain files in a scratch directory. Runs on dist, since executors are processes.

import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writevSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runInThisContext } from 'node:vm'
import type { RunId, TaskKey } from '../../dist/base/ids.js'
import type { PlimsollError } from '../../dist/errors/plimsoll-error.js'
import { capture } from '../../dist/functions/capture.js'
import type { TaskFailureKind, TaskOptionsWire } from '../../dist/protocol/tasks.js'
import { TaskRef, encodeArgs } from '../../dist/values/args.js'
import { layoutBlob } from '../../dist/values/blob.js'
import { decodeBlob } from '../../dist/values/decode.js'
import { encodeValue } from '../../dist/values/encode.js'
import { decodeError } from '../../dist/values/error.js'
import {
  type ExecutorInput,
  type ExecutorPool,
  type ExecutorPoolEvents,
  type ExecutorPoolOptions,
  type PlaceAnswer,
  type PlaceRequest,
  type ResultPlace,
  createInlinePool,
  createProcessPool,
} from '../../dist/worker/executor/index.js'

export type Ending =
  | {
      readonly kind: 'finished'
      readonly value: unknown
      readonly via: 'inline' | 'place'
      readonly stillMapped: readonly string[]
    }
  | { readonly kind: 'erred'; readonly failure: TaskFailureKind; readonly error: PlimsollError }
  | { readonly kind: 'returned'; readonly reason: string }
  | { readonly kind: 'input-bad'; readonly key: string; readonly reason: string }
  | { readonly kind: 'cancelled' }

export interface Submission {
  readonly options?: TaskOptionsWire
  readonly inputs?: readonly ExecutorInput[]
  readonly key?: string
}

export interface LogLine {
  readonly key: string | null
  readonly stream: 'stdout' | 'stderr'
  readonly text: string
}

type AnyFunction = (...args: never[]) => unknown

/** Sources of functions that run in executors may not be touched by a test transformer: they are given as text. */
export function fromSource(source: string): AnyFunction {
  return runInThisContext(`(${source})`) as AnyFunction
}

export class Harness {
  readonly pool: ExecutorPool
  readonly directory: string
  readonly log: LogLine[] = []
  readonly unmapped: string[] = []
  /** Inputs that were said to stay mapped after their run. */
  announced = 0
  readonly unused: ResultPlace[] = []
  readonly troubles: { readonly reason: string; readonly failures: number }[] = []
  /** Answers place requests; replaced by tests. */
  onPlace: (request: PlaceRequest) => PlaceAnswer | null = (request) => ({ place: this.newPlace(request.nbytes) })
  placeDelayMs = 0
  pids: readonly number[] = []
  #nextRun = 0
  #nextPlace = 0
  readonly #waiting = new Map<number, (ending: Ending) => void>()
  readonly #watchers: (() => boolean)[] = []

  constructor(options: Partial<ExecutorPoolOptions> & { readonly inline?: boolean } = {}) {
    this.directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'plimsoll-test-'))
    const { inline = false, ...given } = options
    const complete: ExecutorPoolOptions = {
      nthreads: 1,
      memoryLimit: 0,
      inlineLimit: 64 * 1024,
      mapThreshold: 2 * 2 ** 20,
      statusPagePath: join(this.directory, 'status'),
      cancelGraceMs: 300,
      ioConcurrency: 32,
      startTimeoutMs: 15_000,
      env: {},
      workerAddress: 'tcp://127.0.0.1:1',
      ...given,
    }
    this.pool = (inline ? createInlinePool : createProcessPool)(complete, this.#events())
  }

  static async start(options: Partial<ExecutorPoolOptions> & { readonly inline?: boolean } = {}): Promise<Harness> {
    const harness = new Harness(options)
    await harness.pool.start()
    return harness
  }

  get lastRun(): RunId {
    return this.#nextRun as RunId
  }

  submit(fn: AnyFunction, args: readonly unknown[] = [], submission: Submission = {}): Promise<Ending> {
    const runId = ++this.#nextRun as RunId
    const { id, name, bytes } = capture(fn)
    const ended = new Promise<Ending>((resolve) => this.#waiting.set(runId, resolve))
    this.pool.run({
      runId,
      key: (submission.key ?? `${name}-${runId}`) as TaskKey,
      name,
      fn: id,
      fnBytes: bytes,
      args: encodeArgs(args, () => undefined).bytes,
      inputs: submission.inputs ?? [],
      options: submission.options ?? {},
      attempt: 1,
      memory: { reservedBytes: submission.options?.memory ?? 2 ** 20, heapBytes: submission.options?.memory ?? 0 },
      clusterId: 'cluster',
      generation: 1,
    })
    return ended
  }

  /** Stores a value as a file, and gives what a task needs to read it: an argument and an input. */
  store(
    key: string,
    value: unknown,
    change: Partial<Extract<ExecutorInput['source'], { via: 'file' }>> = {},
  ): { ref: TaskRef; input: ExecutorInput } {
    const path = join(this.directory, `${key}-${++this.#nextPlace}`)
    const { totalBytes, parts } = layoutBlob({ clusterId: 'cluster', generation: 1, key, runId: 0 }, encodeValue(value))
    const fd = openSync(path, 'w')
    let written = 0
    for (const part of parts) written += writevSync(fd, [part])
    closeSync(fd)
    if (written !== totalBytes) throw new Error(`wrote ${written} of ${totalBytes} bytes`)
    const mtimeNs = String(statSync(path, { bigint: true }).mtimeNs)
    const source = {
      via: 'file',
      path,
      offset: 0,
      nbytes: totalBytes,
      tier: 'memory',
      mtimeNs,
      verify: false,
      ...change,
    } as const
    return { ref: new TaskRef(key), input: { key: key as TaskKey, source } }
  }

  newPlace(nbytes: number): ResultPlace {
    const id = ++this.#nextPlace
    return { id, tier: 'memory', path: join(this.directory, `${id}.part`), nbytes }
  }

  /** Resolves when the condition holds; it is looked at after every event of the pool, and every few milliseconds. */
  async until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    if (condition()) return
    await new Promise<void>((resolve, reject) => {
      const check = (): boolean => {
        if (!condition()) return false
        clearInterval(poll)
        clearTimeout(timer)
        resolve()
        return true
      }
      const poll = setInterval(check, 5)
      const timer = setTimeout(() => {
        clearInterval(poll)
        reject(new Error(`nothing of the kind happened within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#watchers.push(check)
    })
  }

  /** The key that an executor is inside of now, by the status page. */
  running(key: string): boolean {
    return this.pool.infos.some((info) => info.task === key)
  }

  async close(): Promise<void> {
    await this.pool.close()
    rmSync(this.directory, { recursive: true, force: true })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #events(): ExecutorPoolEvents {
    const announce = (stillMapped: readonly string[]): void => {
      this.announced += stillMapped.length
    }
    return {
      onFinished: ({ runId, result, stillMapped }) => {
        announce(stillMapped)
        const blob = result.via === 'inline' ? result.blob : readFileSync(result.place.path)
        this.#end(runId, { kind: 'finished', value: decodeBlob(blob).value, via: result.via, stillMapped })
      },
      onErred: ({ runId, kind, error, stillMapped }) => {
        announce(stillMapped)
        this.#end(runId, { kind: 'erred', failure: kind, error: decodeError(error) as PlimsollError })
      },
      onReturned: ({ runId, reason }) => this.#end(runId, { kind: 'returned', reason }),
      onInputBad: ({ runId, key, reason, stillMapped }) => {
        announce(stillMapped)
        this.#end(runId, { kind: 'input-bad', key, reason })
      },
      onCancelled: ({ runId, stillMapped }) => {
        announce(stillMapped)
        this.#end(runId, { kind: 'cancelled' })
      },
      onUnmapped: ({ key }) => {
        this.unmapped.push(key)
        this.#notify()
      },
      onPlaceRequest: (request, answer) => {
        const reply = this.onPlace(request)
        if (reply === null) return
        if (this.placeDelayMs === 0) answer(reply)
        else setTimeout(() => answer(reply), this.placeDelayMs)
      },
      onPlaceUnused: (place) => this.unused.push(place),
      onExecutorsChanged: (pids) => {
        this.pids = pids
        this.#notify()
      },
      onLog: (line) => {
        this.log.push(line)
        this.#notify()
      },
      onStartFailing: (reason, failures) => this.troubles.push({ reason, failures }),
    }
  }

  #end(runId: RunId, ending: Ending): void {
    const resolve = this.#waiting.get(runId)
    if (resolve === undefined) throw new Error(`run ${runId} ended twice: ${JSON.stringify(ending)}`)
    this.#waiting.delete(runId)
    resolve(ending)
    this.#notify()
  }

  #notify(): void {
    for (const watcher of this.#watchers.slice()) {
      if (watcher()) this.#watchers.splice(this.#watchers.indexOf(watcher), 1)
    }
  }
}

/** True while any process of this group exists. */
export function groupExists(pid: number): boolean {
  try {
    process.kill(-pid, 0)
    return true
  } catch {
    return false
  }
}

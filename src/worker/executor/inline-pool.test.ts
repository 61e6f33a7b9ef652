import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type RunId, runId, taskKey } from '../../base/ids.ts'
import { currentTaskContext } from '../../base/task-context.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import { capture } from '../../functions/capture.ts'
import type { TaskOptionsWire } from '../../protocol/tasks.ts'
import { encodeArgs } from '../../values/args.ts'
import { decodeBlob } from '../../values/decode.ts'
import { decodeError } from '../../values/error.ts'
import type { ExecutorPool, ExecutorPoolEvents, PlaceAnswer, ResultPlace } from './executor-pool.ts'
import { createInlinePool } from './inline-pool.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-inline-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

type Told = readonly [event: string, runId: number, detail: unknown]

class Desk {
  readonly pool: ExecutorPool
  readonly told: Told[] = []
  readonly unused: ResultPlace[] = []
  place: () => PlaceAnswer | null = () => null
  #next = 0
  readonly #waiting: { readonly count: number; resolve(): void }[] = []

  constructor(nthreads = 1) {
    const tell = (event: string, id: RunId, detail: unknown): void => {
      this.told.push([event, id, detail])
      for (const waiter of this.#waiting) if (this.told.length >= waiter.count) waiter.resolve()
    }
    const events: ExecutorPoolEvents = {
      onFinished: ({ runId: id, result }) =>
        tell('finished', id, decodeBlob(result.via === 'inline' ? result.blob : readFileSync(result.place.path)).value),
      onErred: ({ runId: id, kind, error }) =>
        tell(kind, id, (decodeError(error) as PlimsollError).code ?? decodeError(error).message),
      onReturned: ({ runId: id, reason }) => tell('returned', id, reason),
      onInputBad: ({ runId: id, key }) => tell('input-bad', id, key),
      onCancelled: ({ runId: id }) => tell('cancelled', id, null),
      onUnmapped: () => {},
      onPlaceRequest: (_, answer) => {
        const reply = this.place()
        if (reply !== null) answer(reply)
      },
      onPlaceUnused: (place) => this.unused.push(place),
      onExecutorsChanged: () => {},
      onLog: () => {},
    }
    this.pool = createInlinePool(
      { nthreads, inlineLimit: 1000, cancelGraceMs: 50, workerAddress: 'inproc://w' },
      events,
    )
  }

  run(fn: (...args: never[]) => unknown, args: readonly unknown[] = [], options: TaskOptionsWire = {}): RunId {
    const id = runId(++this.#next)
    const { id: fnId, name, bytes } = capture(fn)
    const run = {
      runId: id,
      key: taskKey(`k${id}`),
      name,
      fn: fnId,
      fnBytes: bytes,
      args: encodeArgs(args, () => undefined).bytes,
    }
    const memory = { reservedBytes: 0, heapBytes: 0 }
    this.pool.run({ ...run, inputs: [], options, attempt: 1, memory, clusterId: 'c', generation: 1 })
    return id
  }

  events(count: number): Promise<void> {
    if (this.told.length >= count) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ count, resolve }))
  }
}

describe('inline pool', () => {
  it('runs tasks on encoded values', async () => {
    const desk = new Desk()
    await desk.pool.start()
    desk.run((row: { n: number }) => Object.assign(row, { n: row.n + 1 }), [{ n: 1 }])
    desk.run(async () => 'later')
    desk.run(() => {
      throw new TypeError('no')
    })
    expect(desk.told).toEqual([])
    await desk.events(3)
    expect(desk.told).toEqual([
      ['finished', 1, { n: 2 }],
      ['finished', 2, 'later'],
      ['user', 3, 'no'],
    ])
  })

  it('tells each task its own context, however they interleave', async () => {
    const desk = new Desk(4)
    const nap = async (): Promise<string | undefined> => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      return (globalThis as { [key: symbol]: (() => { key: string }) | undefined })[
        Symbol.for('plimsoll.taskContext')
      ]?.().key
    }
    for (let i = 0; i < 4; i++) desk.run(nap)
    await desk.events(4)
    expect(desk.told.map(([, id, value]) => value === `k${id}`)).toEqual([true, true, true, true])
    expect(currentTaskContext()).toBeUndefined()
  })

  it('drops what was cancelled before its start, and abandons what ignores its signal', async () => {
    const desk = new Desk()
    const forever = desk.run(() => new Promise(() => {}))
    const queued = desk.run(() => 2)
    await new Promise((resolve) => setImmediate(resolve))
    desk.pool.cancel(queued, false)
    desk.pool.cancel(forever, false)
    await desk.events(2)
    expect(desk.told).toEqual([
      ['cancelled', queued, null],
      ['cancelled', forever, null],
    ])
    const next = desk.run(() => 3)
    await desk.events(3)
    expect(desk.told[2]).toEqual(['finished', next, 3])
  })

  it('fails by timeout', async () => {
    const desk = new Desk()
    desk.run(() => new Promise(() => {}), [], { timeoutMs: 10 })
    await desk.events(1)
    expect(desk.told).toEqual([['timeout', 1, 'TASK_TIMEOUT']])
  })

  it('writes large results to their place, and gives back what it cannot use', async () => {
    const desk = new Desk()
    const place = { id: 1, tier: 'disk', path: join(directory, '1.part'), nbytes: 0 } as const
    desk.place = () => ({ place })
    desk.run(() => new Uint8Array(5000))
    await desk.events(1)
    expect(desk.told[0]).toEqual(['finished', 1, new Uint8Array(5000)])
    desk.place = () => ({ error: new PlimsollError('STORE_FULL', 'no room') })
    desk.run(() => new Uint8Array(5000))
    await desk.events(2)
    expect(desk.told[1]).toEqual(['store-full', 2, 'STORE_FULL'])
    let asked = 0
    desk.place = () => ({ place: { ...place, id: ++asked, path: join(directory, 'absent', 'x') } })
    desk.run(() => new Uint8Array(5000))
    await desk.events(3)
    expect(desk.told[2]).toEqual(['store-full', 3, 'STORE_FULL'])
    expect(asked).toBeGreaterThan(1)
    expect(desk.unused.map(({ id }) => id)).toEqual([asked])
  })

  it('says nothing more once it is closed', async () => {
    const desk = new Desk()
    desk.run(() => 1)
    await desk.pool.close()
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(desk.told).toEqual([])
  })
})

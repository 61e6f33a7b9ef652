// Random operations against a model of what must be readable, with disk faults, full file systems, slow files and crashes in
// between. After each step what the store shows must be what the model says; at quiet moments totals must equal a recount,
// and every value must still be whole. Hunts for accounting drift (S6), lost or resurrected keys (S1, S2) and stalls (S8).

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { Prng } from '../base/prng.ts'
import { taskKey, type TaskKey } from '../base/ids.ts'
import { blobOf, CLUSTER, entryOf, KiB, MiB, recorder } from './fixture.conformance.ts'
import { SimFs } from './sim-fs.ts'
import type { StoreFs } from './store-fs.ts'
import type { Pin, Place } from './store.ts'
import { TieredStore } from './tiered-store.ts'

const KEYS = 12
const MEMORY_BYTES = 2 * MiB
const DISK_BYTES = 3 * MiB
const TARGET = 1 * MiB

interface Held {
  readonly run: number
  readonly nbytes: number
  readonly durable: boolean
}

class World {
  readonly fs = new SimFs({ '/shm': MEMORY_BYTES, '/disk': DISK_BYTES })
  readonly clock = new VirtualClock()
  readonly model = new Map<TaskKey, Held>()
  readonly prng: Prng
  process = { alive: true }
  store: TieredStore
  pins: { pin: Pin; mapped: boolean }[] = []
  pending: Promise<void>[] = []
  run = 0
  incarnation = 1
  failing: string | null = null

  constructor(seed: number) {
    this.prng = new Prng(seed)
    this.store = this.newStore()
    this.fs.delay = (operation) => this.turns(operation === 'copy' ? this.prng.int(6) : this.prng.int(2))
  }

  async turns(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
  }

  newStore(): TieredStore {
    const { events } = recorder()
    const process = { alive: true }
    this.process = process
    this.failing = null
    const forget = (key: TaskKey, run: number): void => {
      if (process.alive && this.model.get(key)?.run === run) this.model.delete(key)
    }
    return new TieredStore(
      {
        localDirectory: '/disk/w',
        memoryDirectory: '/shm/w',
        incarnation: this.incarnation,
        memoryLimit: 4 * MiB,
        target: TARGET,
        maxSpill: DISK_BYTES,
        pageCache: DISK_BYTES / 4,
        inlineLimit: 8 * KiB,
        threadPool: 16,
        bootId: 'boot',
        fs: mortal(this.fs, process),
        clock: this.clock,
      },
      {
        ...events,
        onEvicted: (values) => values.forEach((value) => forget(value.key, value.runId)),
        onSpillFailing: (reason) => {
          if (process.alive) this.failing = reason
        },
        onLost: (value) => forget(value.key, value.runId),
        onDurable: (values) => {
          for (const { key, runId, nbytes } of values) {
            if (process.alive && this.model.get(key)?.run === runId)
              this.model.set(key, { run: runId, nbytes, durable: true })
          }
        },
      },
    )
  }

  start(work: Promise<void>): void {
    const settled = work.catch((error: { code?: string }) => {
      if (!['STORE_FULL', 'STORE_CLOSED', 'TASK_CANCELLED'].includes(error.code ?? '')) throw error
    })
    this.pending.push(settled)
  }

  /** What the model says after a value arrived: newer runs win. */
  arrived(key: TaskKey, held: Held): void {
    const other = this.model.get(key)
    if (other === undefined || other.run <= held.run) this.model.set(key, held)
  }

  async place(key: TaskKey, nbytes: number, fetched: boolean, outcome: number): Promise<void> {
    const { store } = this
    const run = ++this.run
    const place: Place = await store.requestPlace(nbytes)
    await this.turns(this.prng.int(3))
    if (store !== this.store) return
    if (outcome === 0) return store.cancelPlace(place)
    const blob = blobOf(key, run, nbytes)
    try {
      this.fs.write(place.path, outcome === 1 ? blob.subarray(0, nbytes - 1) : blob)
    } catch {
      return store.cancelPlace(place)
    }
    await store.accept(place, entryOf(key, run, fetched))
    // Accepted values appear in the turn that accept resolves in, before anything else can drop them.
    const value = store.get(key)
    if (value?.runId === run) this.arrived(key, { run, nbytes, durable: true })
  }

  async putDurable(key: TaskKey, nbytes: number): Promise<void> {
    const { store } = this
    const run = ++this.run
    await store.putInline(entryOf(key, run), blobOf(key, run, nbytes), { durable: true })
    if (store.get(key)?.runId === run) this.arrived(key, { run, nbytes, durable: true })
  }

  /** SIGKILL: calls into the file system that were under way end, nothing follows them. */
  async crash(): Promise<void> {
    const survivors = [...this.model].filter(([, held]) => held.durable)
    this.process.alive = false
    this.pins = []
    this.pending = []
    await this.turns(20)
    this.incarnation++
    this.store = this.newStore()
    const adopted = new Map((await this.store.open()).map((value) => [value.key, value]))
    for (const [key, held] of survivors) {
      const value = adopted.get(key)
      expect(value?.runId, `${key} of run ${held.run} was durable`).toBeGreaterThanOrEqual(held.run)
      if (value?.runId === held.run) expect(value).toMatchObject({ nbytes: held.nbytes, durable: true })
    }
    this.model.clear()
    for (const [key, value] of adopted) this.model.set(key, { run: value.runId, nbytes: value.nbytes, durable: true })
  }

  /** What the store shows is what the model says. */
  compare(): void {
    const shown = new Map([...this.store.values()].map((value) => [value.key, value.runId as number]))
    for (const [key, held] of this.model) expect(shown.get(key), `${key} is readable`).toBe(held.run)
    for (const [key, run] of shown) expect(this.model.get(key)?.run, `${key} was freed`).toBe(run)
    for (const total of Object.values(this.store.totals) as number[]) expect(total).toBeGreaterThanOrEqual(0)
    for (const { pin, mapped } of this.pins) if (!mapped) this.expectReadable(pin)
  }

  expectReadable({ key, runId, source }: Pin): void {
    const bytes =
      source.via === 'inline'
        ? source.bytes
        : this.fs.contents(source.path).subarray(source.offset, source.offset + source.nbytes)
    expect(Buffer.compare(bytes, blobOf(key, runId, bytes.byteLength)), `${key} reads back`).toBe(0)
  }

  async quiet(): Promise<void> {
    for (let round = 0; round < 20; round++) {
      await this.store.settled()
      this.clock.advance(1100)
    }
    await this.store.settled()
    for (const { pin } of this.pins) {
      pin.release()
      pin.unmapped()
    }
    this.pins = []
    await this.store.settled()
    for (let round = 0; round < 5; round++) {
      this.clock.advance(1100)
      await this.store.settled()
    }
    await Promise.all(this.pending)
    this.pending = []
    await this.store.settled()
    expect((await this.store.recount()).differences).toEqual([])
    expect(this.store.totals).toMatchObject({ reserved: 0, reservedDisk: 0, spilling: 0, deadMapped: 0 })
    this.compare()
    for (const key of this.model.keys()) expect(await this.store.check(key), `${key} is whole`).toBe(true)
  }
}

/** The file system as one process sees it: when it dies, no call returns to it and none begins. */
function mortal(fs: SimFs, process: { readonly alive: boolean }): StoreFs {
  const never = new Promise<never>(() => {})
  return new Proxy<StoreFs>(fs, {
    get(_, name: keyof StoreFs) {
      const call = fs[name].bind(fs) as (...args: unknown[]) => Promise<unknown>
      return async (...args: unknown[]) => {
        if (!process.alive) return never
        const value = await call(...args)
        return process.alive ? value : never
      }
    },
  })
}

const step = fc.record({
  action: fc.constantFrom(
    'inline',
    'inline',
    'durable',
    'place',
    'place',
    'place',
    'fetch',
    'free',
    'pin',
    'release',
    'unmap',
    'turns',
    'room',
    'fault',
    'heal',
    'time',
    'check',
    'quiet',
    'crash',
    'wipe',
  ),
  key: fc.integer({ min: 0, max: KEYS - 1 }),
  size: fc.integer({ min: 0, max: 1000 }),
  outcome: fc.integer({ min: 0, max: 9 }),
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

async function perform(world: World, { action, key: index, size, outcome }: Step): Promise<void> {
  const { store } = world
  const key = taskKey(`key-${index}`)
  switch (action) {
    case 'inline': {
      const run = ++world.run
      const nbytes = 200 + size * 8
      store.putInlineNow(entryOf(key, run), blobOf(key, run, nbytes))
      return world.arrived(key, { run, nbytes, durable: false })
    }
    case 'durable':
      return world.start(world.putDurable(key, 200 + size * 8))
    case 'place':
    case 'fetch':
      return world.start(world.place(key, 10_000 + size * 500, action === 'fetch', outcome))
    case 'free':
      world.model.delete(key)
      return store.free([key])
    case 'pin': {
      const pin = store.pin(key)
      if (pin !== undefined) world.pins.push({ pin, mapped: false })
      return
    }
    case 'release': {
      const held = world.pins[size % Math.max(1, world.pins.length)]
      if (held === undefined || held.mapped) return
      held.mapped = outcome > 4
      held.pin.release(held.mapped)
      if (!held.mapped) world.pins = world.pins.filter((other) => other !== held)
      return
    }
    case 'unmap': {
      for (const { pin, mapped } of world.pins) if (mapped) pin.unmapped()
      world.pins = world.pins.filter(({ mapped }) => !mapped)
      return
    }
    case 'turns':
      return world.turns(size % 20)
    case 'room':
      return world.start(store.makeRoom(size * 1000))
    case 'fault': {
      const code = outcome > 5 ? 'EIO' : 'ENOSPC'
      world.fs.fault = (operation, path) =>
        (operation === 'copy' || operation === 'write') && path.startsWith('/disk') && world.prng.int(10) < outcome
          ? code
          : null
      return
    }
    case 'heal':
      world.fs.fault = () => null
      return
    case 'time':
      return world.clock.advance(size * 3)
    case 'check':
      expect(await store.check(key)).toBe(world.model.has(key))
      return
    case 'quiet':
      world.fs.fault = () => null
      return world.quiet()
    case 'crash':
      return world.crash()
    case 'wipe':
      world.model.clear()
      return store.wipe()
  }
}

describe('the store against a model', () => {
  it('shows exactly what it was given, whatever happens, and counts it right', async () => {
    const runs = Number(process.env['PLIMSOLL_STORE_RUNS'] ?? 30)
    const history = fc.array(step, { minLength: 20, maxLength: 150, size: 'max' })
    await fc.assert(
      fc.asyncProperty(fc.integer(), history, async (seed, steps) => {
        const world = new World(seed)
        await world.store.open()
        await world.store.setIdentity(CLUSTER, 1)
        for (const one of steps) {
          await perform(world, one)
          // Whoever awaits an arrival hears of it within the turn.
          await world.turns(1)
          world.compare()
        }
        world.fs.fault = () => null
        await world.quiet()
        world.store.free([...world.model.keys()])
        world.model.clear()
        await world.quiet()
        expect(world.store.totals).toMatchObject({ inline: 0 })
        await world.store.close({ keep: false })
        expect(world.fs.paths('/')).toEqual([])
      }),
      {
        numRuns: runs,
        timeout: 20_000,
        endOnFailure: process.env['PLIMSOLL_STORE_SHRINK'] !== '1',
        ...(process.env['PLIMSOLL_STORE_SEED'] === undefined
          ? { seed: 1 }
          : { seed: Number(process.env['PLIMSOLL_STORE_SEED']) }),
      },
    )
  }, 180_000)
})

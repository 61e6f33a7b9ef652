import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../../base/clock.ts'
import { deferred, type Deferred } from '../../base/deferred.ts'
import type { MemoryRungs } from '../options.ts'
import type { ExecutorSample } from '../executor/executor-pool.ts'
import { MemoryManager } from './memory-manager.ts'

/** A worker with a limit of 1000 bytes that a test fills by hand. */
function start(overrides: { limit?: number; rungs?: MemoryRungs } = {}) {
  let looks = 0
  let hoarders = 0
  const warnings: number[] = []
  const clock = new VirtualClock()
  const events: string[] = []
  const allowed: number[] = []
  const atMost: number[] = []
  const orders: { below: number; done: Deferred<void> }[] = []
  const now = {
    privateBytes: 100,
    ownBytes: 0,
    /** Part of `ownBytes` that a collection gives back, and how long it takes. */
    ownGarbage: 0,
    collectMs: 0,
    inlineBytes: 0,
    tierBytes: 0,
    managed: 0,
    spilled: 0,
    running: 1,
    /** No executor is up. */
    starting: false,
    dead: 0,
    executors: [] as ExecutorSample[],
  }
  const manager = new MemoryManager(
    {
      clock,
      limit: overrides.limit ?? 1000,
      rungs: overrides.rungs ?? { target: 600, spill: 700, pause: 800, resume: 750, killTask: 900 },
      intervalMs: 100,
      recentToOldMs: 30_000,
      readProcesses: () => {
        looks++
        return { privateBytes: now.privateBytes, ownBytes: now.ownBytes, executors: now.executors }
      },
      killExecutor: (pid) => {
        events.push(`kill ${pid}`)
        now.executors = now.executors.map((executor) =>
          executor.pid === pid ? { ...executor, dying: true } : executor,
        )
      },
      counted: () => ({
        tierBytes: now.tierBytes,
        inlineBytes: now.inlineBytes,
        managed: now.managed,
        spilled: now.spilled,
      }),
      makeRoom: (below) => {
        const done = deferred()
        orders.push({ below, done })
        return done.promise
      },
      allow: (bytes, most) => {
        allowed.push(bytes)
        atMost.push(most)
      },
      onPause: () => events.push('pause'),
      onResume: () => events.push('resume'),
      running: () => now.running,
      isAnyStarted: () => now.running > 0 && !now.starting,
      deadMapped: () => now.dead,
      collect: () => events.push('collect'),
      collectOwn: (how) => {
        events.push(`${how} own`)
        clock.advance(now.collectMs)
        now.privateBytes -= now.ownGarbage
        now.ownBytes -= now.ownGarbage
        now.ownGarbage = 0
      },
      relieve: () => events.push('relieve'),
      recycleHoarders: () => hoarders++,
      onUnmanagedHigh: ({ unmanaged, unmanagedRecent }) => warnings.push(unmanaged + unmanagedRecent),
      onProbe: () => events.push('probe'),
      onMeasured: () => {},
    },
    50,
  )
  manager.start()
  return {
    clock,
    events,
    orders,
    now,
    manager,
    warnings,
    allowed,
    atMost,
    looks: () => looks,
    hoarders: () => hoarders,
  }
}

describe('freed values that are still mapped', () => {
  it('are collected when the worker has been idle for a while, and again when that helped', () => {
    const { clock, events, now } = start()
    now.dead = 100
    clock.advance(2000)
    expect(events).toEqual([])
    now.running = 0
    clock.advance(500)
    expect(events).toEqual([])
    clock.advance(100)
    expect(events).toEqual(['collect'])
    clock.advance(5000)
    expect(events).toEqual(['collect'])
    now.dead = 50
    clock.advance(1000)
    expect(events).toEqual(['collect', 'collect'])
  })

  it('are collected without a memory limit too', () => {
    const { clock, events, now } = start({ limit: 0 })
    Object.assign(now, { dead: 100, running: 0 })
    clock.advance(1000)
    expect(events).toEqual(['collect'])
  })
})

describe('the memory ladder', () => {
  it('acceptance 20: pauses above the rung, not on it, and resumes only well below it', () => {
    const { clock, events, now } = start()
    now.privateBytes = 800
    clock.advance(300)
    expect(events).toEqual([])
    now.privateBytes = 801
    clock.advance(100)
    expect(events).toEqual(['pause'])
    now.privateBytes = 760
    clock.advance(100)
    expect(events).toEqual(['pause'])
    now.privateBytes = 749
    clock.advance(100)
    expect(events).toEqual(['pause', 'resume'])
  })

  it('asks the store for what is missing to target, one order at a time', async () => {
    const { clock, orders, now } = start()
    Object.assign(now, { privateBytes: 300, tierBytes: 450, managed: 450 })
    clock.advance(100)
    clock.advance(100)
    expect(orders.map((order) => order.below)).toEqual([300])
    Object.assign(now, { privateBytes: 350, tierBytes: 400, managed: 400 })
    orders[0]?.done.resolve()
    await Promise.resolve()
    await Promise.resolve()
    clock.advance(100)
    expect(orders.map((order) => order.below)).toEqual([300, 250])
  })

  it('acceptance 16: above spill it spills until process memory is below target, and exactly on the rung nothing', async () => {
    const { clock, orders, now } = start()
    const settle = async (managed: number): Promise<void> => {
      Object.assign(now, { tierBytes: managed, managed })
      orders.at(-1)?.done.resolve()
      await Promise.resolve()
      await Promise.resolve()
      clock.advance(100)
    }
    Object.assign(now, { privateBytes: 200, tierBytes: 500, managed: 500 })
    clock.advance(300)
    expect(orders).toEqual([])
    now.privateBytes = 201
    clock.advance(100)
    expect(orders.map((order) => order.below)).toEqual([399])
    // The task grew meanwhile: process memory is below spill, not below target.
    now.privateBytes = 250
    await settle(399)
    expect(orders.map((order) => order.below)).toEqual([399, 350])
    await settle(350)
    now.privateBytes = 340
    clock.advance(300)
    expect(orders).toHaveLength(2)
  })

  it('acceptance 17: with target off it stops at spill', async () => {
    const off = Number.POSITIVE_INFINITY
    const { clock, orders, now } = start({
      rungs: { target: off, spill: 700, pause: 800, resume: 750, killTask: 900 },
    })
    Object.assign(now, { privateBytes: 210, tierBytes: 500, managed: 500 })
    clock.advance(100)
    expect(orders.map((order) => order.below)).toEqual([490])
    Object.assign(now, { tierBytes: 490, managed: 490 })
    orders[0]?.done.resolve()
    await Promise.resolve()
    await Promise.resolve()
    clock.advance(300)
    expect(orders).toHaveLength(1)
  })

  it('acceptance 18: memory that the store knows nothing of is worth a warning once in 300 s, and no orders', () => {
    const { clock, orders, now, warnings, hoarders, looks } = start()
    Object.assign(now, { privateBytes: 710, running: 0 })
    clock.advance(100)
    expect([warnings, orders, hoarders()]).toEqual([[710], [], 1])
    now.privateBytes = 720
    const before = looks()
    clock.advance(299_900)
    expect(warnings).toEqual([710])
    expect(looks() - before).toBeLessThanOrEqual(3000)
    clock.advance(200)
    expect(warnings).toEqual([710, 720])
  })

  it('acceptance 18: warns as well when what is stored cannot leave', async () => {
    const { clock, orders, now, warnings } = start()
    Object.assign(now, { privateBytes: 700, tierBytes: 50, managed: 50 })
    clock.advance(100)
    expect([orders.length, warnings]).toEqual([1, []])
    orders[0]?.done.resolve()
    await Promise.resolve()
    await Promise.resolve()
    expect(warnings).toEqual([700])
  })

  it('acceptance 32: rungs that are off do nothing, twice above the limit', () => {
    const off = Number.POSITIVE_INFINITY
    const { clock, events, orders, now } = start({
      rungs: { target: 600, spill: 700, pause: off, resume: off, killTask: off },
    })
    Object.assign(now, { privateBytes: 1500, tierBytes: 500, managed: 500, executors: [] })
    clock.advance(10_000)
    expect(events).toEqual([])
    expect(orders).toHaveLength(1)
  })

  it('does not repeat an order that freed nothing for a second', async () => {
    const { clock, orders, now } = start()
    Object.assign(now, { privateBytes: 700, tierBytes: 50, managed: 50 })
    clock.advance(100)
    orders[0]?.done.resolve()
    await Promise.resolve()
    await Promise.resolve()
    clock.advance(900)
    expect(orders).toHaveLength(1)
    clock.advance(200)
    expect(orders).toHaveLength(2)
  })

  it('replaces idle executors when a pause with nothing running does not end', () => {
    const { clock, events, now } = start()
    now.privateBytes = 900
    clock.advance(100)
    now.running = 0
    clock.advance(5000)
    expect(events).toEqual(['pause'])
    clock.advance(200)
    expect(events).toEqual(['pause', 'relieve'])
  })

  it('lets one task through when that did not help either, and again when it was too short to be seen', () => {
    const { clock, events, now } = start()
    Object.assign(now, { privateBytes: 900, running: 0 })
    clock.advance(10_000)
    expect(events).toEqual(['pause', 'relieve'])
    clock.advance(200)
    expect(events).toEqual(['pause', 'relieve', 'probe'])
    clock.advance(1000)
    expect(events).toEqual(['pause', 'relieve', 'probe', 'probe'])
    now.running = 1
    clock.advance(5000)
    now.running = 0
    // The pause goes on: the next one has waited long enough.
    clock.advance(1200)
    expect(events.slice(4)).toEqual(['probe'])
    clock.advance(4000)
    expect(events.slice(5)).toEqual(['probe', 'probe', 'probe', 'relieve', 'probe'])
    now.privateBytes = 700
    clock.advance(20_000)
    expect(events.slice(10)).toEqual(['resume'])
    now.privateBytes = 900
    clock.advance(10_200)
    expect(events.slice(11)).toEqual(['pause', 'relieve', 'probe'])
  })

  it('is not misled by the moment in which the old executors are gone and the new ones not there', () => {
    const { clock, events, now } = start()
    Object.assign(now, { privateBytes: 900, running: 0 })
    clock.advance(5200)
    Object.assign(now, { privateBytes: 700, running: 1, starting: true })
    clock.advance(300)
    Object.assign(now, { privateBytes: 900, running: 0, starting: false })
    clock.advance(4700)
    expect(events).toEqual(['pause', 'relieve', 'resume', 'pause', 'probe'])
    // Memory was fine for longer: what follows is another pause.
    now.privateBytes = 700
    clock.advance(5200)
    now.privateBytes = 900
    clock.advance(9000)
    expect(events.slice(5)).toEqual(['resume', 'pause', 'relieve'])
  })

  it('tells the store what is left below spill, and below the limit, beside the peak of everything else', () => {
    const { clock, now, allowed, atMost } = start()
    Object.assign(now, { privateBytes: 100, tierBytes: 200, managed: 200 })
    clock.advance(100)
    expect([allowed.at(-1), atMost.at(-1)]).toEqual([600, 900])
    now.privateBytes = 450
    clock.advance(100)
    expect([allowed.at(-1), atMost.at(-1)]).toEqual([250, 550])
    now.privateBytes = 100
    clock.advance(4900)
    expect(allowed.at(-1)).toBe(250)
    clock.advance(200)
    expect(allowed.at(-1)).toBe(600)
  })

  it('tells the store what is left below target for some seconds after process memory was above spill', () => {
    const { clock, now, allowed } = start()
    Object.assign(now, { privateBytes: 450, tierBytes: 251, managed: 251 })
    clock.advance(100)
    expect(allowed.at(-1)).toBe(150)
    now.tierBytes = now.managed = 150
    clock.advance(4900)
    expect(allowed.at(-1)).toBe(150)
    clock.advance(200)
    expect(allowed.at(-1)).toBe(250)
  })

  it('measures without acting when there is no limit', () => {
    const { clock, events, orders, now, manager } = start({ limit: 0 })
    Object.assign(now, { privateBytes: 5000, tierBytes: 100, managed: 100 })
    clock.advance(100)
    expect([events, orders]).toEqual([[], []])
    expect(manager.measures()).toEqual({
      limit: 0,
      process: 5100,
      managed: 100,
      unmanaged: 5000,
      unmanagedRecent: 0,
      spilled: 0,
    })
    expect(manager.processPeak).toBe(5100)
  })

  it('acceptance 42: reports a rise as recent until it is as old as the window', () => {
    const { clock, now, manager } = start()
    clock.advance(100)
    now.privateBytes = 300
    clock.advance(100)
    expect(manager.measures()).toMatchObject({ unmanaged: 100, unmanagedRecent: 200 })
    clock.advance(30_100)
    expect(manager.measures()).toMatchObject({ unmanaged: 300, unmanagedRecent: 0 })
  })

  it('kills the executor that is to blame above kill-task, one at a time', () => {
    const { clock, events, now } = start()
    const greedy: ExecutorSample = {
      pid: 7,
      privateBytes: 500,
      vmDataBytes: 0,
      baselineBytes: 10,
      reservedBytes: 50,
      runId: null,
      placeBytes: 0,
      dying: false,
    }
    now.executors = [{ ...greedy, pid: 6, privateBytes: 55 }, greedy]
    now.privateBytes = 900
    clock.advance(100)
    expect(events).toEqual(['pause'])
    now.privateBytes = 901
    clock.advance(100)
    expect(events).toEqual(['pause', 'kill 7'])
    clock.advance(100)
    expect(events).toEqual(['pause', 'kill 7'])
    now.executors = [{ ...greedy, pid: 6, privateBytes: 455 }]
    clock.advance(10)
    expect(events).toEqual(['pause', 'kill 7', 'kill 6'])
  })

  it('looks the more often, the nearer kill-task is', () => {
    const GIB = 2 ** 30
    const { clock, now, looks } = start({
      limit: 10 * GIB,
      rungs: { target: 6 * GIB, spill: 7 * GIB, pause: 8 * GIB, resume: 7.5 * GIB, killTask: 9 * GIB },
    })
    const looksIn = (ms: number): number => {
      const before = looks()
      clock.advance(ms)
      return looks() - before
    }
    expect(looksIn(1000)).toBe(10)
    now.privateBytes = 8.9 * GIB
    clock.advance(100)
    expect(looksIn(1000)).toBe(20)
    now.privateBytes = 8.99 * GIB
    clock.advance(100)
    expect(looksIn(1000)).toBe(100)
    now.running = 0
    clock.advance(100)
    expect(looksIn(1000)).toBe(10)
  })
})

describe('garbage of the worker’s own process', () => {
  /** Grown by 40 above what it had at first, of which a collection gives back `garbage`. */
  function grown(garbage: number, privateBytes = 720) {
    const parts = start()
    parts.now.ownBytes = 60
    parts.clock.advance(100)
    Object.assign(parts.now, { ownBytes: 100, privateBytes, ownGarbage: garbage, managed: 200, inlineBytes: 0 })
    return parts
  }

  it('is collected above `spill` before any value has to leave', () => {
    const { clock, events, orders } = grown(40)
    clock.advance(100)
    expect(events).toEqual(['collect own'])
    expect(orders).toEqual([])
  })

  it('is collected above `pause` instead of a pause', () => {
    const { clock, events } = grown(110, 820)
    clock.advance(100)
    expect(events).toEqual(['compact own'])
  })

  it('is collected by a worker that is paused with nothing running, and ends its pause', () => {
    const { clock, events, now } = start()
    Object.assign(now, { ownBytes: 300, privateBytes: 820 })
    clock.advance(100)
    expect(events).toEqual(['pause'])
    Object.assign(now, { running: 0, ownBytes: 340, privateBytes: 860, ownGarbage: 120 })
    clock.advance(100)
    expect(events).toEqual(['pause', 'compact own', 'resume'])
  })

  it('is compacted above `pause` although a collection has just been in vain, once for as much', () => {
    const { clock, events, now } = grown(0)
    clock.advance(100)
    expect(events).toEqual(['collect own'])
    Object.assign(now, { privateBytes: 810, ownBytes: 110, ownGarbage: 30 })
    clock.advance(100)
    expect(events).toEqual(['collect own', 'compact own'])
    Object.assign(now, { privateBytes: 810, ownBytes: 110, ownGarbage: 0 })
    clock.advance(100)
    expect(events.slice(2)).toEqual(['pause'])
    now.ownBytes = 111.5
    clock.advance(100)
    expect(events.slice(3)).toEqual(['compact own'])
  })

  it('stays where memory is not short, where there is no limit, and where it is little', () => {
    const calm = grown(40, 690)
    calm.clock.advance(1000)
    expect(calm.events).toEqual([])
    const boundless = start({ limit: 0 })
    Object.assign(boundless.now, { ownBytes: 1000, privateBytes: 1000, ownGarbage: 1000 })
    boundless.clock.advance(1000)
    expect(boundless.events).toEqual([])
    const little = grown(40)
    little.now.ownBytes = 90
    little.clock.advance(100)
    expect(little.events).toEqual([])
    expect(little.orders).toHaveLength(1)
  })

  it('that is none is not collected again before as much came on top; values in the process do not count', () => {
    const { clock, events, now } = grown(0)
    clock.advance(1000)
    expect(events).toEqual(['collect own'])
    Object.assign(now, { ownBytes: 400, inlineBytes: 290 })
    clock.advance(1000)
    expect(events).toEqual(['collect own'])
    now.ownBytes = 425
    clock.advance(100)
    expect(events).toEqual(['collect own', 'collect own'])
  })

  it('is collected in a tenth of the time, or half of it with nothing running', () => {
    const { clock, events, now } = grown(0)
    now.collectMs = 30
    clock.advance(100)
    now.ownBytes = 200
    clock.advance(200)
    expect(events).toEqual(['collect own'])
    now.running = 0
    clock.advance(100)
    expect(events).toEqual(['collect own', 'collect own'])
    Object.assign(now, { running: 1, ownBytes: 300 })
    clock.advance(200)
    expect(events).toEqual(['collect own', 'collect own'])
    clock.advance(200)
    expect(events).toEqual(['collect own', 'collect own', 'collect own'])
  })
})

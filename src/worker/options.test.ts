import { describe, expect, it } from 'vitest'
import { workerId } from '../base/ids.ts'
import type { WorkerStartOptions } from '../protocol/nanny.ts'
import { admissionSettings, pageCacheOf, resolveSettings } from './options.ts'

const GIB = 2 ** 30

function start(options: Partial<WorkerStartOptions>): WorkerStartOptions {
  return {
    schedulerAddress: 'tcp://127.0.0.1:1',
    token: 'ab',
    tls: null,
    insecurePlaintext: false,
    workerId: workerId('worker-1'),
    incarnation: 1,
    name: 'a',
    nthreads: 2,
    memoryLimit: GIB,
    localDirectory: '/tmp/a',
    memoryDirectory: null,
    host: '127.0.0.1',
    port: 0,
    http: null,
    resources: {},
    nannyPid: null,
    restarts: 0,
    processPeak: 0,
    spilledTotal: 0,
    executor: 'process',
    deathTimeoutMs: null,
    config: {},
    ...options,
  }
}

describe('the rungs of a worker', () => {
  it('are parts of its memory limit', () => {
    const { rungs, incomingBytesLimit } = resolveSettings(start({}))
    expect(rungs).toEqual({
      target: 0.6 * GIB,
      spill: 0.7 * GIB,
      pause: 0.8 * GIB,
      resume: 0.75 * GIB,
      killTask: 0.9 * GIB,
    })
    expect(incomingBytesLimit).toBe(Math.floor(0.1 * GIB))
  })

  it('acceptance 39: transfer of zero is refused; it is a part of the limit, and infinite when it is false or there is no limit', () => {
    const limit = (config: Record<string, unknown>, memoryLimit: number) =>
      resolveSettings(start({ config, memoryLimit })).incomingBytesLimit
    expect(limit({ 'worker.memory.transfer': 0.25 }, GIB)).toBe(GIB / 4)
    expect(limit({ 'worker.memory.transfer': false }, GIB)).toBe(Number.POSITIVE_INFINITY)
    expect(limit({}, 0)).toBe(Number.POSITIVE_INFINITY)
    expect(() => limit({ 'worker.memory.transfer': 0 }, GIB)).toThrow(/worker\.memory\.transfer/)
  })

  it('that are false are off, and none is on without a limit', () => {
    const keys = ['target', 'spill', 'pause', 'kill-task']
    const off = Object.fromEntries(keys.map((key) => [`worker.memory.${key}`, false]))
    const infinite = Number.POSITIVE_INFINITY
    const none = { target: infinite, spill: infinite, pause: infinite, resume: infinite, killTask: infinite }
    expect(resolveSettings(start({ config: off })).rungs).toEqual(none)
    expect(resolveSettings(start({ memoryLimit: 0 })).rungs).toEqual(none)
  })

  it('need a limit that the processes fit into', () => {
    expect(() => resolveSettings(start({ memoryLimit: 200 * 2 ** 20 }))).toThrow(/at least 224\.00 MiB/)
    expect(resolveSettings(start({ memoryLimit: 224 * 2 ** 20 })).rungs.target).toBeGreaterThan(0)
  })
})

describe('the bound on the cache of the kernel', () => {
  it('is twice the limit where new pages are dear, and none elsewhere or without a limit', () => {
    expect(pageCacheOf('auto', GIB, () => true)).toBe(2 * GIB)
    expect(pageCacheOf('auto', GIB, () => false)).toBe(Infinity)
    expect(pageCacheOf('auto', 0, () => true)).toBe(Infinity)
  })

  it('is what the configuration says, wherever the worker runs', () => {
    const bound = (value: unknown) =>
      resolveSettings(start({ config: { 'worker.memory.page-cache': value } })).pageCache
    expect(bound('4 GiB')).toBe(4 * GIB)
    expect(bound(0)).toBe(0)
    expect(bound(false)).toBe(Infinity)
    for (const wrong of [true, null, 'twice', -1])
      expect(() => bound(wrong)).toThrow(/worker\.memory\.page-cache.*auto, a size such as/)
  })
})

describe('admission', () => {
  const diverts = (config: Record<string, unknown>, hasDisk = true) =>
    admissionSettings(resolveSettings(start({ config })), hasDisk)?.divertsResults

  it('counts no results where the store puts those on disk that would take memory above spill', () => {
    expect(diverts({})).toBe(true)
    expect(diverts({}, false)).toBe(false)
    expect(diverts({ 'worker.memory.spill': false })).toBe(false)
  })

  it('counts them where they go to memory first', () => {
    expect(diverts({ 'worker.memory.target': false })).toBe(false)
    expect(diverts({ 'worker.memory.max-spill': 0 })).toBe(false)
  })
})

import { availableParallelism } from 'node:os'
import { describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { LocalCluster } from './local-cluster.ts'
import { type LocalClusterOptions, resolveOptions } from './options.ts'

const GIB = 2 ** 30

function refusal(options: Record<string, unknown>): string {
  try {
    // The constructor refuses before anything is started.
    void new LocalCluster(options as LocalClusterOptions)
  } catch (error) {
    expect(isErrorCode(error, 'INVALID_ARGUMENT') || isErrorCode(error, 'CONFIG_INVALID')).toBe(true)
    return (error as Error).message
  }
  throw new Error('expected a refusal')
}

describe('options of LocalCluster', () => {
  it('are one worker with all cores on loopback, and a fresh token each time', () => {
    const { plan, inProcess } = resolveOptions({})
    expect(plan).toMatchObject({
      nWorkers: 1,
      nthreads: availableParallelism(),
      host: '127.0.0.1',
      schedulerPort: 0,
      env: {},
    })
    expect(inProcess).toBe(false)
    expect(plan.memoryLimit).toBeGreaterThan(0)
    expect(plan.token).toMatch(/^[0-9a-f]{64}$/)
    expect(resolveOptions({}).plan.token).not.toBe(plan.token)
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
  })

  it('split cores and memory among the workers', () => {
    const { plan } = resolveOptions({ nWorkers: 4 })
    expect(plan.nthreads).toBe(Math.max(1, Math.floor(availableParallelism() / 4)))
    expect(plan.memoryLimit * 4).toBeLessThanOrEqual(resolveOptions({ nWorkers: 1 }).plan.memoryLimit + 4)
    expect(resolveOptions({ nWorkers: 0 }).plan.nWorkers).toBe(0)
  })

  it('hand configuration on, and turn what the user gave into it', () => {
    const { plan } = resolveOptions({
      memoryLimit: '1 GiB',
      config: { worker: { memory: { target: 0.5 } } },
      silenceLogs: 'error',
      env: { A: '1' },
      memoryDirectory: '/dev/shm',
    })
    expect(plan).toMatchObject({ memoryLimit: GIB, env: { A: '1' }, memoryBase: '/dev/shm' })
    expect(plan.config).toMatchObject({ 'worker.memory.target': 0.5, 'logging.level': 'error' })
  })

  it('offer resources, and refuse amounts that are none', () => {
    expect(resolveOptions({ resources: { GPU: 1 } }).plan.config).toMatchObject({ 'worker.resources': { GPU: 1 } })
    expect(refusal({ resources: { GPU: 'many' } })).toContain('GPU')
  })

  it('that it does not know are refused with the nearest one', () => {
    expect(refusal({ nworkers: 2 })).toBe('LocalCluster has no option "nworkers"; did you mean "nWorkers"?')
    expect(refusal({ memory_limit: 2 })).toMatch(/did you mean "memoryLimit"/)
    expect(refusal({ xyzzy: 2 })).toMatch(/no option "xyzzy"; it knows nWorkers, nthreads, /)
  })

  it('that are wrong are refused by name', () => {
    expect(refusal({ nWorkers: -1 })).toMatch(/option nWorkers is -1: it takes a whole number of at least 0/)
    expect(refusal({ nthreads: 0 })).toMatch(/nthreads is 0/)
    expect(refusal({ nthreads: '2' })).toMatch(/nthreads is "2"/)
    expect(refusal({ schedulerPort: 70_000 })).toMatch(/from 0 to 65535/)
    expect(refusal({ memoryLimit: '4GB8' })).toMatch(/"4GB8" cannot be read; accepted:/)
    expect(refusal({ memoryLimit: 1 })).toMatch(/write "1.0" or "auto"/)
    expect(refusal({ inProcess: 'yes' })).toMatch(/inProcess is "yes": it takes true or false/)
    expect(refusal({ env: { A: {} } })).toMatch(/env.A/)
    expect(refusal({ config: { 'worker.memory.taget': 1 } })).toMatch(/did you mean "worker.memory.target"/)
    expect(refusal({ silenceLogs: 'loud' })).toMatch(/accepted are true, false, trace/)
    expect(refusal({ dashboardAddress: 'here' })).toMatch(/"here" is no address for HTTP/)
    expect(refusal({ dashboardAddress: 8787 })).toMatch(/dashboardAddress is 8787: it takes HOST:PORT/)
    expect(refusal({ host: '' })).toMatch(/host is "": it takes a text/)
  })

  it('serve HTTP at a known port, but not in process', () => {
    expect(resolveOptions({}).plan.http).toEqual({ host: '127.0.0.1', port: 8787 })
    expect(resolveOptions({ dashboardAddress: ':0' }).plan.http).toEqual({ host: '127.0.0.1', port: 0 })
    expect(resolveOptions({ dashboardAddress: null }).plan.http).toBeNull()
    expect(resolveOptions({ inProcess: true }).plan.http).toBeNull()
  })

  it('leave the address to the start', () => {
    const cluster = new LocalCluster({})
    expect(() => cluster.address).toThrow(/has not been started: await cluster.start\(\)/)
    expect(cluster.workers).toEqual([])
  })

  it('of a cluster that was never started cost nothing to close, twice', async () => {
    const cluster = new LocalCluster({})
    await cluster.close()
    await cluster.close()
    await expect(cluster.start()).rejects.toMatchObject({ code: 'COMM_CLOSED' })
  })
})

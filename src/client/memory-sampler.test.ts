import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { MemorySampler } from './memory-sampler.ts'

function start() {
  const clock = new VirtualClock()
  const measures = { limit: 1000, process: 100, managed: 40, unmanaged: 50, unmanagedRecent: 10, spilled: 7 }
  const cluster = { measures, failure: null as Error | null, asked: 0 }
  const sampler = new MemorySampler({
    clock,
    date: () => 1_000_000 + clock.now(),
    ask: () => {
      cluster.asked++
      return cluster.failure === null ? Promise.resolve({ ...cluster.measures }) : Promise.reject(cluster.failure)
    },
  })
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { sampler, cluster, pass }
}

describe('a memory sampler', () => {
  it('takes a sample at the start, one each interval and one at the end', async () => {
    const { sampler, cluster, pass } = start()
    const result = await sampler.sample('run', async () => {
      await pass(500)
      cluster.measures.process = 300
      await pass(500)
      return 'done'
    })
    expect(result).toBe('done')
    await pass(5000)
    expect(sampler.series()).toEqual({
      run: [
        { at: 1_000_000, bytes: 100 },
        { at: 1_000_500, bytes: 100 },
        { at: 1_001_000, bytes: 300 },
        { at: 1_001_000, bytes: 300 },
      ],
    })
  })

  it('takes the last sample also of what fails, and hands the error on', async () => {
    const { sampler } = start()
    await expect(sampler.sample('fails', () => Promise.reject(new Error('own')))).rejects.toThrow('own')
    expect(sampler.series()['fails']).toHaveLength(2)
  })

  it('lays series on one another: aligned ones start at 0', async () => {
    const { sampler, pass } = start()
    const first = await sampler.start('first', { interval: '1s' })
    await pass(1000)
    await first.stop()
    await pass(7000)
    const second = await sampler.start('second', { interval: 1000 })
    await pass(1000)
    await second.stop()
    await second.stop()
    const times = Object.values(sampler.series({ align: true })).map((samples) => samples.map(({ at }) => at))
    expect(times).toEqual([
      [0, 1000, 1000],
      [0, 1000, 1000],
    ])
  })

  it.each([
    ['process', 100],
    ['managed', 40],
    ['managedInMemory', 40],
    ['managedTotal', 47],
    ['unmanaged', 50],
    ['unmanagedRecent', 10],
    ['optimistic', 90],
    ['spilled', 7],
  ] as const)('takes %s', async (measure, bytes) => {
    const { sampler } = start()
    await (await sampler.start('one', { measure })).stop()
    expect(sampler.series()['one']?.[0]?.bytes).toBe(bytes)
  })

  it('leaves out what could not be asked, goes on, and ends with its client', async () => {
    const { sampler, cluster, pass } = start()
    await sampler.start('cut')
    cluster.failure = new PlimsollError('COMM_CLOSED', 'the connection broke')
    await pass(500)
    cluster.failure = null
    await pass(500)
    expect(sampler.series()['cut']).toHaveLength(2)
    cluster.failure = new PlimsollError('CLIENT_CLOSED', 'the client was closed')
    await pass(500)
    const { asked } = cluster
    await pass(5000)
    expect(cluster.asked).toBe(asked)
  })

  it('refuses what makes no sense, and leaves no series of it', async () => {
    const { sampler, cluster } = start()
    const refusal = async (label: unknown, options: object): Promise<unknown> =>
      await sampler.start(label as string, options).catch((error: unknown) => error)
    expect(await refusal('', {})).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await refusal('a', { interval: 1 })).toMatchObject({ message: expect.stringMatching(/least is 10 ms/) })
    expect(await refusal('a', { interval: 'soon' })).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await refusal('a', { measure: 'rss' })).toMatchObject({
      message: expect.stringMatching(/none of process, /),
    })
    expect(await refusal('a', { intervall: 1 })).toMatchObject({ message: expect.stringMatching(/"interval"/) })
    cluster.failure = new PlimsollError('COMM_CLOSED', 'nobody there')
    expect(await refusal('a', {})).toMatchObject({ code: 'COMM_CLOSED' })
    cluster.failure = null
    await (await sampler.start('a')).stop()
    expect(await refusal('a', {})).toMatchObject({ message: 'there is a series "a" already' })
    expect(Object.keys(sampler.series())).toEqual(['a'])
  })
})

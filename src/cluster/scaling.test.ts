import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { Scaling } from './scaling.ts'
import type { SchedulerQuestions } from './scheduler-questions.ts'

/** A cluster of workers w0, w1, … whose scheduler lets go only of some. */
function clusterOf(size: number, stuck: readonly string[] = []) {
  const ids = Array.from({ length: size }, (_, n) => `w${n}`)
  const asked: string[] = []
  const clock = new VirtualClock()
  let recommended: { target: number; close: readonly string[] } = { target: size, close: [] }
  const workers = {
    get ids() {
      return [...ids]
    },
    nameOf: (id: string) => `name of ${id}`,
    add(count: number) {
      for (let n = 0; n < count; n++) ids.push(`w${ids.length}`)
      return Promise.resolve()
    },
    end(gone: readonly string[]) {
      for (const id of gone) ids.splice(ids.indexOf(id), 1)
      return Promise.resolve()
    },
  }
  const ask = (op: string, question: { readonly workers?: readonly string[] }): Promise<object> => {
    asked.push(op)
    if (op === 'identity')
      return Promise.resolve({
        workers: Object.fromEntries(ids.map((id) => [`tcp://${id}`, { id, address: `tcp://${id}` }])),
      })
    if (op === 'adaptive-target') return Promise.resolve(recommended)
    return Promise.resolve({
      retired: question.workers?.filter((id) => !stuck.includes(id)).map((id) => `tcp://${id}`),
    })
  }
  const scheduler = { ask, close: () => Promise.resolve() } as unknown as SchedulerQuestions
  return {
    ids,
    asked,
    clock,
    scaling: new Scaling(workers, scheduler, clock),
    recommend: (target: number, close: readonly string[] = []) => {
      recommended = { target, close }
    },
  }
}

/** Everything that is under way. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('scaling', () => {
  it('adds workers, and lets the newest go when they are empty', async () => {
    const { scaling, ids, asked } = clusterOf(2)
    await scaling.scale(4)
    expect([ids.length, asked]).toEqual([4, []])
    await scaling.scale(1)
    expect([ids, asked]).toEqual([['w0'], ['identity', 'retire-workers']])
    await scaling.scale(0)
    expect(ids).toEqual([])
  })

  it('acceptance check 57: keeps workers whose values nobody can take, and says which', async () => {
    const { scaling, ids } = clusterOf(4, ['w2'])
    await expect(scaling.scale(1)).rejects.toMatchObject({
      code: 'STORE_FULL',
      message: expect.stringMatching(/^1 workers stay.*: name of w2\./) as string,
    })
    expect(ids).toEqual(['w0', 'w2'])
    await scaling.scale(3)
    expect(ids).toHaveLength(3)
  })

  it('9.6-6 by hand ends adapting', async () => {
    const { scaling, ids, asked, recommend, clock } = clusterOf(1)
    const options = { minimum: 0, maximum: 9, intervalMs: 100, waitCount: 1, targetDurationMs: 1000 }
    recommend(3)
    scaling.adapt(options)
    await settled()
    expect(ids).toHaveLength(3)
    recommend(1, ['w1', 'w2'])
    clock.advance(100)
    await settled()
    expect(ids).toEqual(['w0'])
    await scaling.scale(2)
    const before = asked.length
    clock.advance(1000)
    await settled()
    expect([ids.length, asked.length]).toEqual([2, before])
    scaling.close()
  })

  it('goes on adapting when something fails', async () => {
    const { scaling, ids, recommend, clock } = clusterOf(1, ['w1'])
    scaling.adapt({ minimum: 0, maximum: 9, intervalMs: 100, waitCount: 1, targetDurationMs: 1000 })
    await settled()
    await scaling.scale(2)
    recommend(1, ['w1'])
    scaling.adapt({ minimum: 0, maximum: 9, intervalMs: 100, waitCount: 1, targetDurationMs: 1000 })
    await settled()
    expect(ids).toEqual(['w0', 'w1'])
    recommend(3)
    clock.advance(100)
    await settled()
    expect(ids).toHaveLength(3)
    scaling.close()
  })
})

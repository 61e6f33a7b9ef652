import { describe, expect, it } from 'vitest'
import { functionId, taskKey } from '../../base/ids.ts'
import { Prng } from '../../base/prng.ts'
import type { ClientToScheduler } from '../../protocol/scheduler-client.ts'
import { StreamLog } from './stream-log.ts'

const message = (name: string): ClientToScheduler => ({ op: 'client-releases-keys', keys: [taskKey(name)] })

function large(name: string, bytes: number): ClientToScheduler {
  const tasks = [[taskKey(name), new Uint8Array(bytes), []]] as const
  return {
    op: 'update-graph',
    groups: [{ fn: functionId('f'), name, options: {}, tasks }],
    functions: [],
    wanted: [],
  }
}

function sendAll(log: StreamLog): ClientToScheduler[] {
  const sent: ClientToScheduler[] = []
  for (let next = log.next(); next !== undefined; next = log.next()) sent.push(next)
  return sent
}

const nameOf = (each: ClientToScheduler): string => (each.op === 'client-releases-keys' ? (each.keys[0] as string) : '')

describe('StreamLog', () => {
  it('sends in order, and keeps what was not carried out', () => {
    const log = new StreamLog()
    for (const name of ['a', 'b', 'c']) log.post(message(name))
    expect(sendAll(log)).toEqual(['a', 'b', 'c'].map(message))
    expect([log.posted, log.sent]).toEqual([3, 3])
    log.applied(2)
    expect(log.rewind(2)).toBe(true)
    expect(sendAll(log)).toEqual([message('c')])
    log.applied(3)
    expect(log.bytes).toBe(0)
    // An answer that was overtaken by a later one.
    log.applied(1)
    expect([log.posted, log.sent]).toEqual([3, 3])
  })

  it('refuses a count that cannot be', () => {
    const log = new StreamLog()
    for (const name of ['a', 'b', 'c']) log.post(message(name))
    log.next()
    log.next()
    log.applied(1)
    expect([log.rewind(0), log.rewind(3), log.rewind(2)]).toEqual([false, false, true])
  })

  it('stops at its window, but never before a single message', () => {
    const log = new StreamLog()
    for (const name of ['a', 'b', 'c']) log.post(large(name, 50 * 2 ** 20))
    log.post(large('huge', 100 * 2 ** 20))
    expect(sendAll(log)).toHaveLength(1)
    expect([log.questionDue, log.bytes > 250 * 2 ** 20]).toEqual([true, true])
    log.applied(1)
    expect(sendAll(log)).toHaveLength(1)
    log.applied(2)
    expect(sendAll(log)).toHaveLength(1)
    log.applied(3)
    expect(sendAll(log)).toHaveLength(1)
  })

  it('asks how far the scheduler is when many messages are on their way', () => {
    const log = new StreamLog()
    for (let n = 0; n < 512; n++) log.post(message(`${n}`))
    expect(log.questionDue).toBe(false)
    sendAll(log)
    expect(log.questionDue).toBe(true)
    log.applied(500)
    expect(log.questionDue).toBe(false)
  })

  it('gives out the rest whatever the window', () => {
    const log = new StreamLog()
    for (const name of ['a', 'b']) log.post(large(name, 50 * 2 ** 20))
    sendAll(log)
    expect(log.rest()).toHaveLength(1)
    expect([log.rest(), log.sent]).toEqual([[], 2])
  })

  it('carries everything over exactly once, whatever breaks', () => {
    for (let seed = 0; seed < 200; seed++) {
      const prng = new Prng(seed)
      const log = new StreamLog()
      const carriedOut: string[] = []
      let onTheWay: ClientToScheduler[] = []
      for (let n = 0; n < 200; n++) {
        log.post(message(`${n}`))
        if (prng.next() < 0.8) onTheWay.push(...sendAll(log))
        const arrived = onTheWay.splice(0, prng.int(onTheWay.length + 1))
        for (const each of arrived) carriedOut.push(nameOf(each))
        if (prng.next() < 0.2) log.applied(prng.int(carriedOut.length + 1))
        if (prng.next() < 0.1) {
          onTheWay = []
          expect(log.rewind(carriedOut.length)).toBe(true)
        }
      }
      for (const each of [...onTheWay, ...sendAll(log)]) carriedOut.push(nameOf(each))
      expect(carriedOut).toEqual(Array.from({ length: 200 }, (_, n) => `${n}`))
    }
  })
})

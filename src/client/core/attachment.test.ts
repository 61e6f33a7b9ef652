import { describe, expect, it } from 'vitest'
import { Prng } from '../../base/prng.ts'
import { Attachment, type NextTry } from './attachment.ts'

/** Fails every try, each after `takesMs`; returns when and why it gave up, and the pauses. */
function failAll(
  attachment: Attachment,
  takesMs: number,
  refused: boolean,
  from = 0,
): { at: number; why: string; pauses: number[] } {
  const pauses: number[] = []
  let now = from
  let next: NextTry = attachment.lost(now)
  while (next.kind === 'try') {
    pauses.push(next.afterMs)
    now += next.afterMs + Math.min(takesMs, next.timeoutMs)
    next = attachment.failed(now, refused)
  }
  return { at: now, why: next.why, pauses }
}

const attachment = (graceMs = 30_000, seed = 1): Attachment => new Attachment({ graceMs, prng: new Prng(seed) })

describe('Attachment', () => {
  it('tries until the grace is over, with growing pauses', () => {
    const { at, why, pauses } = failAll(attachment(), 10, false)
    expect(why).toBe('it could not be reached for 30000 ms')
    expect(at).toBeGreaterThanOrEqual(30_000)
    expect(at).toBeLessThan(30_200)
    expect(pauses[0]).toBeLessThanOrEqual(50)
    expect(pauses[0]).toBeGreaterThanOrEqual(25)
    expect(Math.max(...pauses)).toBeLessThanOrEqual(2000)
    expect(Math.max(...pauses)).toBeGreaterThan(1000)
  })

  it('ends within its grace when every try is silent', () => {
    expect(failAll(attachment(), Infinity, false).at).toBeLessThan(30_200)
  })

  it('tries once more when the network is back after a silence within the grace, however short that is', () => {
    for (const graceMs of [500, 2000, 5000, 30_000])
      for (let seed = 0; seed < 50; seed++) {
        const one = attachment(graceMs, seed)
        const startedAt: number[] = []
        let now = 0
        for (let next = one.lost(now); next.kind === 'try'; next = one.failed(now, false)) {
          startedAt.push(now + next.afterMs)
          now += next.afterMs + next.timeoutMs
        }
        const backAt = 0.6 * graceMs
        expect(startedAt.some((at) => at >= backAt && at <= 0.9 * graceMs)).toBe(true)
      }
  })

  it('gives up soon when every try is refused', () => {
    for (let seed = 0; seed < 50; seed++) {
      const { at, why, pauses } = failAll(attachment(30_000, seed), 1, true)
      expect(why).toBe('nothing listens there any more')
      expect(at).toBeLessThan(2000)
      expect(pauses.length).toBeGreaterThanOrEqual(3)
    }
  })

  it('is patient with an address that refuses now and then', () => {
    const one = attachment()
    one.lost(0)
    for (let now = 100; now < 20_000; now += 500) expect(one.failed(now, now % 1000 === 100).kind).toBe('try')
  })

  it('does not try at all without a grace', () => {
    expect(attachment(0).lost(5).kind).toBe('give-up')
  })

  it('starts anew after it was confirmed, not before', () => {
    const one = attachment(1000)
    expect(one.settled).toBe(true)
    one.lost(0)
    one.reconnected()
    expect(one.settled).toBe(false)
    expect(one.lost(900).kind).toBe('try')
    one.reconnected()
    expect(one.lost(1001).kind).toBe('give-up')
    const other = attachment(1000)
    other.lost(0)
    other.reconnected()
    expect(other.confirmed(900)).toBe(900)
    expect(other.settled).toBe(true)
    expect(other.lost(1500)).toMatchObject({ kind: 'try' })
    expect(other.lost(2400).kind).toBe('try')
  })
})

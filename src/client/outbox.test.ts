import { describe, expect, it } from 'vitest'
import { deferred } from '../base/deferred.ts'
import { Outbox } from './outbox.ts'

describe('the outbox', () => {
  it('delivers at once while nothing is on its way', () => {
    const said: string[] = []
    const outbox = new Outbox()
    outbox.post(() => said.push('a'))
    expect([said, outbox.idle]).toEqual([['a'], true])
  })

  it('keeps the order behind barriers, whichever opens first, and however they end', async () => {
    const said: string[] = []
    const say = (word: string) => () => void said.push(word)
    const outbox = new Outbox()
    const [first, second] = [deferred(), deferred()]
    outbox.barrier(first.promise, say('first'))
    outbox.post(say('a'))
    outbox.barrier(second.promise, say('second'))
    outbox.post(() => {
      said.push('b')
      outbox.post(say('d'))
    })
    outbox.post(say('c'))
    const delivered = outbox.delivered()
    second.reject(new Error('did not arrive'))
    await Promise.resolve()
    expect(said).toEqual([])
    first.resolve()
    await delivered
    await Promise.resolve()
    expect(said).toEqual(['first', 'a', 'second', 'b', 'c', 'd'])
    expect(outbox.idle).toBe(true)
  })
})

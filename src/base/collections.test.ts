import { expect, it } from 'vitest'
import { deferred } from './deferred.ts'
import { invariant, InvariantError } from './invariant.ts'
import { Prng } from './prng.ts'
import { RingLog } from './ring-log.ts'

it('keeps the last entries of a ring, oldest first', () => {
  const ring = new RingLog<number>(3)
  for (let i = 0; i < 5; i++) ring.push(i)
  expect([...ring]).toEqual([2, 3, 4])
  expect(ring.size).toBe(3)
})

it('gives the same numbers for the same seed, all in range', () => {
  const [a, b] = [new Prng(7), new Prng(7)]
  const numbers = Array.from({ length: 100 }, () => a.next())
  expect(numbers).toEqual(Array.from({ length: 100 }, () => b.next()))
  expect(numbers.every((x) => x >= 0 && x < 1)).toBe(true)
  expect(new Set(numbers).size).toBeGreaterThan(90)
})

it('settles a deferred once, and rejects with an Error whatever was given', async () => {
  const wait = deferred<number>()
  expect(wait.settled).toBe(false)
  wait.reject('no reason')
  expect(wait.settled).toBe(true)
  await expect(wait.promise).rejects.toThrow('no reason')
})

it('throws an InvariantError with the message, built only when needed', () => {
  invariant(true, () => expect.unreachable())
  expect(() => invariant(false, () => 'queue is empty')).toThrow(InvariantError)
})

import { expect, it } from 'vitest'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { waitForWorkers } from './wait-for-workers.ts'

it('waits no longer for a scheduler that is silent than for workers', async () => {
  const asked: { readonly timeoutMs?: number }[] = []
  const silent = (patience: { readonly timeoutMs?: number }): Promise<never> => {
    asked.push(patience)
    return Promise.reject(new PlimsollError('TIMEOUT', 'no answer'))
  }
  await expect(waitForWorkers(silent, 1, { timeout: 50 })).rejects.toMatchObject({ code: 'TIMEOUT' })
  await expect(waitForWorkers(silent, 1, {})).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(asked).toEqual([{ timeoutMs: expect.any(Number) as number }, {}])
  expect(asked[0]?.timeoutMs).toBeLessThanOrEqual(50)
})

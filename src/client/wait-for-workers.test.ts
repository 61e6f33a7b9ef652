import { expect, it } from 'vitest'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import type { SchedulerInfo } from '../protocol/scheduler-client.ts'
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

it('says how many there were when the end of the wait cuts the last question off', async () => {
  let asked = 0
  const oneAnswer = async ({ timeoutMs = 0 }: { readonly timeoutMs?: number }): Promise<SchedulerInfo> => {
    if (asked++ === 0) return { workers: { w: { status: 'running' } } } as unknown as SchedulerInfo
    await new Promise((resolve) => setTimeout(resolve, timeoutMs))
    throw new PlimsollError('TIMEOUT', 'no answer')
  }
  await expect(waitForWorkers(oneAnswer, 2, { timeout: 20 })).rejects.toMatchObject({
    code: 'TIMEOUT',
    fields: { running: 1, n: 2, timeoutMs: 20 },
  })
  expect(asked).toBe(2)
})

import { expect, it, onTestFinished, vi } from 'vitest'
import { systemClock, VirtualClock } from './clock.ts'

it('runs timers in order of due time, also those set on the way, and never before', () => {
  const clock = new VirtualClock()
  const ran: string[] = []
  clock.after(20, () => ran.push(`b@${clock.now()}`))
  clock.after(10, () => {
    ran.push(`a@${clock.now()}`)
    clock.after(5, () => ran.push(`c@${clock.now()}`))
  })
  clock.advance(9)
  expect(ran).toEqual([])
  clock.advance(20)
  expect(ran).toEqual(['a@10', 'c@15', 'b@20'])
  expect(clock.now()).toBe(29)
})

it('waits for as long as Node can when that is shorter than what it was asked for', () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  let due = 0
  systemClock.after(30 * 86_400_000, () => due++)
  vi.advanceTimersByTime(24 * 86_400_000)
  expect(due).toBe(0)
  vi.advanceTimersByTime(86_400_000)
  expect(due).toBe(1)
})

it('forgets a cancelled timer', () => {
  const clock = new VirtualClock()
  const cancel = clock.after(1, () => expect.unreachable())
  cancel()
  clock.advance(10)
})

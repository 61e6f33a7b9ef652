import { expect, it } from 'vitest'
import { VirtualClock } from './clock.ts'

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

it('forgets a cancelled timer', () => {
  const clock = new VirtualClock()
  const cancel = clock.after(1, () => expect.unreachable())
  cancel()
  clock.advance(10)
})

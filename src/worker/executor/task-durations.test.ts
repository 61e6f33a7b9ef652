import { describe, expect, it } from 'vitest'
import { TaskDurations } from './task-durations.ts'

describe('task durations', () => {
  it('hands out one run at a time until a function is known to be fast', () => {
    const durations = new TaskDurations()
    expect(durations.depth('f')).toBe(1)
    durations.note('f', 20)
    expect(durations.depth('f')).toBe(1)
    for (let i = 0; i < 40; i++) durations.note('f', 3)
    expect(durations.depth('f')).toBe(2)
    for (let i = 0; i < 40; i++) durations.note('f', 0.25)
    expect(durations.depth('f')).toBe(8)
    for (let i = 0; i < 40; i++) durations.note('f', 0.001)
    expect(durations.depth('f')).toBe(32)
  })

  it('is not impressed by single slow runs', () => {
    const durations = new TaskDurations()
    for (let i = 0; i < 30; i++) durations.note('f', i % 10 === 0 ? 4000 : 1)
    expect(durations.median('f')).toBe(1)
  })

  it('forgets names in a bounded way', () => {
    const durations = new TaskDurations()
    for (let i = 0; i < 5000; i++) durations.note(`f${i}`, 1)
    expect(durations.median('f0')).toBeUndefined()
    expect(durations.median('f4999')).toBe(1)
  })
})

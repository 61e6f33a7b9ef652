import { describe, expect, it } from 'vitest'
import { readTask, task } from './task-options.ts'

describe('task', () => {
  it('gives a function that runs, is named and counts arguments like the original', () => {
    function scale(this: { factor: number } | undefined, x: number): number {
      return x * (this?.factor ?? 1)
    }
    const carrier = task(scale, { retries: 1 })
    expect([carrier.call({ factor: 3 }, 2), carrier.name, carrier.length]).toEqual([6, 'scale', 1])
    expect(readTask(carrier).fn).toBe(scale)
  })

  it('adds to the options of an earlier task', () => {
    const inner = task(() => 1, { retries: 1, priority: 2 })
    expect(readTask(task(inner, { retries: 5, resources: { GPU: 1 } })).wire).toEqual({
      retries: 5,
      priority: 2,
      resources: { GPU: 1 },
    })
    expect(readTask(inner).wire).toEqual({ retries: 1, priority: 2 })
  })

  it.each([
    [{ retries: -1 }, /"retries" is a whole number/],
    [{ priority: Number.NaN }, /"priority" is a finite number/],
    [{ allowOtherWorkers: true }, /"allowOtherWorkers" needs `workers`/],
    [{ memory: '4GB8' }, /"memory" is wrong: "4GB8"/],
    [{ timeout: 'soon' }, /"timeout" is wrong/],
    [{ resources: { GPU: -1 } }, /"resources\.GPU" is a number from 0/],
    [{ resources: 5 as never }, /"resources" is an object; it was 5/],
    [{ priorty: 1 } as never, /A task has no option "priorty"; did you mean "priority"\?/],
    [
      { key: ['a', '\ud800'] },
      /"key" is a text or a list of texts of whole characters, none of them empty; it was \["a", "\\ud800"\]/,
    ],
  ])('refuses %j when the task is made', (options, message) => {
    expect(() => task(() => 1, options)).toThrow(message)
  })
})

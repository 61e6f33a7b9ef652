import { describe, expect, it } from 'vitest'
import { orderTasks } from './order.ts'

/** Tasks by name with their inputs, given in this order; the names come out in the order in which they should run. */
function ordered(graph: Readonly<Record<string, readonly string[]>>): string[] {
  const names = Object.keys(graph)
  const { positions, cycle } = orderTasks(names.map((name) => (graph[name] ?? []).map((input) => names.indexOf(input))))
  expect(cycle).toBeNull()
  return names.toSorted((a, b) => (positions[names.indexOf(a)] ?? 0) - (positions[names.indexOf(b)] ?? 0))
}

describe('orderTasks', () => {
  it('keeps the order of independent tasks', () => {
    expect(ordered({ c: [], a: [], b: [] })).toEqual(['c', 'a', 'b'])
  })

  it('puts every task behind its inputs', () => {
    expect(ordered({ sum: ['x', 'y'], y: ['x'], x: [] })).toEqual(['x', 'y', 'sum'])
  })

  it('finishes one chain before it starts the next', () => {
    expect(ordered({ a1: [], b1: [], a2: ['a1'], b2: ['b1'], a3: ['a2'], b3: ['b2'] })).toEqual([
      'a1',
      'a2',
      'a3',
      'b1',
      'b2',
      'b3',
    ])
  })

  it('uses a partition in every reduction before it loads the next', () => {
    const order = ordered({
      p0: [],
      p1: [],
      m0: ['p0'],
      m1: ['p1'],
      n0: ['p0'],
      n1: ['p1'],
      m: ['m0', 'm1'],
      n: ['n0', 'n1'],
    })
    expect(order).toEqual(['p0', 'm0', 'n0', 'p1', 'm1', 'm', 'n1', 'n'])
  })

  it('walks a tree reduction branch by branch', () => {
    const order = ordered({ a: [], b: [], c: [], d: [], ab: ['a', 'b'], cd: ['c', 'd'], all: ['ab', 'cd'] })
    expect(order).toEqual(['a', 'b', 'ab', 'c', 'd', 'cd', 'all'])
  })

  it('starts nothing early that the task in hand does not need', () => {
    expect(ordered({ all: ['x', 'y'], y: [], x: [], z: [] })).toEqual(['x', 'y', 'all', 'z'])
  })

  it('names a cycle and gives no position to what needs it', () => {
    const { positions, cycle } = orderTasks([[1], [2], [1], [], [0]])
    expect([...positions]).toEqual([-1, -1, -1, 0, -1])
    expect(cycle).toEqual([1, 2])
  })

  it('is linear: a hundred thousand tasks in a deep chain with a wide fan take no noticeable time', () => {
    const size = 100_000
    const inputs = Array.from({ length: size }, (_, n) => (n === 0 ? [] : n % 2 === 0 ? [n - 1] : [n - 1, 0]))
    const start = performance.now()
    const { positions } = orderTasks(inputs.map((each) => [...new Set(each)]))
    expect(performance.now() - start).toBeLessThan(10_000)
    expect(positions.includes(-1)).toBe(false)
  })
})

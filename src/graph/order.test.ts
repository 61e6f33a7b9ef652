import { describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.ts'
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

  it('names a cycle that a detour meets, and gives up a detour that leads back to what it interrupts', () => {
    // all: a, b and c; early: a and late; late: all. Seen from a, `early` is nearer to its end than `all`.
    expect(ordered({ a: [], b: [], c: [], all: ['a', 'b', 'c'], late: ['all'], early: ['a', 'late'] })).toEqual([
      'a',
      'b',
      'c',
      'all',
      'late',
      'early',
    ])
    const { positions, cycle } = orderTasks([[], [0, 2], [3], [2], [0, 5, 6], [], []])
    expect(cycle).toEqual([2, 3])
    expect([...positions]).toEqual([0, -1, -1, -1, 3, 1, 2])
  })

  it('makes the two halves of a pair one after the other, and the total last', () => {
    const order = ordered(pairsOfBlocks(4))
    const pairs = ['make0 sum0 make2 sum2 pair0 pairSum0', 'make1 sum1 make3 sum3 pair1 pairSum1']
    expect(order.join(' ')).toBe(`${pairs.join(' ')} total`)
  })

  it('finishes what is nearest to its end first, of equals what was given first', () => {
    const order = ordered({
      a: [],
      b: [],
      c: [],
      d: [],
      e: [],
      wide: ['a', 'b', 'c'],
      late: ['a', 'e'],
      pair: ['a', 'd'],
    })
    expect(order).toEqual(['a', 'e', 'late', 'd', 'pair', 'b', 'c', 'wide'])
  })

  it('takes a row of blocks to its end before it begins another column', () => {
    const size = 12
    const at = (row: number, column: number) => row * size + column
    const numbers = Array.from({ length: size }, (_, n) => n)
    const blocks = numbers.flatMap(() => numbers.map((): number[] => []))
    const rows = numbers.map((row) => numbers.map((column) => at(row, column)))
    const columns = numbers.map((column) => numbers.map((row) => at(row, column)))
    const graph = [...blocks, ...rows, ...columns]
    expect(liveValues(graph, orderTasks(graph).positions).peak).toBeLessThan(0.7 * size * size)
  })

  it('makes all inputs of an exchange of all with all, each with its parts, and no worse than a plain walk', () => {
    const size = 10
    const numbers = Array.from({ length: size }, (_, n) => n)
    const parts = numbers.flatMap((from) => numbers.map(() => [from]))
    const merges = numbers.map((to) => numbers.map((from) => size + from * size + to))
    const graph = [...numbers.map((): number[] => []), ...parts, ...merges]
    const { positions } = orderTasks(graph)
    expect([...positions.subarray(0, size)]).toEqual(numbers.map((n) => n * (size + 1)))
    expect(liveValues(graph, positions).peak).toBe(liveValues(graph, plainWalk(graph)).peak)
  })
})

describe('values alive at a time, with one worker that goes by the order', () => {
  it('are few in a tree of any order of leaves, in pairs from both ends, in a stencil, in blocks of a product', () => {
    const peaks = Object.entries(SHAPES).map(([name, graph]) => {
      const plain = liveValues(graph, plainWalk(graph)).peak
      return { name, plain, peak: liveValues(graph, orderTasks(graph).positions).peak }
    })
    for (const { name, plain, peak } of peaks) expect(peak, name).toBeLessThanOrEqual(plain)
    const peakOf = (name: string) => peaks.find((each) => each.name === name)?.peak
    expect(peakOf('a mixed tree of 256 leaves')).toBeLessThanOrEqual(12)
    expect(peakOf('100 in pairs from both ends')).toBeLessThanOrEqual(4)
    expect(peakOf('a stencil of 40 in 20 steps')).toBeLessThanOrEqual(45)
  })

  it.each([
    ['far links', 200],
    ['near links', 20],
  ])('are fewer in random graphs with %s, and at their most not many more', (_, reach) => {
    const prng = new Prng(reach)
    const peaks: number[] = []
    const means: number[] = []
    for (let round = 0; round < 200; round++) {
      const graph = randomGraph(prng, reach)
      const { positions, cycle } = orderTasks(graph)
      expect(cycle).toBeNull()
      const early = graph.findIndex((inputs, task) =>
        inputs.some((input) => (positions[input] ?? 0) >= (positions[task] ?? 0)),
      )
      expect(early).toBe(-1)
      const [ordered, plain] = [liveValues(graph, positions), liveValues(graph, plainWalk(graph))]
      peaks.push(ordered.peak / plain.peak)
      means.push((1 + ordered.mean) / (1 + plain.mean))
    }
    expect(meanOf(means)).toBeLessThan(0.95)
    expect(meanOf(peaks)).toBeLessThan(1.01)
    expect(Math.max(...peaks)).toBeLessThan(2)
  })
})

describe('the work of ordering', () => {
  const numbers = Array.from({ length: 100_000 }, (_, n) => n)

  it.each<[string, number[][]]>([
    [
      'a deep chain with a wide fan',
      numbers.map((n) => (n === 0 ? [] : n % 2 === 0 || n === 1 ? [n - 1] : [n - 1, 0])),
    ],
    ['a chain given from its end', numbers.map((n) => (n + 1 < numbers.length ? [n + 1] : []))],
    ['one task that every pair needs', [[], ...numbers.map(() => []), ...numbers.map((n) => [0, n + 1])]],
    ['pairs, and a total of all', Object.values(numbered(pairsOfBlocks(50_000)))],
    ['detours that all lead back', detours(30_000)],
  ])('does not grow faster than the graph: %s', (_, graph) => {
    const size = graph.reduce((sum, inputs) => sum + 1 + inputs.length, 0)
    const { positions, steps } = orderTasks(graph)
    expect(positions.includes(-1)).toBe(false)
    expect(steps).toBeLessThan(4 * size)
  })
})

/** Blocks, their sums, sums of pairs of blocks from both halves, their sums, and the total: as five maps would say it. */
function pairsOfBlocks(count: number): Record<string, string[]> {
  const all = Array.from({ length: count }, (_, n) => n)
  const half = all.slice(0, count / 2)
  return Object.fromEntries<string[]>([
    ...all.map((n): [string, string[]] => [`make${n}`, []]),
    ...all.map((n): [string, string[]] => [`sum${n}`, [`make${n}`]]),
    ...half.map((n): [string, string[]] => [`pair${n}`, [`make${n}`, `make${n + count / 2}`]]),
    ...half.map((n): [string, string[]] => [`pairSum${n}`, [`pair${n}`]]),
    ['total', [...all.map((n) => `sum${n}`), ...half.map((n) => `pairSum${n}`)]],
  ])
}

function numbered(graph: Readonly<Record<string, readonly string[]>>): number[][] {
  const numbers = new Map(Object.keys(graph).map((name, number) => [name, number]))
  return Object.values(graph).map((inputs) => inputs.map((input) => numbers.get(input) as number))
}

/** Whatever an input of the wide task starts needs, behind a long chain, that task. */
function detours(size: number): number[][] {
  const numbers = Array.from({ length: size }, (_, n) => n)
  const chain = numbers.map((n) => [size + n])
  return [...numbers.map((): number[] => []), numbers, ...chain, ...numbers.map((n) => [n, 2 * size])]
}

const SHAPES: Readonly<Record<string, number[][]>> = {
  'a mixed tree of 256 leaves': mixedTree(256),
  '100 in pairs from both ends': [
    ...Array.from({ length: 100 }, (): number[] => []),
    ...Array.from({ length: 50 }, (_, n) => [n, 99 - n]),
  ],
  'pairs, and a total of all': numbered(pairsOfBlocks(60)),
  'a stencil of 40 in 20 steps': Array.from({ length: 800 }, (_, n) =>
    n < 40 ? [] : [-1, 0, 1].filter((by) => n % 40 !== (by === -1 ? 0 : by === 1 ? 39 : -1)).map((by) => n - 40 + by),
  ),
  'a product of 8 by 8 blocks': product(8),
}

function mixedTree(leaves: number): number[][] {
  const prng = new Prng(1)
  const graph = Array.from({ length: leaves }, (): number[] => [])
  let level = graph.map((_, n) => n)
  while (level.length > 1) {
    const mixed = level.map((task) => ({ task, by: prng.next() })).toSorted((a, b) => a.by - b.by)
    level = []
    for (let n = 0; n < mixed.length; n += 2)
      level.push(graph.push([mixed[n]?.task as number, mixed[n + 1]?.task as number]) - 1)
  }
  return graph
}

function product(size: number): number[][] {
  const graph = Array.from({ length: 2 * size * size }, (): number[] => [])
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++) {
      let sum = -1
      for (let n = 0; n < size; n++) {
        const part = graph.push([row * size + n, (size + n) * size + column]) - 1
        sum = sum === -1 ? part : graph.push([sum, part]) - 1
      }
    }
  return graph
}

function randomGraph(prng: Prng, reach: number): number[][] {
  return Array.from({ length: 20 + prng.int(300) }, (_, task) => {
    const count = task === 0 || prng.int(3) === 0 ? 0 : 1 + prng.int(4)
    return [...new Set(Array.from({ length: count }, () => Math.max(0, task - 1 - prng.int(Math.min(task, reach)))))]
  })
}

/** One worker runs the tasks by position; a value lives until its last dependent has run. */
function liveValues(inputs: readonly (readonly number[])[], positions: Int32Array): { peak: number; mean: number } {
  const users = new Int32Array(inputs.length)
  for (const each of inputs) for (const input of each) users[input] = (users[input] ?? 0) + 1
  const order = [...positions.keys()].toSorted((a, b) => (positions[a] ?? 0) - (positions[b] ?? 0))
  let live = 0
  let peak = 0
  let sum = 0
  for (const task of order) {
    peak = Math.max(peak, ++live)
    if (users[task] === 0) live--
    for (const input of inputs[task] ?? []) {
      const left = (users[input] ?? 0) - 1
      users[input] = left
      if (left === 0) live--
    }
    sum += live
  }
  return { peak, mean: sum / order.length }
}

function meanOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length
}

/** For comparison: depth first in the order given, and whatever becomes runnable follows at once. */
function plainWalk(inputs: readonly (readonly number[])[]): Int32Array {
  const positions = new Int32Array(inputs.length).fill(-1)
  const missing = inputs.map((each) => each.length)
  const dependents = inputs.map((): number[] => [])
  for (const [task, each] of inputs.entries()) for (const input of each) dependents[input]?.push(task)
  let next = 0
  const finish = (task: number): void => {
    positions[task] = next++
    for (const dependent of dependents[task] ?? []) {
      const left = (missing[dependent] ?? 0) - 1
      missing[dependent] = left
      if (left === 0 && positions[dependent] === -1) finish(dependent)
    }
  }
  const visit = (task: number): void => {
    for (const input of inputs[task] ?? []) if (positions[input] === -1) visit(input)
    if (positions[task] === -1) finish(task)
  }
  for (const task of inputs.keys()) if (positions[task] === -1) visit(task)
  return positions
}

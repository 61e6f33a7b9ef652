import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HeapSet } from './heap-set.ts'

interface Item {
  readonly name: string
  readonly priority: number
}
const newHeap = (): HeapSet<Item, number> =>
  new HeapSet<Item, number>(
    (item) => item.priority,
    (a, b) => a - b,
  )

describe('HeapSet', () => {
  it('hands members out by priority, ties in order of insertion', () => {
    const heap = newHeap()
    const items = [3, 1, 2, 1].map((priority, i) => ({ name: `${i}`, priority }))
    for (const item of items) heap.add(item)
    expect([heap.pop(), heap.pop(), heap.pop(), heap.pop(), heap.pop()]).toEqual([
      items[1],
      items[3],
      items[2],
      items[0],
      undefined,
    ])
  })

  it('looks at the first members without taking them', () => {
    const heap = newHeap()
    for (const priority of [5, 4, 3]) heap.add({ name: 'x', priority })
    expect(heap.peekMany(2).map((item) => item.priority)).toEqual([3, 4])
    expect(heap.size).toBe(3)
  })

  it('agrees with a sorted list under any mix of adding, deleting and popping', () => {
    const operations = fc.array(fc.tuple(fc.constantFrom('add', 'delete', 'pop'), fc.nat(20), fc.nat(5)), {
      maxLength: 300,
    })
    fc.assert(
      fc.property(operations, (steps) => {
        const heap = newHeap()
        const pool = Array.from({ length: 21 }, (_, i) => ({ name: `${i}`, priority: i % 6 }))
        let model: Item[] = []
        for (const [kind, index] of steps) {
          const item = pool[index] as Item
          if (kind === 'add' && !model.includes(item)) model = [...model, item]
          if (kind === 'add') heap.add(item)
          if (kind === 'delete') expect(heap.delete(item)).toBe(model.includes(item))
          if (kind === 'delete') model = model.filter((other) => other !== item)
          if (kind === 'pop') {
            const best = model.toSorted((a, b) => a.priority - b.priority)[0]
            const popped = heap.pop()
            expect(popped?.priority).toBe(best?.priority)
            model = model.filter((other) => other !== popped)
          }
          expect(heap.size).toBe(model.length)
          expect(heap.peek()?.priority).toBe(model.toSorted((a, b) => a.priority - b.priority)[0]?.priority)
          expect(new Set(heap)).toEqual(new Set(model))
        }
      }),
    )
  })
})

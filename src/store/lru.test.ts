import { describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.ts'
import { LruList, type LruNode } from './lru.ts'

class Node implements LruNode<Node> {
  readonly nbytes: number
  readonly name: string
  lru: LruList<Node> | null = null
  older: Node | null = null
  newer: Node | null = null
  constructor(name: string, nbytes: number) {
    this.name = name
    this.nbytes = nbytes
  }
}

describe('LruList', () => {
  it('keeps order and bytes like an array would', () => {
    const prng = new Prng(7)
    const list = new LruList<Node>()
    const nodes = Array.from({ length: 30 }, (_, i) => new Node(`n${i}`, i + 1))
    let model: Node[] = []
    for (let step = 0; step < 3000; step++) {
      const node = prng.pick(nodes) as Node
      model = model.filter((other) => other !== node)
      const action = prng.int(3)
      if (action === 0) list.remove(node)
      if (action === 1) {
        list.pushNewest(node)
        model.push(node)
      }
      if (action === 2) {
        list.pushOldest(node)
        model.unshift(node)
      }
      expect([...list]).toEqual(model)
      expect(list.size).toBe(model.length)
      expect(list.bytes).toBe(model.reduce((sum, it) => sum + it.nbytes, 0))
      expect(list.oldest).toBe(model[0] ?? null)
    }
  })

  it('takes a member out of the list it was in', () => {
    const a = new LruList<Node>()
    const b = new LruList<Node>()
    const node = new Node('x', 5)
    a.pushNewest(node)
    b.pushNewest(node)
    expect([a.size, a.bytes, b.size, b.bytes]).toEqual([0, 0, 1, 5])
    a.remove(node)
    expect(b.size).toBe(1)
  })

  it('handles 200,000 steps without slowing down', () => {
    const list = new LruList<Node>()
    for (let i = 0; i < 200_000; i++) list.pushNewest(new Node('', 1))
    const started = performance.now()
    while (list.oldest !== null) list.remove(list.oldest)
    expect(performance.now() - started).toBeLessThan(500)
  })
})

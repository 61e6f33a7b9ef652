import { describe, expect, it } from 'vitest'
import { forEachLeaf, mapLeaves, OMIT } from './nested.ts'

class Leaf {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

describe('structures', () => {
  it('are walked in reading order, cycles included', () => {
    const [a, b, c] = [new Leaf('a'), new Leaf('b'), new Leaf('c')]
    const cyclic: unknown[] = [a, { b, n: 1 }, new Set([c]), new Map([['x', a]])]
    cyclic.push(cyclic)
    const names: string[] = []
    forEachLeaf(cyclic, (leaf) => names.push((leaf as Leaf).name))
    expect(names).toEqual(['a', 'b', 'c', 'a'])
  })

  it('are copied with their leaves replaced and their shape kept', () => {
    const leaf = new Leaf('a')
    const shared = [leaf]
    const cyclic: Record<string, unknown> = {
      shared,
      again: shared,
      bare: Object.assign(Object.create(null), { leaf }) as object,
    }
    cyclic['self'] = cyclic
    const copy = mapLeaves(cyclic, (found) => (found as Leaf).name) as typeof cyclic
    expect(copy['shared']).toEqual(['a'])
    expect(copy['again']).toBe(copy['shared'])
    expect(copy['self']).toBe(copy)
    expect(Object.getPrototypeOf(copy['bare'])).toBeNull()
    expect(cyclic['shared']).toEqual([leaf])
  })

  it('close up where a leaf is left out', () => {
    const drop = () => OMIT
    const leaf = new Leaf('a')
    expect(mapLeaves([1, leaf, { leaf, x: 2 }, new Map([['k', leaf]]), new Set([leaf, 3])], drop)).toEqual([
      1,
      { x: 2 },
      new Map(),
      new Set([3]),
    ])
    expect(mapLeaves(leaf, drop)).toBeUndefined()
  })

  it('take names such as __proto__ for names', () => {
    const hostile = JSON.parse('{"__proto__": {"polluted": true}}') as object
    const copy = mapLeaves(hostile, (leaf) => leaf) as object
    expect(Object.keys(copy)).toEqual(['__proto__'])
    expect((copy as { polluted?: boolean }).polluted).toBeUndefined()
  })
})

import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { CASES, selectCases } from '../../bench/cases/index.ts'

it('docs/benchmarks.md describes every case as it is, and no other', () => {
  const page = readFileSync(new URL('../../docs/benchmarks.md', import.meta.url), 'utf8')
  const rows = page.split('\n').filter((line) => /^\| [a-z](-[a-z]+)? \|/.test(line))
  expect(rows.filter((row) => row.split(' | ').length === 3)).toEqual(
    CASES.map(({ id, title, does }) => `| ${id} | ${title} | ${does} |`),
  )
})

it('every target is for a figure of its case, and a peer of it', () => {
  for (const { figures, peers, targets } of CASES) {
    for (const target of targets) {
      expect(figures.map(({ name }) => name)).toContain(target.figure)
      if ('timesBetterThan' in target) expect(peers).toContain(target.timesBetterThan)
    }
  }
})

it('a letter selects all cases that begin with it', () => {
  expect(selectCases(['c', 'e-tcp']).map(({ id }) => id)).toEqual(['c-graph', 'c-futures', 'e-tcp'])
  expect(selectCases([])).toEqual(CASES)
  expect(() => selectCases(['k'])).toThrow('"k"')
})

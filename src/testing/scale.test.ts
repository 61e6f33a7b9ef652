import { expect, it } from 'vitest'
import { scaleRun } from './scale.ts'

it('a graph that is too large for one message runs in a simulated cluster', async () => {
  const said: string[] = []
  expect(await scaleRun({ workers: 2, tasks: 5000 }, (line) => said.push(line))).toBe(true)
  expect(said.join('\n')).toContain('5000 tasks: 5000 done')
})

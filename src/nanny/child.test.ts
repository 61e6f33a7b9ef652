import { describe, expect, it } from 'vitest'
import { workerCommand } from './child.ts'

const GIB = 2 ** 30

describe('the command of a worker process', () => {
  const flags = (memoryLimit: number, executor: 'process' | 'inline' = 'process'): readonly string[] =>
    workerCommand({ executor, nthreads: 2, memoryLimit }, {}).flags

  it('keeps its young generation small where its memory limit is', () => {
    expect(flags(GIB / 4)).toEqual(['--max-semi-space-size=4'])
    expect(flags(GIB - 1)).toEqual(['--max-semi-space-size=8'])
    expect(flags(2 ** 20)).toEqual(['--max-semi-space-size=1'])
  })

  it('leaves it to the engine with much memory, without a limit, and where the code of users runs in it', () => {
    expect(flags(GIB)).toEqual([])
    expect(flags(0)).toEqual([])
    expect(flags(GIB / 4, 'inline')).toEqual([])
  })
})

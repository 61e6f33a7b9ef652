import { describe, expect, it } from 'vitest'
import { functionId, runId, taskKey } from '../../base/ids.ts'
import { newPoolRun } from './pool-run.ts'
import { TaskPeaks } from './task-peaks.ts'

const MIB = 2 ** 20

function run(memory: number | undefined, inputBytes: number) {
  return newPoolRun({
    runId: runId(1),
    key: taskKey('f-1'),
    name: 'f',
    fn: functionId('f'),
    fnBytes: new Uint8Array(0),
    args: new Uint8Array(0),
    inputs: [{ key: taskKey('x'), source: { via: 'inline', bytes: new Uint8Array(inputBytes) } }],
    options: memory === undefined ? {} : { memory },
    attempt: 1,
    clusterId: 'c',
    generation: 1,
  })
}

describe('what is reserved for a run', () => {
  it('is a part of the limit, or twice its inputs, while nothing is known of its function', () => {
    const peaks = new TaskPeaks()
    expect(peaks.reservation(run(undefined, 0), 1000 * MIB)).toBe(50 * MIB)
    expect(peaks.reservation(run(undefined, 40 * MIB), 1000 * MIB)).toBe(80 * MIB)
  })

  it('is what it asks for, or what its function took before, when that is more', () => {
    const peaks = new TaskPeaks()
    expect(peaks.reservation(run(300 * MIB, 0), 1000 * MIB)).toBe(300 * MIB)
    peaks.note('f', 400 * MIB)
    expect(peaks.reservation(run(300 * MIB, 0), 1000 * MIB)).toBe(400 * MIB)
  })

  it('forgets what happened more than 64 runs ago, and one outlier in twenty', () => {
    const peaks = new TaskPeaks()
    expect(peaks.p95('f')).toBeUndefined()
    for (let n = 1; n <= 20; n++) peaks.note('f', n)
    expect(peaks.p95('f')).toBe(19)
    for (let n = 0; n < 64; n++) peaks.note('f', 5)
    expect(peaks.p95('f')).toBe(5)
  })
})

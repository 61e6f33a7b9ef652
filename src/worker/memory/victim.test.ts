import { describe, expect, it } from 'vitest'
import type { ExecutorSample } from '../executor/executor-pool.ts'
import { adviceFor, chooseVictim } from './victim.ts'

const MIB = 2 ** 20
const shortage = { process: 950 * MIB, limit: 1000 * MIB, pause: 800 * MIB, killTask: 900 * MIB }

function executor(pid: number, grownMib: number, reservedMib: number, dying = false): ExecutorSample {
  const baselineBytes = 10 * MIB
  return {
    pid,
    privateBytes: baselineBytes + grownMib * MIB,
    vmDataBytes: 0,
    baselineBytes,
    reservedBytes: reservedMib * MIB,
    runId: null,
    placeBytes: 0,
    dying,
  }
}

describe('the victim of a shortage', () => {
  it('is the one that exceeds its reservation by most, not the largest', () => {
    const large = executor(1, 500, 480)
    const greedy = executor(2, 300, 50)
    expect(chooseVictim([large, greedy], shortage)).toBe(greedy)
  })

  it('is nobody while all stay within what is reserved for them, or run nothing', () => {
    expect(chooseVictim([executor(1, 500, 500), executor(2, 40, 50), executor(3, 400, 0)], shortage)).toBeNull()
  })

  it('is nobody whose end would not help', () => {
    // It grew by less than a tenth of the limit, and without it the worker is still above pause.
    expect(chooseVictim([executor(1, 99, 50)], shortage)).toBeNull()
    expect(chooseVictim([executor(1, 100, 50)], shortage)?.pid).toBe(1)
    expect(chooseVictim([executor(1, 99, 50)], { ...shortage, process: 890 * MIB })?.pid).toBe(1)
  })

  it('waits until the memory of the one before is back', () => {
    expect(chooseVictim([executor(1, 300, 50, true), executor(2, 400, 50)], shortage)).toBeNull()
  })

  it('is told with numbers what happened and what to do', () => {
    const advice = adviceFor(executor(1, 300, 50), shortage)
    expect(advice).toMatch(/0\.93 GiB of 0\.98 GiB .* grown by 300\.00 MiB, .* reserved for it \(50\.00 MiB\)/)
    expect(advice).toContain("memory: '300.00 MiB'")
  })
})

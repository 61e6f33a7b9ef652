import { totalmem } from 'node:os'
import { describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { parseMemoryLimit, resolveMemoryLimit, systemMemoryLimit } from './memory-limit.ts'

const GIB = 2 ** 30
const machine = { nthreads: 2, cores: 8, systemBytes: 16 * GIB }

describe('parseMemoryLimit', () => {
  it.each([
    ['auto', 4 * GIB],
    ['4 GiB', 4 * GIB],
    ['600MB', 600e6],
    ['1e9', 1e9],
    [0.5, 8 * GIB],
    ['0.5', 8 * GIB],
    ['1.0', 16 * GIB],
    [2 * GIB, 2 * GIB],
    [0, 0],
    ['0', 0],
    ['0 B', 0],
  ])('reads %s', (value, bytes) => {
    expect(parseMemoryLimit(value, machine)).toBe(bytes)
  })

  it.each([
    ['auto', 4 * GIB],
    [0.5, 8 * GIB],
    ['1.0', 16 * GIB],
    ['1GiB', GIB],
    ['1e9', 1e9],
    [0, 0],
    ['0 B', 0],
    ['64 TiB', 16 * GIB],
  ])('acceptance 1: %s on a machine of 16 GiB and 4 cores, for a worker with 1 thread', (value, bytes) => {
    const limit = resolveMemoryLimit(value, { nthreads: 1, cores: 4, systemBytes: 16 * GIB })
    expect(limit.bytes).toBe(bytes)
    expect(limit.warning === null).toBe(value !== '64 TiB')
  })

  it('never gives several workers of a machine more than it has, nor one with many threads', () => {
    expect(parseMemoryLimit('auto', { ...machine, nthreads: 100 })).toBe(16 * GIB)
    expect(parseMemoryLimit('auto', { ...machine, nthreads: 4, nworkers: 4 })).toBe(4 * GIB)
  })

  it.each(['4GB8', '', 'lots', -1, '-1 GB', Number.NaN])('refuses %s with the accepted forms', (value) => {
    expect(() => parseMemoryLimit(value, machine)).toThrow(
      /accepted: "auto", a size such as "4 GiB", a part .* 0.5, or 0/,
    )
  })

  it.each([1, '1', 4, '1.5'])('refuses %s, which is neither a part nor a size, with a hint', (value) => {
    try {
      parseMemoryLimit(value, machine)
      expect.unreachable()
    } catch (error) {
      expect(isErrorCode(error, 'CONFIG_INVALID')).toBe(true)
      expect((error as Error).message).toContain(`write "1.0" or "auto", for a size add a unit, such as "${value} GiB"`)
    }
  })

  it('replaces more than the machine has by what it has, and says so', () => {
    const { bytes, warning } = resolveMemoryLimit('64 GiB', machine)
    expect(bytes).toBe(16 * GIB)
    expect(warning).toMatch(/"64 GiB" is more than this machine may use \(16.00 GiB\)/)
  })
})

describe('systemMemoryLimit', () => {
  const files = (entries: Record<string, string>) => (path: string) => entries[path] ?? null

  it('is the smallest limit of the own control group and of those above it (v2)', () => {
    const read = files({
      '/proc/self/cgroup': '0::/user.slice/job\n',
      '/sys/fs/cgroup/user.slice/job/memory.max': 'max\n',
      '/sys/fs/cgroup/user.slice/job/memory.high': '1000000\n',
      '/sys/fs/cgroup/user.slice/memory.max': '900000\n',
    })
    expect(systemMemoryLimit(read)).toBe(900_000)
  })

  it('finds a group whose path is not visible inside the container (v1)', () => {
    const read = files({
      '/proc/self/cgroup': '5:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '500000\n',
      '/sys/fs/cgroup/memory/memory.soft_limit_in_bytes': '9223372036854771712\n',
    })
    expect(systemMemoryLimit(read)).toBe(500_000)
  })

  it('heeds a resource limit, and ignores what it cannot read', () => {
    expect(
      systemMemoryLimit(
        files({ '/proc/self/limits': 'Max resident set          700000               700000               bytes\n' }),
      ),
    ).toBe(700_000)
    expect(systemMemoryLimit(files({}))).toBe(totalmem())
  })
})

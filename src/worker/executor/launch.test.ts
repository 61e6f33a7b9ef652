import { describe, expect, it } from 'vitest'
import { Marks, withMark } from './launch-mark.ts'
import { executorEnvironment, executorFlags, executorShare } from './launch.ts'

const MIB = 2 ** 20

describe('launching executors', () => {
  it('gives each its share of the limit as heap, never less than 64 MiB', () => {
    expect(executorShare(1024 * MIB, 4)).toBe(256 * MIB)
    expect(executorShare(100 * MIB, 4)).toBe(64 * MIB)
    expect(executorShare(0, 4)).toBe(0)
  })

  it('keeps young generations small until shares are large', () => {
    expect(executorFlags(256 * MIB)).toEqual([
      '--v8-pool-size=1',
      '--no-concurrent-marking',
      '--max-semi-space-size=4',
      '--max-old-space-size=256',
    ])
    expect(executorFlags(2048 * MIB)).toContain('--max-semi-space-size=16')
    expect(executorFlags(0)).toEqual(['--v8-pool-size=1', '--no-concurrent-marking', '--max-semi-space-size=4'])
  })

  it('passes the environment on without what configures Node', () => {
    const inherited = { HOME: '/home/u', NODE_OPTIONS: '--inspect', NODE_V8_COVERAGE: '/x', UV_THREADPOOL_SIZE: '16' }
    const { GLIBC_TUNABLES, ...rest } = executorEnvironment(inherited, { A: 'b' })
    expect(rest).toEqual({ HOME: '/home/u', A: 'b' })
    expect(GLIBC_TUNABLES).toBe('glibc.malloc.hugetlb=1')
    expect(executorEnvironment(inherited, { NODE_OPTIONS: '--no-warnings' })['NODE_OPTIONS']).toBe('--no-warnings')
  })

  it('marks each so that no other is taken for it, and keeps the marks of those above', () => {
    const [outer, inner] = [new Marks(), new Marks()]
    const marks = Array.from({ length: 12 }, () => inner.next())
    expect(marks.filter((mark) => mark.includes(marks[0] as string))).toEqual([marks[0]])
    expect(marks.every((mark) => mark.includes(inner.common) && !mark.includes(outer.common))).toBe(true)
    const above = outer.next()
    const [variable] = Object.values(withMark(withMark({}, above), marks[0] as string))
    expect(variable).toBe(above + marks[0])
  })

  it('asks the C library for large pages, beside its other tunables, unless somebody has decided on them', () => {
    const tunables = (value: string): string | undefined =>
      executorEnvironment({ GLIBC_TUNABLES: value }, {})['GLIBC_TUNABLES']
    expect(tunables('')).toBe('glibc.malloc.hugetlb=1')
    expect(tunables('glibc.malloc.check=3')).toBe('glibc.malloc.check=3:glibc.malloc.hugetlb=1')
    expect(tunables('glibc.malloc.hugetlb=0')).toBe('glibc.malloc.hugetlb=0')
  })
})

import { describe, expect, it } from 'vitest'
import { Prng } from '../base/prng.ts'
import { asStoreError, isNoSpace, pageRounded, writeFully } from './file-ops.ts'
import { Permits } from './permits.ts'

describe('writeFully', () => {
  it('writes every byte in order, however short the writes are', async () => {
    const prng = new Prng(5)
    const parts = Array.from({ length: 1500 }, (_, i) => new Uint8Array(prng.int(40)).fill(i))
    const whole = Buffer.concat(parts)
    const written = Buffer.alloc(whole.byteLength + 7)
    const file = {
      async write(buffers: readonly Uint8Array[], position: number): Promise<number> {
        const bytes = Buffer.concat(buffers)
        const count = Math.min(bytes.byteLength, 1 + prng.int(500))
        written.set(bytes.subarray(0, count), position)
        return count
      },
      close: async () => {},
    }
    await writeFully(file, parts, 7)
    expect(Buffer.compare(written.subarray(7), whole)).toBe(0)
  })

  it('ends when a write makes no progress', async () => {
    const file = { write: async () => 0, close: async () => {} }
    await expect(writeFully(file, [new Uint8Array(1)], 0)).rejects.toMatchObject({ code: 'EIO' })
    await writeFully(file, [new Uint8Array(0)], 0)
  })
})

describe('errors', () => {
  it('tells no room from other failures', () => {
    const full = Object.assign(new Error('x'), { code: 'ENOSPC' })
    const broken = Object.assign(new Error('x'), { code: 'EIO' })
    expect([isNoSpace(full), isNoSpace(broken), isNoSpace(null)]).toEqual([true, false, false])
    expect(asStoreError(full, 'Writing')).toMatchObject({ code: 'STORE_FULL', cause: full })
    expect(asStoreError(broken, 'Writing')).toBe(broken)
    expect([0, 1, 4096, 4097].map(pageRounded)).toEqual([0, 4096, 4096, 8192])
  })
})

describe('Permits', () => {
  it('lets as many run as there are permits, in order, also when some fail', async () => {
    const permits = new Permits(2)
    const started: number[] = []
    let running = 0
    let peak = 0
    const runs = Array.from({ length: 3000 }, (_, i) =>
      permits
        .use(async () => {
          started.push(i)
          peak = Math.max(peak, ++running)
          await Promise.resolve()
          running--
          if (i % 7 === 0) throw new Error('expected')
        })
        .catch(() => {}),
    )
    await Promise.all(runs)
    expect(peak).toBe(2)
    expect(started).toEqual(Array.from({ length: 3000 }, (_, i) => i))
  })
})

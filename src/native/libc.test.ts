import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, describe, expect, it } from 'vitest'
import { type Libc, loadLibc } from './libc.ts'
import { livingMappings } from './mapping.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-libc-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
const loaded = loadLibc()
const libc = loaded as Libc
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

async function collectUntil(done: () => boolean): Promise<void> {
  for (let i = 0; i < 50 && !done(); i++) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe.skipIf(loaded === null)('libc', () => {
  it('maps frames at any offset, privately', () => {
    const path = join(directory, 'frames')
    const bytes = Uint8Array.from({ length: 20_000 }, (_, i) => i % 251)
    writeFileSync(path, bytes)
    const mapping = libc.mapFile(path, 5000, 10_000)
    const first = mapping.frame(0, 64)
    const second = mapping.frame(9000, 1000)
    mapping.seal()
    expect(new Uint8Array(first)).toEqual(bytes.subarray(5000, 5064))
    expect(new Uint8Array(second)).toEqual(bytes.subarray(14_000, 15_000))
    new Uint8Array(first).fill(255)
    expect(new Uint8Array(readFileSync(path))).toEqual(bytes)
    expect(mapping.frame.bind(mapping, 0, 1)).toThrow(RangeError)
  })

  it('unmaps once, after all frames were collected', async () => {
    const path = join(directory, 'counted')
    writeFileSync(path, new Uint8Array(3 * 4096))
    await collectUntil(() => livingMappings() === 0)
    const unmapped: number[] = []
    let kept: Uint8Array | null = null
    const id = (() => {
      const mapping = libc.mapFile(path, 0, 3 * 4096, (ended) => unmapped.push(ended))
      mapping.frame(0, 4096)
      kept = new Uint8Array(mapping.frame(4096, 4096))
      mapping.frame(8192, 4096)
      mapping.seal()
      return mapping.id
    })()
    for (let i = 0; i < 5; i++) await collectUntil(() => true).then(gc)
    expect(unmapped).toEqual([])
    expect((kept as Uint8Array | null)?.[17]).toBe(0)
    kept = null
    await collectUntil(() => unmapped.length > 0)
    expect(unmapped).toEqual([id])
    expect(livingMappings()).toBe(0)
  })

  it('ends a mapping without frames at its seal', () => {
    const path = join(directory, 'empty')
    writeFileSync(path, 'x')
    const unmapped: number[] = []
    const mapping = libc.mapFile(path, 0, 1, (ended) => unmapped.push(ended))
    expect(mapping.frame(0, 0).byteLength).toBe(0)
    mapping.seal()
    mapping.seal()
    expect(unmapped).toEqual([mapping.id])
  })

  it('throws with a code when a map is refused', () => {
    const path = join(directory, 'refused')
    writeFileSync(path, 'x')
    const fd = openSync(path, 'r')
    try {
      expect(() => libc.mapDescriptor(fd, 0, 0)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    } finally {
      closeSync(fd)
    }
  })

  it('shares a page with other mappings and readers of the file', () => {
    const path = join(directory, 'shared')
    writeFileSync(path, new Uint8Array(4096))
    const a = new Uint32Array(libc.mapShared(path, 4096).buffer)
    const b = new Uint32Array(libc.mapShared(path, 4096).buffer)
    a[3] = 77
    expect(b[3]).toBe(77)
    expect(readFileSync(path).readUInt32LE(12)).toBe(77)
  })

  it('locks a file against other descriptors', () => {
    const path = join(directory, 'lock')
    writeFileSync(path, '')
    const first = openSync(path, 'r+')
    const second = openSync(path, 'r+')
    expect(libc.flock(first, true, true)).toBe(true)
    expect(libc.flock(second, true, true)).toBe(false)
    closeSync(first)
    expect(libc.flock(second, true, true)).toBe(true)
    closeSync(second)
    expect(() => libc.flock(second, true, true)).toThrow(expect.objectContaining({ code: 'EBADF' }))
  })
})

describe.skipIf(loaded === null || process.platform !== 'linux')('libc on Linux', () => {
  it('sets the data limit of a process and raises it again', () => {
    const limit = () => Number(/Max data size\s+(\d+|unlimited)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
    expect(libc.setDataLimit(process.pid, 2 ** 40)).toBe(true)
    expect(limit()).toBe(2 ** 40)
    libc.setDataLimit(process.pid, 2 ** 41)
    expect(limit()).toBe(2 ** 41)
  })

  it('populates the whole pages of a buffer, and leaves what is in them', () => {
    const bytes = new Uint8Array(4 * 2 ** 20).subarray(10)
    bytes[5000] = 7
    expect(libc.populate(bytes)).toBe(true)
    expect(bytes[5000]).toBe(7)
    expect(libc.populate(new Uint8Array(100))).toBe(false)
  })

  it('gives a file without a name one, but not that of another', () => {
    const fd = openSync(directory, 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR, 0o400)
    writeSync(fd, 'text')
    const path = join(directory, 'named')
    expect(libc.linkDescriptor(fd, path)).toBe(true)
    expect(readFileSync(path, 'utf8')).toBe('text')
    expect(libc.linkDescriptor(fd, path)).toBe(false)
    closeSync(fd)
    expect(libc.linkDescriptor(fd, join(directory, 'closed'))).toBe(false)
  })

  it('reserves room for a file without making it longer', () => {
    const path = join(directory, 'reserved')
    const fd = openSync(path, 'w')
    if (libc.reserve(fd, 2 ** 20))
      expect(fstatSync(fd)).toMatchObject({
        size: 0,
        blocks: expect.toSatisfy((blocks: number) => 512 * blocks >= 2 ** 20),
      })
    writeSync(fd, 'text')
    expect(fstatSync(fd).size).toBe(4)
    closeSync(fd)
    expect(libc.reserve(fd, 2 ** 20)).toBe(false)
    expect(libc.reserve(0, 0)).toBe(false)
  })

  // Neither tmpfs, which is nothing but cache, nor overlayfs, which cannot be told to write a file back.
  const hasCache = ![0x01021994, 0x794c7630].includes(statfsSync(directory).type)
  it.skipIf(!hasCache)('takes a part of a file out of the cache, dirty or not, but not what is mapped', async () => {
    const path = join(directory, 'cached')
    // The cache may keep pages by the MiB: a whole number of those.
    const half = 16 * 2 ** 20
    const bytes = new Uint8Array(2 * half).fill(7)
    writeFileSync(path, bytes)
    const cached = (offset: number): boolean => {
      const mapping = libc.mapFile(path, offset, half)
      const answer = mapping.isCached()
      mapping.seal()
      return answer
    }
    expect([cached(0), cached(half)]).toEqual([true, true])
    const fd = openSync(path, 'r')
    try {
      expect(await libc.dropFromCache(fd, 0, half)).toBe(true)
      expect([cached(0), cached(half)]).toEqual([false, true])
      expect(readFileSync(path).equals(bytes)).toBe(true)
      const mapping = libc.mapFile(path, 0, half)
      expect(Buffer.from(mapping.frame(0, half)).equals(bytes.subarray(0, half))).toBe(true)
      expect(await libc.dropFromCache(fd, 0, 2 * half)).toBe(true)
      expect([mapping.isCached(), cached(half)]).toEqual([true, false])
      mapping.seal()
    } finally {
      closeSync(fd)
    }
    expect(await libc.dropFromCache(fd, 0, half)).toBe(false)
  })

  it('trims and sets a death signal', () => {
    expect(libc.mallocTrim()).toBe(true)
    expect(libc.setParentDeathSignal(9)).toBe(true)
    libc.setParentDeathSignal(0)
  })
})

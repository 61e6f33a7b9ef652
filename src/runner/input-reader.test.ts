import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, describe, expect, it } from 'vitest'
import { runId, taskKey } from '../base/ids.ts'
import { loadLibc } from '../native/libc.ts'
import type { ExecutorInput } from '../protocol/worker-executor.ts'
import { blobToBytes, unsealedBlob } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { writeBlob } from './blob-writer.ts'
import { BadInput, InputReader } from './input-reader.ts'

const directory = mkdtempSync(join(tmpdir(), 'plimsoll-inputs-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

const MAP_THRESHOLD = 256 * 1024
const meta = (key: string) => ({ clusterId: 'c', generation: 1, key, runId: 1 })
let files = 0

/** Far faster than comparing element by element. */
function same(a: ArrayBufferView, b: ArrayBufferView): boolean {
  const bytes = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength)
  return a.constructor === b.constructor && bytes(a).equals(bytes(b))
}

type FileSource = Extract<ExecutorInput['source'], { via: 'file' }>

function stored(key: string, value: unknown, change: Partial<FileSource> = {}): ExecutorInput & { source: FileSource } {
  const path = join(directory, `${key}-${++files}`)
  const blob = unsealedBlob(meta(key), encodeValue(value))
  const { totalBytes } = blob
  expect(writeBlob(path, blob)).toBe(totalBytes)
  const mtimeNs = String(statSync(path, { bigint: true }).mtimeNs)
  return {
    key: taskKey(key),
    source: { via: 'file', path, offset: 0, nbytes: totalBytes, tier: 'memory', mtimeNs, verify: false, ...change },
  }
}

describe.each([['mapped', loadLibc()] as const, ['copied', null] as const])('input reader, %s', (how, libc) => {
  const maps = libc !== null
  const unmapped: string[] = []
  const reader = new InputReader({
    libc,
    mapThreshold: MAP_THRESHOLD,
    onUnmapped: (run, key) => unmapped.push(`${run} ${key}`),
  })
  const read = (input: ExecutorInput, mapped: string[] = []): unknown =>
    reader.read(input, runId(5), (key) => mapped.push(key))

  it.skipIf(how === 'mapped' && !maps)('reads blobs of every size', () => {
    const mapped: string[] = []
    for (const length of [0, 10, 5000, 20_000, 100_000]) {
      const value = Float64Array.from({ length }, (_, i) => i / 3)
      const decoded = read(stored(`size-${length}`, { value, name: 'x' }), mapped) as {
        value: Float64Array
        name: string
      }
      expect(decoded.name).toBe('x')
      expect(same(decoded.value, value)).toBe(true)
      if (length >= 5000) expect(decoded.value.byteOffset).toBe(0)
      expect(decoded.value.buffer.byteLength).toBe(value.byteLength)
    }
    expect(mapped).toEqual(maps ? ['size-100000'] : [])
  })

  it('reads a blob inside of a larger file', () => {
    const value = new Uint8Array(300_000).fill(9)
    const bytes = blobToBytes(meta('inside'), encodeValue(value))
    const path = join(directory, `segment-${how}`)
    writeFileSync(path, Buffer.concat([Buffer.alloc(12_345, 1), bytes, Buffer.alloc(99, 2)]))
    const source = {
      via: 'file',
      path,
      offset: 12_345,
      nbytes: bytes.byteLength,
      tier: 'disk',
      mtimeNs: null,
      verify: true,
    } as const
    expect(same(read({ key: taskKey('inside'), source }) as Uint8Array, value)).toBe(true)
  })

  it('finds damage in the frames when the file was changed, or when it is told to check', () => {
    const input = stored('damaged', new Uint8Array(300_000))
    const bytes = readFileSync(input.source.path)
    bytes[200_000] = 1
    const path = join(directory, `damaged-${how}`)
    writeFileSync(path, bytes)
    utimesSync(path, 1, 1)
    const source = { ...input.source, path }
    expect(() => read({ key: input.key, source })).toThrow(BadInput)
    expect(() => read({ key: input.key, source: { ...source, mtimeNs: null, verify: true } })).toThrow(/checksum/)
    expect(read({ key: input.key, source: { ...source, mtimeNs: null } })).toHaveLength(300_000)
  })

  it.skipIf(process.platform !== 'linux')(
    'finds damage on disk that nothing tells of, when it comes from there',
    (context) => {
      const input = stored('rotten', new Uint8Array(300_000), { tier: 'disk' })
      const { path } = input.source
      const bytes = readFileSync(path)
      bytes[200_000] = 1
      chmodSync(path, 0o600)
      writeFileSync(path, bytes)
      const source = { ...input.source, mtimeNs: null }
      if (maps) expect(read({ key: input.key, source })).toHaveLength(300_000)
      // Only what has been written to the disk leaves the cache, and a RAM file system has no disk.
      if (execFileSync('stat', ['-f', '-c', '%T', directory], { encoding: 'utf8' }).trim() === 'tmpfs') context.skip()
      execFileSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'], { stdio: 'ignore' })
      expect(() => read({ key: input.key, source })).toThrow(/checksum/)
    },
  )

  it('names the key of a file that is short or gone', () => {
    const input = stored('short', new Uint8Array(300_000))
    const tooLong = { ...input, source: { ...input.source, nbytes: input.source.nbytes + 1 } }
    expect(() => read(tooLong)).toThrow(expect.objectContaining({ key: 'short' }))
    rmSync(input.source.path)
    expect(() => read(input)).toThrow(expect.objectContaining({ key: 'short' }))
  })

  it('gives mappings back when their values were collected', async () => {
    read(stored('passing', new Uint8Array(500_000)))
    for (let i = 0; i < 20 && reader.mappedBytes > 0; i++) {
      gc()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(reader.mappedBytes).toBe(0)
    expect(unmapped.filter((entry) => entry === '5 passing')).toHaveLength(maps ? 1 : 0)
  })
})

describe('inline inputs', () => {
  it('are decoded from the bytes of the message', () => {
    const reader = new InputReader({ libc: null, mapThreshold: 1, onUnmapped: () => {} })
    const bytes = blobToBytes(meta('k'), encodeValue([1, new Float32Array(2000)]))
    const input: ExecutorInput = { key: taskKey('k'), source: { via: 'inline', bytes } }
    expect(reader.read(input, runId(1), () => {})).toEqual([1, new Float32Array(2000)])
    const broken: ExecutorInput = { key: taskKey('k'), source: { via: 'inline', bytes: bytes.subarray(0, 20) } }
    expect(() => reader.read(broken, runId(1), () => {})).toThrow(BadInput)
  })
})

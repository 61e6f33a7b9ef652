import * as fsp from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { claimDirectories, type ClaimedDirectories, removeAbandoned } from './directories.ts'
import { takeStale, tryLock } from './directory-lock.ts'
import { loadLibc } from '../native/libc.ts'

let base = ''
beforeEach(async () => {
  base = await fsp.mkdtemp(join(tmpdir(), 'plimsoll-directories-'))
})
afterEach(() => fsp.rm(base, { recursive: true, force: true }))

const root = (): string => join(base, `plimsoll-${process.geteuid?.()}`)
const claim = (workerId: string): Promise<ClaimedDirectories> =>
  claimDirectories({ workerId, localBase: base, memoryBase: null, memoryLimit: 0 })

describe('claimDirectories', () => {
  it('makes a private directory with a lock beside it, and removes all of it', async () => {
    const claimed = await claim('w1')
    expect(claimed.local).toBe(join(root(), 'w1'))
    expect((await fsp.stat(claimed.local)).mode & 0o777).toBe(0o700)
    expect((await fsp.readdir(root())).sort()).toEqual(['w1', 'w1.lock'])
    await fsp.writeFile(join(claimed.local, 'file'), 'x')
    await claimed.release({ remove: true })
    await claimed.release({ remove: true })
    expect(await fsp.readdir(base)).toEqual([])
  })

  it('refuses a worker id that is in use', async () => {
    const claimed = await claim('w1')
    await expect(claim('w1')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await claimed.release({ remove: true })
    const again = await claim('w1')
    await again.release({ remove: true })
  })

  it('refuses worker ids that are paths', async () => {
    for (const id of ['', '..', 'a/b', '.hidden', 'a.lock']) {
      await expect(claim(id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
  })

  it('refuses links, other owners and open modes', async () => {
    await fsp.mkdir(join(base, 'elsewhere'), { mode: 0o700 })
    await fsp.symlink(join(base, 'elsewhere'), root())
    await expect(claim('w1')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(claim('w1')).rejects.toThrow(/symbolic link/)
    await fsp.unlink(root())
    await fsp.writeFile(root(), '')
    await expect(claim('w1')).rejects.toThrow(/not a directory/)
    await fsp.unlink(root())
    await fsp.mkdir(root())
    await fsp.chmod(root(), 0o755)
    await expect(claim('w1')).rejects.toThrow(/mode 755/)
    if (process.geteuid?.() !== 0) return
    await fsp.chmod(root(), 0o700)
    await fsp.chown(root(), 12345, 12345)
    await expect(claim('w1')).rejects.toThrow(/belongs to user 12345/)
  })

  it('acceptance 15: removes the directories of dead owners, never those of living ones', async () => {
    const living = await claim('living')
    await fsp.mkdir(join(root(), 'unlocked'), { mode: 0o700 })
    await fsp.writeFile(join(root(), 'unlocked', 'blob'), 'x')
    await fsp.mkdir(join(root(), 'dead'), { mode: 0o700 })
    await fsp.mkdir(join(root(), 'half.purged-0a'), { mode: 0o700 })
    const holder = { pid: 2 ** 22 + 1, startTime: '1', boot: null, pidNamespace: null, flock: true }
    await fsp.writeFile(join(root(), 'dead.lock'), JSON.stringify(holder))
    await fsp.writeFile(join(root(), 'lonely.lock'), JSON.stringify(holder))
    const claimed = await claim('w1')
    expect((await fsp.readdir(root())).sort()).toEqual(['living', 'living.lock', 'w1', 'w1.lock'])
    await claimed.release({ remove: true })
    await living.release({ remove: true })
    expect(await fsp.readdir(base)).toEqual([])
  })

  it('removes the directory of a dead claimer with its lock, never that of a living one', async () => {
    const living = await claim('living')
    await fsp.mkdir(join(root(), 'dead'), { mode: 0o700 })
    await fsp.writeFile(join(root(), 'dead', 'blob'), 'x')
    const holder = { pid: 2 ** 22 + 1, startTime: '1', boot: null, pidNamespace: null, flock: true }
    await fsp.writeFile(join(root(), 'dead.lock'), JSON.stringify(holder))
    await removeAbandoned(join(root(), 'dead'))
    await removeAbandoned(join(root(), 'never-was'))
    await removeAbandoned(living.local)
    expect((await fsp.readdir(root())).sort()).toEqual(['living', 'living.lock'])
    await living.release({ remove: true })
    expect(await fsp.readdir(base)).toEqual([])
  })

  it('lets 200 workers start and stop at once', async () => {
    const claimed = await Promise.all(Array.from({ length: 200 }, (_, i) => claim(`w${i}`)))
    for (const { local } of claimed) expect((await fsp.stat(local)).isDirectory()).toBe(true)
    await Promise.all(claimed.map((it) => it.release({ remove: true })))
    expect(await fsp.readdir(base)).toEqual([])
  })

  it('uses a named memory directory as it is, and says what is wrong with it', async () => {
    const claimed = await claimDirectories({
      workerId: 'w1',
      localBase: base,
      memoryBase: join(base, 'ram'),
      memoryLimit: 1e9,
    })
    expect(claimed.memory).toBe(join(base, 'ram', `plimsoll-${process.geteuid?.()}`, 'w1'))
    expect(claimed.warnings.some((line) => line.includes(join(base, 'ram')))).toBe(true)
    await claimed.release({ remove: true })
  })

  it('takes the default RAM file system only when it is large enough', async () => {
    const claimed = await claimDirectories({ workerId: 'w1', localBase: base, memoryLimit: 2 ** 60 })
    expect(claimed.memory).toBeNull()
    if (process.platform === 'linux') expect(claimed.warnings[0]).toMatch(/\/dev\/shm.*--memory-directory/)
    await claimed.release({ remove: true })
  })

  it('makes what is missing above its directory, and says where nothing can be made', async () => {
    const below = (localBase: string): Promise<ClaimedDirectories> =>
      claimDirectories({ workerId: 'w', localBase, memoryBase: null, memoryLimit: 0 })
    await fsp.mkdir(join(base, 'there'))
    await fsp.symlink(join(base, 'there'), join(base, 'link'))
    await (await below(join(base, 'link', 'a', 'b'))).release({ remove: true })
    expect(await fsp.readdir(join(base, 'there', 'a', 'b'))).toEqual([])
    // Node's own recursive mkdir turns round and round here.
    await expect(below('/proc/nowhere/at/all')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await fsp.writeFile(join(base, 'file'), '')
    await expect(below(join(base, 'file', 'a'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('says where it cannot write', async () => {
    await fsp.writeFile(join(base, 'file'), '')
    const options = { workerId: 'w1', localBase: join(base, 'file', 'below'), memoryBase: null, memoryLimit: 0 }
    await expect(claimDirectories(options)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})

const busy = { flock: () => false }

describe.each([
  ['with flock', loadLibc()],
  ['without flock', null],
])('directory lock %s', (_, libc) => {
  it('is held by one at a time and free after release', async () => {
    const path = join(base, 'x.lock')
    const first = await tryLock(path, libc)
    expect(first).not.toBeNull()
    expect(await tryLock(path, libc)).toBeNull()
    expect(await takeStale(path, libc)).toBeNull()
    await first?.release()
    const second = await tryLock(path, libc)
    expect(second).not.toBeNull()
    await second?.release()
    expect(await fsp.readdir(base)).toEqual([])
  })

  it('is taken over from a dead process, a restarted machine and a reused pid', async () => {
    const path = join(base, 'x.lock')
    const held = await tryLock(path, null)
    const mine = JSON.parse(await fsp.readFile(path, 'utf8')) as Record<string, unknown>
    await held?.release()
    const others = [{ pid: 2 ** 22 + 1 }, { boot: 'another boot' }, { startTime: '1' }]
    for (const other of others) {
      await fsp.writeFile(path, JSON.stringify({ ...mine, ...other }))
      const lock = await tryLock(path, libc)
      expect(lock, JSON.stringify(other)).not.toBeNull()
      await lock?.release()
    }
    await fsp.writeFile(path, JSON.stringify({ ...mine, pidNamespace: 'pid:[1]', pid: 2 ** 22 + 1 }))
    expect(await tryLock(path, libc)).toBeNull()
  })

  it('respects whoever locks by the other means', async () => {
    const path = join(base, 'x.lock')
    const other = libc === null ? loadLibc() : null
    const lock = await tryLock(path, other)
    expect(await tryLock(path, libc)).toBeNull()
    await lock?.release()
    await fsp.writeFile(path, '{}')
    expect(await tryLock(path, busy)).toBeNull()
  })
})

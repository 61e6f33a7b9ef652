import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'

/** Keeps a worker's values in a LevelDB database of its own. Called in the worker's process, once, with an empty directory. */
export async function openLevel({ workerLocalDirectory, cacheSize = 8 * 2 ** 20 }) {
  const db = new ClassicLevel(join(workerLocalDirectory, 'values'), { valueEncoding: 'buffer', cacheSize })
  await db.open()
  const sizes = new Map()
  return {
    get size() {
      return sizes.size
    },
    has: (key) => sizes.has(key),
    get: (key) => db.getSync(key),
    async set(key, blob) {
      await db.put(key, blob)
      sizes.set(key, blob.length)
    },
    async delete(key) {
      sizes.delete(key)
      await db.del(key)
    },
    // Nothing is kept in memory: what the worker has is spilled from the start.
    get spilledTotal() {
      const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0)
      return { memory: bytes, disk: bytes }
    },
    close: () => db.close(),
  }
}
